"""Error statistics of validation cases."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any, Final

from ndpsim.validation.gpu import Case

TARGETS: Final = (
    ("GEMM bf16/fp16", 0.15, lambda c: c.set == "gemm" and c.dtype in ("bf16", "fp16")),
    (
        "GEMM bf16/fp16, m <= 16",
        0.12,
        lambda c: c.set == "gemm" and c.dtype in ("bf16", "fp16") and c.shape[4] <= 16,
    ),
    ("decode attention", 0.20, lambda c: c.op == "attention_decode"),
    ("MoE layer", 0.25, lambda c: c.op == "moe_layer"),
)
"""What the model aims at: name, median absolute error, and the headline cases it covers."""
BIAS_TARGET: Final = 0.08
"""The median signed error of every operator aims to stay within this."""


FITTED_GPUS: Final = ("A100-SXM4-80GB", "H100-SXM-80GB", "B200-SXM", "RTX-PRO-6000-Server")
"""GPUs whose presets carry constants fitted to their CUDA-graph tables."""
FITTED_GEMMS: Final = ("V100-PCIE-16GB", "RTX4090")
"""GPUs of which large products, and for V100 the streaming rate, were fitted."""


def is_fitted(case: Case) -> bool:
    """Whether the case belongs to tables that constants were fitted to.

    Row-wise kernels share two constants over all GPUs, fitted to all their rows; the eager launch
    and a profiler's floor are medians of such rows as well.
    """
    if case.set in ("elementwise", "launch"):
        return True
    if case.timing == "cuda_graph_replay":
        return case.gpu in FITTED_GPUS
    return case.set == "gemm" and case.gpu in FITTED_GEMMS


def statistics_of(cases: Iterable[Case]) -> dict[str, Any]:
    """Count, median absolute error, bias (median signed error) and 90th percentile."""
    errors = [case.error_frac for case in cases if case.error_frac is not None]
    if not errors:
        return {"n": 0, "median_abs_error": None, "bias": None, "p90_abs_error": None}
    sizes = sorted(map(abs, errors))
    return {
        "n": len(errors),
        "median_abs_error": round(statistics.median(sizes), 4),
        "bias": round(statistics.median(errors), 4),
        "p90_abs_error": round(_quantile(sizes, 0.9), 4),
    }


def _quantile(ordered: Sequence[float], q: float) -> float:
    """Linear between neighbours."""
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def grouped(
    cases: Iterable[Case], key: Callable[[Case], tuple[str, ...]]
) -> dict[tuple[str, ...], list[Case]]:
    """Cases by key, sorted."""
    groups: defaultdict[tuple[str, ...], list[Case]] = defaultdict(list)
    for case in cases:
        groups[key(case)].append(case)
    return dict(sorted(groups.items()))


def noise_floor(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """How far frameworks differ on the same GPU, shape and format, by table and GPU.

    The error of the larger against the smaller time, over all pairs of frameworks.
    """
    alike = grouped(cases, lambda c: tuple(str(part) for part in (c.set, c.timing, *c.shape)))
    spreads: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for group in alike.values():
        for one, other in combinations(group, 2):
            if one.framework != other.framework and one.part == other.part:
                low, high = sorted((one.expected, other.expected))
                spreads[one.set, one.gpu].append(high / low - 1)
    return [
        {
            "set": name,
            "gpu": gpu,
            "n": len(values),
            "median_spread": round(statistics.median(values), 4),
            "p90_spread": round(_quantile(sorted(values), 0.9), 4),
        }
        for (name, gpu), values in sorted(spreads.items())
    ]


def summarize(cases: Sequence[Case]) -> dict[str, Any]:
    """The summary of `validate gpu --json`."""
    headline = [case for case in cases if case.part == "headline"]
    modelled = sum(case.error_frac is not None for case in cases)
    tables = grouped(cases, lambda c: (c.part, c.gpu, c.op, c.dtype, c.timing))
    reasons = grouped((c for c in cases if c.reason), lambda c: (c.set, str(c.reason)))
    return {
        "rows": len(cases),
        "modelled_frac": round(modelled / len(cases), 4) if cases else 0.0,
        "targets": [
            {"name": name, "target": target, **statistics_of(filter(covers, headline))}
            for name, target, covers in TARGETS
        ],
        "bias_target": BIAS_TARGET,
        "operators": [
            {"op": op[0], **statistics_of(group)}
            for op, group in grouped(headline, lambda c: (c.op,)).items()
        ],
        "held_out": [
            {"op": key[0], "rows": key[1], **statistics_of(group)}
            for key, group in grouped(
                headline, lambda c: (c.op, "fitted" if is_fitted(c) else "held out")
            ).items()
        ],
        "gpus": [
            {"gpu": key[0], "set": key[1], **statistics_of(group)}
            for key, group in grouped(headline, lambda c: (c.gpu, c.set)).items()
        ],
        "groups": [
            {
                **dict(zip(("part", "gpu", "op", "dtype", "timing"), key, strict=True)),
                **statistics_of(group),
            }
            for key, group in tables.items()
        ],
        "noise_floor": noise_floor(cases),
        "not_modelled": [
            {"set": key[0], "reason": key[1], "n": len(group)} for key, group in reasons.items()
        ],
    }
