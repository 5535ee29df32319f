"""The rules a routing trace keeps, on disk and in memory."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from ndpsim.errors import TraceError
from ndpsim.workload.spec import MAX_EXPERTS, MAX_LAYERS

MAX_TOP_K: Final = 256
MAX_LAYER_EXPERTS: Final = 2**24
"""Both far beyond any model; they keep checks and tables small whatever a file claims."""

if TYPE_CHECKING:
    from ndpsim.workload.trace import Trace, TraceInfo


def check_trace(where: str, trace: "Trace") -> None:
    """Raise a TraceError that names the first offending row unless the trace keeps its rules."""
    info, shape = trace.info, trace.experts.shape
    check_info(where, info)
    _check_arrays(where, trace)
    _check_order(where, trace)
    if trace.phase.max() > 1:
        token = int(np.argmax(trace.phase > 1))
        _fail_row(where, trace, token, f"phase {trace.phase[token]} is neither 0 nor 1")
    low, high = int(trace.experts.min()), int(trace.experts.max())
    if low < -1 or high >= info.n_experts:
        flat = trace.experts.reshape(-1)
        at = int(np.argmax((flat < -1) | (flat >= info.n_experts)))
        row = at // shape[2]
        what = f"expert id {flat[at]} is outside 0 to {info.n_experts - 1} (-1: none)"
        _fail_row(where, trace, row // shape[1], what, row % shape[1])
    _check_distinct(where, trace)
    for d, ids in enumerate(trace.predicted, start=1):
        if int(ids.min(initial=-1)) < -1 or int(ids.max(initial=-1)) >= info.n_experts:
            token = int(np.argmax(((ids < -1) | (ids >= info.n_experts)).any(axis=(1, 2))))
            what = f"predicted_{d} holds an id outside 0 to {info.n_experts - 1} (-1: none)"
            _fail_row(where, trace, token, what)


def _check_arrays(where: str, trace: "Trace") -> None:
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "sequence": (np.uint32, (trace.n_tokens,)),
        "position": (np.uint32, (trace.n_tokens,)),
        "phase": (np.uint8, (trace.n_tokens,)),
    }
    lists = (trace.n_tokens, len(trace.info.layers), trace.info.top_k)
    expected["experts"] = (np.int16, lists)
    if trace.weights is not None:
        expected["weights"] = (np.float16, lists)
    arrays = {name: getattr(trace, name) for name in expected}
    for d, ids in enumerate(trace.predicted, start=1):
        width = ids.shape[-1] if ids.ndim == 3 else 0
        arrays[f"predicted_{d}"] = ids
        expected[f"predicted_{d}"] = (np.int16, (*lists[:2], width))
    for name, (kind, shape) in expected.items():
        array = arrays[name]
        if array.dtype != kind or array.shape != shape:
            got = f"{array.dtype} {array.shape}"
            raise TraceError(where, f"'{name}' must be {kind.__name__} {shape}, not {got}")
    if trace.n_tokens == 0:
        raise TraceError(where, "holds no tokens")


def _check_order(where: str, trace: "Trace") -> None:
    step = np.diff(trace.sequence.astype(np.int64))
    bad = (step < 0) | ((step == 0) & (np.diff(trace.position.astype(np.int64)) <= 0))
    if bad.any():
        token = int(np.argmax(bad)) + 1
        _fail_row(where, trace, token, "is not after the row before; sort by sequence, position")


def _check_distinct(where: str, trace: "Trace") -> None:
    """No expert twice for one token and layer."""
    k = trace.info.top_k
    columns = np.ascontiguousarray(trace.experts.reshape(-1, k).T)
    twice = np.zeros(columns.shape[1], np.bool_)
    for a in range(k):
        for b in range(a + 1, k):
            twice |= (columns[a] == columns[b]) & (columns[a] >= 0)
    if twice.any():
        row = int(np.argmax(twice))
        n_layers = trace.experts.shape[1]
        _fail_row(where, trace, row // n_layers, "lists an expert twice", row % n_layers)


def _fail_row(where: str, trace: "Trace", token: int, what: str, layer: int = 0) -> None:
    row = token * len(trace.info.layers) + layer
    at = f"sequence {trace.sequence[token]}, position {trace.position[token]}"
    raise TraceError(where, f"row {row} ({at}, layer {trace.info.layers[layer]}) {what}")


def check_info(where: str, info: "TraceInfo") -> None:
    """Raise a TraceError unless the description of a trace is complete and of sane size."""
    for rule, holds in _rules(info):
        if not holds:
            raise TraceError(where, f"trace metadata: {rule}")


def _rules(info: "TraceInfo") -> Iterator[tuple[str, bool]]:
    """Each rule and whether it holds; a rule may rely on those before it."""
    model = info.model
    named = isinstance(model, str) and 0 < len(model) <= 200 and model.isprintable()
    yield "model must be a printable name", named
    yield f"n_experts must be 1 to {MAX_EXPERTS}", _is_count(info.n_experts, MAX_EXPERTS)
    most = min(info.n_experts, MAX_TOP_K)
    yield f"top_k must be 1 to n_experts, at most {MAX_TOP_K}", _is_count(info.top_k, most)
    yield "layers must be ascending decoder-layer indices", _ascending_layers(info.layers)
    size = len(info.layers) * info.n_experts
    yield f"layers x n_experts must be at most {MAX_LAYER_EXPERTS}", size <= MAX_LAYER_EXPERTS
    yield "synthetic must be true or false", isinstance(info.synthetic, bool)
    yield "provenance must be a mapping", isinstance(info.provenance, Mapping)


def _is_count(value: object, most: int, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _ascending_layers(layers: object) -> bool:
    return (
        isinstance(layers, tuple)
        and 0 < len(layers) <= MAX_LAYERS
        and all(_is_count(layer, MAX_LAYERS - 1, least=0) for layer in layers)
        and all(a < b for a, b in pairwise(layers))
    )


def one_line(error: BaseException) -> str:
    """The first line of what an error says."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
