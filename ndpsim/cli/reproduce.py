"""`ndpsim reproduce`: published evaluations, run again."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer


def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to reproduce: edge-gpu-ndp.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
    system: Annotated[
        str | None, typer.Option("--system", metavar="NAME", help="Another machine, such as edge.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change an assumption in every run."),
    ] = None,
    units: Annotated[
        list[int] | None, typer.Option("--units", metavar="N", help="Only these NDP unit counts.")
    ] = None,
    captured: Annotated[
        str | None,
        typer.Option("--captured", metavar="DIR", help="A checkout whose traces/ to replay."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes.")] = 2,
) -> None:
    """Run a published evaluation again and show its figures beside the paper's."""
    from ndpsim.cli.output import Meter, print_json, print_view
    from ndpsim.report.reproduction import reproduction_view
    from ndpsim.spec import parse_overrides
    from ndpsim.validation.reproduce import reproduce as run

    with Meter() as meter:
        result = run(
            name,
            system=system,
            overrides=parse_overrides(overrides or []),
            n_units=units,
            captured=Path(captured) if captured else None,
            jobs=jobs,
            progress=partial(meter, "cells"),
        )
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "quantity": figure.quantity,
                "paper": figure.paper,
                "ours": figure.ours,
                "error_frac": figure.error_frac,
                "mark": figure.mark,
            }
            for figure in result.figures
        ]
        print_json(rows)
        return
    print_view(reproduction_view(result))
