"""Homes that several partitions use: whole experts, and experts cut over units."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import Home, PartitionView, Shard
from ndpsim.units import ceil_div


def whole_homes(view: PartitionView) -> tuple[Home, ...]:
    """One home per unit, for experts that live whole on it."""
    return tuple(Home(unit, (Shard(unit, view.d_expert),)) for unit in view.units)


def cut_homes(view: PartitionView, units: Sequence[str], name: str) -> tuple[Home, ...]:
    """Homes of experts cut over `units`: one per rotation of an uneven cut, one for an even cut.

    Slices are whole groups of `slice_granularity` columns. When the groups do not divide evenly,
    some units hold one group more; the rotation decides which.
    """
    n_units = len(units)
    n_groups = ceil_div(view.d_expert, view.slice_granularity)
    smaller, n_larger = divmod(n_groups, n_units)
    return tuple(
        Home(
            f"{name}.{rotation}" if n_larger else name,
            tuple(
                Shard(unit, groups * view.slice_granularity)
                for i, unit in enumerate(units)
                if (groups := smaller + ((i - rotation) % n_units < n_larger))
            ),
        )
        for rotation in range(n_units if n_larger else 1)
    )


def even_units(counts: NDArray[np.int64], n_units: int) -> NDArray[np.int16]:
    """A unit for each of a layer's experts, loads as even as the greedy rule makes them.

    Heaviest expert first (ties: lower id), each to the unit with least load so far (ties: lower
    index) that has room; every unit has room for ceil(E / D) experts.
    """
    room = [ceil_div(len(counts), n_units)] * n_units
    load = [0] * n_units
    row = np.zeros(len(counts), dtype=np.int16)
    for expert in np.argsort(-counts, kind="stable").tolist():
        unit = min((u for u in range(n_units) if room[u]), key=lambda u: (load[u], u))
        row[expert] = unit
        room[unit] -= 1
        load[unit] += int(counts[expert])
    return row
