"""`ndpsim validate`: the models against what others measured."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

validate_app = typer.Typer(
    help="Compare the models with what others measured.", rich_markup_mode=None
)

Reference = Annotated[
    str | None,
    typer.Option("--reference", metavar="DIR", help="A folder of measured tables (CSV)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

_FIELDS: Final = ("set", "case", "op", "expected", "got", "error_frac", "reason")
_NUMBERS: Final = ("n", "median_abs_error", "bias", "p90_abs_error")


@validate_app.command()
def gpu(reference: Reference = None, as_json: Json = False) -> None:
    """GPU operators against measured times, by GPU, operator, format and timing kind.

    Copies over links are compared as well where their table lies beside or above.
    """
    from ndpsim.cli.output import print_json, print_view
    from ndpsim.validation import summarize, validate_gpu
    from ndpsim.validation.links import links_beside, summarize_links

    links = links_beside(reference)
    cases = (*validate_gpu(reference), *links)
    summary = summarize(cases)
    if links:
        summary["targets"] += summarize_links(links)["targets"]
    if as_json:
        rows = [
            {
                **{field: getattr(case, field) for field in _FIELDS},
                "gpu": case.gpu,
                "dtype": case.dtype,
                "timing": case.timing,
                "framework": case.framework,
                "part": case.part,
            }
            for case in cases
        ]
        print_json({"cases": rows, "summary": summary})
        return
    print_view(_groups(summary["groups"]))
    print(f"\nheadline rows (weights not in L2, not limited by software), {summary['rows']} rows,")
    print(f"{summary['modelled_frac']:.1%} of them modelled\n")
    print_view(_table(("name", "target"), summary["targets"]))
    print(f"\nby operator; each bias aims to stay within {summary['bias_target']:.0%}")
    print_view(_table(("op",), summary["operators"]))
    print("\nrows that constants of presets were fitted to, and rows held out")
    print_view(_table(("op", "rows"), summary["held_out"]))
    print("\nby GPU")
    print_view(_table(("gpu", "set"), summary["gpus"]))
    print("\nnoise floor: frameworks against each other, same GPU, shape and format")
    print_view(_table(("set", "gpu"), summary["noise_floor"], ("n", "median_spread", "p90_spread")))
    print("\nnot modelled")
    print_view(_table(("set", "reason"), summary["not_modelled"], ("n",)))


@validate_app.command()
def links(reference: Reference = None, as_json: Json = False) -> None:
    """Copies over links, host memory and CPU experts against measurements."""
    from ndpsim.validation.links import summarize_links, validate_links

    cases = validate_links(reference)
    _show(cases, summarize_links(cases), ("part", "op"), as_json)


@validate_app.command("end-to-end")
def end_to_end(reference: Reference = None, as_json: Json = False) -> None:
    """Tokens per second of MoE models on one GPU against published runs."""
    from ndpsim.validation.end_to_end import summarize_end_to_end, validate_end_to_end

    cases = validate_end_to_end(reference)
    _show(cases, summarize_end_to_end(cases), ("part", "op", "gpu"), as_json)


def _show(
    cases: Sequence[Any], summary: Mapping[str, Any], heads: tuple[str, ...], as_json: bool
) -> None:
    """Cases and their summary as one document, or the summary as tables."""
    from ndpsim.cli.output import print_json, print_view

    if as_json:
        fields = (*_FIELDS, *heads)
        rows = [{field: getattr(case, field) for field in fields} for case in cases]
        print_json({"cases": rows, "summary": summary})
        return
    print_view(_table(heads, summary["groups"], ("rows", *_NUMBERS)))
    print(f"\n{summary['rows']} rows, {summary['modelled_frac']:.1%} of them modelled\n")
    print_view(_table(("name", "target"), summary["targets"]))
    print("\nnot modelled")
    print_view(_table(("set", "reason"), summary["not_modelled"], ("n",)))


@validate_app.command()
def dram(reference: Reference = None, as_json: Json = False) -> None:
    """DRAM runs against other simulators: cycles, row hits, refreshes, command traces."""
    from ndpsim.cli.output import print_json, print_view
    from ndpsim.validation.dram import summarize_dram, validate_dram

    cases = validate_dram(reference)
    summary = summarize_dram(cases)
    if as_json:
        fields = (*_FIELDS, "exact", "within")
        rows = [{field: getattr(case, field) for field in fields} for case in cases]
        print_json({"cases": rows, "summary": summary})
        return
    numbers = ("cases", "exact", "within_spread", "median_abs_error", "max_abs_error")
    print_view(_table(("set",), summary["files"], numbers))
    for file in summary["files"]:
        if file["worst"]:
            print(f"\n{file['set']}: rows that differ most")
            print_view(_table(("case",), file["worst"], ("expected", "got", "reason")))


def _groups(groups: Iterable[Mapping[str, Any]]) -> Any:
    return _table(("part", "gpu", "op", "dtype", "timing"), groups)


def _table(
    heads: tuple[str, ...], rows: Iterable[Mapping[str, Any]], numbers: tuple[str, ...] = _NUMBERS
) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0),
        header_style="bold",
    )  # fmt: skip
    for head in heads:
        table.add_column(head, overflow="fold")
    for number in numbers:
        table.add_column(number.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(_cell(h, row[h]) for h in heads), *(_cell(n, row[n]) for n in numbers))
    return table


def _cell(head: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:+.1%}" if head == "bias" else f"{value:.1%}"
    return str(value)
