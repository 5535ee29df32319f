"""Files that policies read: calibration counts and placements, by decoder layer and expert."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import ConfigError
from ndpsim.workload import read_trace


class Geometry(Protocol):
    """The layers and experts that a file must be about."""

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Decoder-layer indices of the layers with routed experts."""

    @property
    def n_experts(self) -> int:
        """Routed experts per layer."""


class Calibrated(Geometry, Protocol):
    """A view that has calibration counts of the trace's other sequences."""

    @property
    def profile(self) -> NDArray[np.int64]:
        """Counts, (n_moe_layers, n_experts)."""


def counts_of(path: Path | None, view: Calibrated) -> NDArray[np.int64]:
    """Calibration counts, (n_moe_layers, n_experts): of a file, or of the trace's other sequences.

    The file is a routing trace (``.parquet``), or CSV with the header ``layer,expert,count`` where
    `layer` is a decoder-layer index.

    Raises
    ------
    InputError
        The file cannot be read or is of another geometry.
    """
    if path is None:
        return view.profile
    if path.suffix == ".parquet":
        return _trace_counts(path, view)
    counts = np.zeros((len(view.moe_layers), view.n_experts), dtype=np.int64)
    for where, layer, expert, count in rows(path, view, "count"):
        if not count.isdecimal():
            raise ConfigError(where, f"count must be a whole number, got '{count}'")
        counts[layer, expert] += int(count)
    return counts


def rows(path: Path, view: Geometry, value: str) -> Iterator[tuple[str, int, int, str]]:
    """(where, index of the MoE layer, expert, value) of a CSV file ``layer,expert,VALUE``."""
    index = {layer: i for i, layer in enumerate(view.moe_layers)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            if next(reader, None) != ["layer", "expert", value]:
                raise ConfigError(str(path), f"the first line must be 'layer,expert,{value}'")
            for line in reader:
                where = f"{path}:{reader.line_num}"
                if len(line) != 3 or not (line[0].isdecimal() and line[1].isdecimal()):
                    raise ConfigError(where, f"expected LAYER,EXPERT,{value.upper()}")
                layer, expert = int(line[0]), int(line[1])
                if layer not in index or expert >= view.n_experts:
                    raise ConfigError(
                        where, f"the model has no routed expert {expert} in layer {layer}"
                    )
                yield where, index[layer], expert, line[2].strip()
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from error


def _trace_counts(path: Path, view: Geometry) -> NDArray[np.int64]:
    trace = read_trace(path)
    if trace.info.layers != view.moe_layers or trace.info.n_experts != view.n_experts:
        raise ConfigError(str(path), "is a trace of a model with other layers or experts")
    return expert_counts(trace.experts, view.n_experts)


def expert_counts(experts: NDArray[np.int16], n_experts: int) -> NDArray[np.int64]:
    """How often each expert was chosen, (n_layers, n_experts), of ids (..., n_layers, top_k)."""
    n_layers = experts.shape[-2]
    shifted = experts.astype(np.int64) + 1 + np.arange(n_layers)[:, None] * (n_experts + 1)
    counts = np.bincount(shifted.ravel(), minlength=n_layers * (n_experts + 1))
    return np.ascontiguousarray(counts.reshape(n_layers, n_experts + 1)[:, 1:])
