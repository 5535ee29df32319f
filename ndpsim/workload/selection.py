"""The part of a trace that a run replays."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ndpsim.errors import TraceError
from ndpsim.workload.spec import ModelSpec
from ndpsim.workload.synth import continue_routing
from ndpsim.workload.trace import Trace, TraceInfo

Extend: TypeAlias = Literal["loop", "synth"]
EXTENSIONS: Final = ("loop", "synth")
T = TypeVar("T", np.float16, np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """Experts of a static batch, aligned by position.

    Parameters
    ----------
    experts
        (batch, positions, L, k) int16, positions 0 to P + O - 2; -1: none.
    sequences
        Ids of the sequences replayed, one per request.
    extended
        How missing positions were made up: ``loop``, ``synth``, or None when none were missing.
    n_invented
        Positions made up, over the whole batch.
    weights
        (batch, positions, L, k) float16 router weights, 0 where made up; None if there are none.
    predicted
        At index d - 1, ids predicted for the d-th MoE layer after each: (batch, positions, L,
        width) int16, -1 where made up or none.
    """

    experts: npt.NDArray[np.int16]
    sequences: tuple[int, ...]
    extended: Extend | None = None
    n_invented: int = 0
    weights: npt.NDArray[np.float16] | None = None
    predicted: tuple[npt.NDArray[np.int16], ...] = ()


def select(
    trace: Trace,
    model: ModelSpec,
    *,
    batch: int,
    prompt_tokens: int,
    output_tokens: int,
    sequences: tuple[int, ...] | None = None,
    extend: Extend | None = None,
    seed: int = 0,
    where: str = "trace",
) -> Routing:
    """The routing of a batch over the P + O - 1 positions that enter the model.

    Position p is the token entering at p: the prompt fills 0 to P - 1, and each output token but
    the last is fed back. A sequence serves if it holds all those positions; the first ones that do
    are taken, unless `sequences` names them. With `extend`, others are taken after them and what
    they lack, before or after what they hold, is made up: ``loop`` repeats the sequence, ``synth``
    draws from its own loads and reuse.

    Raises
    ------
    TraceError
        The trace is of another geometry, or holds too few sequences or positions.
    """
    check_geometry(trace.info, model, where)
    n_positions = prompt_tokens + output_tokens - 1
    held = _held(trace)
    if sequences is not None:
        _check_named(where, held, sequences, batch)
    chosen = list(sequences or _first(held, batch, n_positions, extendable=extend is not None))
    short = [s for s in chosen if held[s].n_real(n_positions) < n_positions]
    if len(chosen) < batch or (short and extend is None):
        raise TraceError(
            where,
            f"{prompt_tokens} prompt + {output_tokens} output tokens need positions 0 to "
            f"{n_positions - 1} of {batch} sequences; {_lack(held, n_positions, short)}; "
            "ask for fewer tokens or sequences, or make them up with "
            "trace: {path: FILE, extend: loop or synth}",
        )
    rows = [_positions(trace, held[s], n_positions, extend, (seed, s)) for s in chosen]
    invented = sum(n_positions - held[s].n_real(n_positions) for s in chosen)

    def beside(array: npt.NDArray[T], none: int) -> npt.NDArray[T]:
        """The same positions of another array of the trace."""
        return np.stack([_aligned(array, held[s], n_positions, extend, none) for s in chosen])

    return Routing(
        np.stack(rows),
        tuple(chosen),
        extend if short else None,
        invented,
        None if trace.weights is None else beside(trace.weights, 0),
        tuple(beside(ids, -1) for ids in trace.predicted),
    )


def check_geometry(info: TraceInfo, model: ModelSpec, where: str = "trace") -> None:
    """Raise a TraceError unless layers, experts and top_k of trace and model are the same."""
    of_trace = (info.layers, info.n_experts, info.top_k)
    of_model = (model.moe_layers, model.n_experts, model.top_k)
    if of_trace != of_model:
        raise TraceError(
            where,
            f"is of {info.model} with {_geometry(*of_trace)}; "
            f"model {model.name} has {_geometry(*of_model)}",
        )


def _geometry(layers: tuple[int, ...], n_experts: int, top_k: int) -> str:
    gaps = "" if layers[-1] - layers[0] == len(layers) - 1 else ", with gaps"
    named = f"{layers[0]} to {layers[-1]}{gaps}"
    return f"{len(layers)} MoE layers ({named}), {n_experts} experts, top-{top_k}"


@dataclass(frozen=True, slots=True)
class _Held:
    """What a sequence holds: `n` successive positions from `first`, at token row `start`."""

    start: int
    first: int
    n: int

    def n_real(self, n_positions: int) -> int:
        """Positions 0 to n_positions - 1 that the sequence holds."""
        return max(0, min(self.first + self.n, n_positions) - self.first)


def _held(trace: Trace) -> dict[int, _Held]:
    held = {}
    for sequence, (start, stop) in trace.bounds().items():
        position = trace.position[start:stop].astype(np.int64)
        gap = np.append(np.diff(position) != 1, True)
        held[sequence] = _Held(start, int(position[0]), int(np.argmax(gap)) + 1)
    return held


def _first(held: dict[int, _Held], batch: int, n_positions: int, *, extendable: bool) -> list[int]:
    enough = [s for s, h in held.items() if h.n_real(n_positions) == n_positions]
    rest = [s for s, h in held.items() if h.n_real(n_positions) < n_positions]
    return [*enough, *(rest if extendable else [])][:batch]


def _check_named(
    where: str, held: dict[int, _Held], sequences: tuple[int, ...], batch: int
) -> None:
    ids = list(held)
    for sequence in sequences:
        if sequence not in held:
            known = f"{len(ids)} sequences, {ids[0]} to {ids[-1]}"
            raise TraceError(where, f"trace.sequences: {sequence} is not in the trace ({known})")
    if len(sequences) != batch or len(set(sequences)) != batch:
        raise TraceError(
            where,
            f"trace.sequences: expected {batch} different ones for batch {batch}, "
            f"got {len(sequences)} ({len(set(sequences))} different)",
        )


def _lack(held: dict[int, _Held], n_positions: int, short: list[int]) -> str:
    if short:
        h = held[short[0]]
        return f"sequence {short[0]} holds {h.first} to {h.first + h.n - 1}"
    real = [h.n_real(n_positions) for h in held.values()]
    longest = max(held.values(), key=lambda h: (h.first == 0) * h.n)
    if longest.first:
        return f"none of the trace's {len(held)} sequences starts at position 0"
    return (
        f"{real.count(n_positions)} of the trace's {len(held)} sequences hold them, "
        f"the longest holds {longest.n}"
    )


def _positions(
    trace: Trace, held: _Held, n_positions: int, extend: Extend | None, seed: tuple[int, int]
) -> npt.NDArray[np.int16]:
    """(n_positions, L, k): what is real stands at its position."""
    own = trace.experts[held.start : held.start + held.n]
    if extend == "loop":
        return own[(np.arange(n_positions) - held.first) % held.n]
    before = min(held.first, n_positions)
    n_real = held.n_real(n_positions)
    n_missing = n_positions - n_real
    if not n_missing:
        return own[:n_positions]
    root = np.random.SeedSequence(seed)
    made_up = continue_routing(own, trace.info.n_experts, n_missing, root)
    return np.concatenate((made_up[:before], own[:n_real], made_up[before:]))


def _aligned(
    array: npt.NDArray[T], held: _Held, n_positions: int, extend: Extend | None, none: int
) -> npt.NDArray[T]:
    """(n_positions, L, width) of an array of the trace; `none` where routing is made up."""
    own: npt.NDArray[T] = array[held.start : held.start + held.n]
    if extend == "loop":
        return own[(np.arange(n_positions) - held.first) % held.n]
    whole = np.full((n_positions, *own.shape[1:]), none, dtype=own.dtype)
    n_real = held.n_real(n_positions)
    whole[held.first : held.first + n_real] = own[:n_real]
    return whole
