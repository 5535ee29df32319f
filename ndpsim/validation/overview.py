"""The summary of a validation with few rows: targets, groups, what is not modelled."""

from collections.abc import Callable, Sequence
from typing import Any

from ndpsim.validation.gpu import Case
from ndpsim.validation.summary import grouped, statistics_of

Target = tuple[str, float, Callable[[Case], bool]]
"""Name, median absolute error aimed at, and the cases it covers."""


def overview(
    cases: Sequence[Case], heads: tuple[str, ...], targets: Sequence[Target]
) -> dict[str, Any]:
    """Statistics by the fields `heads` of a case."""
    modelled = sum(case.error_frac is not None for case in cases)
    groups = grouped(cases, lambda c: tuple(str(getattr(c, head)) for head in heads))
    reasons = grouped((c for c in cases if c.reason), lambda c: (c.set, str(c.reason)))
    return {
        "rows": len(cases),
        "modelled_frac": round(modelled / len(cases), 4) if cases else 0.0,
        "targets": [
            {"name": name, "target": target, **statistics_of(filter(covers, cases))}
            for name, target, covers in targets
        ],
        "groups": [
            {**dict(zip(heads, key, strict=True)), "rows": len(group), **statistics_of(group)}
            for key, group in groups.items()
        ],
        "not_modelled": [
            {"set": key[0], "reason": key[1], "n": len(group)} for key, group in reasons.items()
        ],
    }
