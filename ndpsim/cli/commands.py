"""What the commands do; imported when one of them runs."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from ndpsim import experiment, study
from ndpsim.cli.output import Meter, is_ascii, print_json, print_view
from ndpsim.experiment import RunResult, RunSpec
from ndpsim.experiment.files import check_target, save_run
from ndpsim.report import comparison_view, run_view, stats_view
from ndpsim.report.figures import quantity
from ndpsim.spec import schema as schema_of


def run(
    config: str,
    overrides: Sequence[str],
    output: str | None,
    as_json: bool,
    *,
    audit: bool,
    memo: bool,
) -> None:
    """`ndpsim run`."""
    if output is not None:
        check_target(output)
    with Meter() as meter:
        result = experiment.run(
            config, overrides, memo=memo, check=audit, progress=partial(meter, "tokens")
        )
    if output is not None:
        save_run(result, output)
    if as_json:
        print_json(_document(result))
        return
    notes = [*result.summary["notes"], f"simulated in {quantity(result.wall_s, 's')}"]
    if audit:
        notes.append(
            "audit passed: every routed pair computed once, no byte lost, all within capacity"
        )
    notes.append(f"results in {output}" if output else "-o DIR keeps the tables behind this")
    notes.append(f"next: ndpsim compare {config} --schedulers all")
    print_view(run_view(result, notes, plain=is_ascii()))


def compare(
    config: str, schedulers: str, overrides: Sequence[str], output: str | None, as_json: bool
) -> None:
    """`ndpsim compare`."""
    if output is not None:
        check_target(output)
    with Meter() as meter:
        comparison = study.compare(config, schedulers, overrides, progress=meter)
    for skipped in comparison.skipped:
        print(f"skipped {skipped.scheduler}: {skipped.reason}", file=sys.stderr)
    if output is not None:
        study.save_comparison(comparison, output)
    if as_json:
        print_json([_document(result) for result in comparison])
    else:
        print_view(comparison_view(comparison))


def schema() -> None:
    """`ndpsim schema`."""
    print_json(schema_of(RunSpec))


def trace_stats(file: str, as_json: bool) -> None:
    """`ndpsim trace stats`."""
    from ndpsim.workload import read_trace
    from ndpsim.workload.stats import trace_stats as stats_of

    stats = stats_of(read_trace(file))
    if as_json:
        print_json(stats)
    else:
        print_view(stats_view(stats, file))


def _document(result: RunResult) -> dict[str, Any]:
    """A summary, and what only stdout and `meta.json` tell."""
    return {**result.summary, "wall_s": result.wall_s, "memo": result.memo}
