"""`ndpsim explain`: where the time went."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer


def explain(
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="A results folder, or a configuration to run.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Say what the time was spent on and what a faster part would buy, by running it again."""
    from ndpsim.cli.output import Meter, print_json, print_view
    from ndpsim.report.explanation import explanation_view, sentences
    from ndpsim.study.explain import explain as run

    with Meter() as meter:
        explanation = run(source, progress=partial(meter, "parts"))
    if as_json:
        print_json(
            {
                "config_hash": explanation.result.summary["config_hash"],
                "words": sentences(explanation),
                "phases": explanation.phases,
                "critical_s": explanation.critical_s,
                "what_if": [asdict(what_if) for what_if in explanation.what_ifs],
            }
        )
        return
    print_view(explanation_view(explanation))
