"""A reproduction as a table: published figures beside ours."""

from rich.console import Group, RenderableType
from rich.text import Text

from ndpsim.report.figures import digits
from ndpsim.report.terminal import headed_table
from ndpsim.validation.reproduce import Reproduction


def reproduction_view(result: Reproduction) -> RenderableType:
    """Quantity, the paper's value, ours, the error; then what could not be run."""
    table = headed_table()
    for title in ("quantity", "paper", "ours", "error", "source"):
        table.add_column(title, justify="left" if title in ("quantity", "source") else "right")
    for figure in result.figures:
        table.add_row(
            figure.quantity,
            "-" if figure.paper is None else f"{figure.paper:.2f}",
            "-" if figure.ours is None else digits(figure.ours),
            "-" if figure.error_frac is None else f"{figure.error_frac:+.1%}",
            figure.mark,
        )
    notes = [
        "S: stated in the paper's abstract. 2H: read in somebody's digest of the paper.",
        *(
            f"not run: {model} on {n_units} units: {reason}"
            for (model, n_units), reason in result.infeasible.items()
        ),
    ]
    return Group(table, Text(), *(Text(note) for note in notes))
