"""Sweeps as tables for a terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from ndpsim.report.figures import column, digits
from ndpsim.report.terminal import Pairs, _grid, _section, headed_table

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS: Final = 20
MAX_VALUES: Final = 12
"""Values of a path that are listed one by one."""
MAX_REASONS: Final = 5


def sweep_view(
    frame: "pd.DataFrame", header: Mapping[str, Any], notes: Sequence[str] = ()
) -> RenderableType:
    """A sweep: its best points, what each choice does on average, what could not be run and why.

    Parameters
    ----------
    header
        The sweep's `sweep.json`.
    notes
        Lines to add at the end.
    """
    ran = frame[frame["status"] == "ok"]
    paths = [path for path in header["paths"] if path in frame]
    parts: list[RenderableType] = [_grid(_subject(frame, header))]
    if len(ran):
        title, best = _best(ran, paths, header)
        parts += [_section(title), _points(best, paths, header)]
        effects = _effects(ran, paths)
        if effects.row_count:
            parts += [_section("each choice, over all points that ran with it"), effects]
    reasons = _reasons(frame)
    if reasons:
        parts += [_section("not run"), _grid(reasons)]
    if notes:
        parts += [Text(), *(Text(note) for note in notes)]
    return Group(*parts)


def _subject(frame: "pd.DataFrame", header: Mapping[str, Any]) -> Pairs:
    counts = frame["status"].value_counts()
    named = [f"{counts[name]} {name}" for name in ("ok", "infeasible", "failed") if name in counts]
    pairs: Pairs = [
        ("sweep", f"{header['name']}{': ' if header['about'] else ''}{header['about']}"),
        ("points", f"{len(frame)} distinct of {header['n_points']}: {', '.join(named)}"),
    ]
    if header["objectives"]:
        goals = [f"{goal} {text}" for text, goal in header["objectives"].items()]
        pairs.append(("objectives", ", ".join([*goals, *header["constraints"]])))
    return pairs


def _best(
    ran: "pd.DataFrame", paths: Sequence[str], header: Mapping[str, Any]
) -> tuple[str, "pd.DataFrame"]:
    """The rows worth showing, and what they are."""
    if "pareto" in ran:
        front = ran[ran["pareto"]].sort_values("e2e_s", kind="stable")
        shown = f", the fastest {MAX_ROWS}" if len(front) > MAX_ROWS else ""
        return f"{len(front)} points that no other beats{shown}", front.head(MAX_ROWS)
    first = paths[0] if paths else None
    if first and 1 < ran[first].nunique() <= MAX_ROWS:
        best = ran.sort_values("e2e_s", kind="stable").drop_duplicates(first)
        return f"fastest point by {_short(first)}", best.sort_values("point")
    return "fastest points", ran.sort_values("e2e_s", kind="stable").head(10)


def _points(
    rows: "pd.DataFrame", paths: Sequence[str], header: Mapping[str, Any]
) -> RenderableType:
    table = headed_table()
    table.add_column("point\n", justify="right")
    cells: list[list[str]] = [[str(point) for point in rows["point"]]]
    for path in paths:
        if rows[path].map(str).map(len).max() > 40:  # an inline mapping is no use in a table
            continue
        table.add_column(f"{_short(path)}\n", overflow="fold")
        cells.append([str(value) for value in rows[path]])
    for name, title, unit in (("e2e_s", "e2e", "s"), ("tpot_s", "TPOT", "s")):
        shown, texts = column([_figure(value) for value in rows[name]], unit)
        table.add_column(f"{title}\n{shown}", justify="right", no_wrap=True)
        cells.append(texts)
    for name in header["columns"]:
        if name in rows:
            table.add_column(f"{name}\n", justify="right")
            cells.append([_cell(value) for value in rows[name]])
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return table


def _effects(ran: "pd.DataFrame", paths: Sequence[str]) -> Any:
    """Geometric means of the end-to-end time by value of each path."""
    import numpy as np

    table = headed_table()
    for head in ("path", "value"):
        table.add_column(head, overflow="fold")
    for head in ("points", "e2e, geo. mean", "x best"):
        table.add_column(head, justify="right", no_wrap=True)
    log_s = np.log(ran["e2e_s"])
    for path in paths:
        keys = ran[path].map(str)
        if not 1 < keys.nunique() <= MAX_VALUES:
            continue
        groups = log_s.groupby(keys, sort=False)
        means = np.exp(groups.mean())
        unit, texts = column(list(means), "s")
        for index, (value, n) in enumerate(groups.size().items()):
            ratio = f"{means.iloc[index] / means.min():.2f}x"
            name = _short(path) if index == 0 else ""
            table.add_row(name, _brief(str(value)), str(n), f"{texts[index]} {unit}", ratio)
    return table


def _reasons(frame: "pd.DataFrame") -> Pairs:
    """Why points did not run; reasons that differ in figures only, together."""
    found: dict[tuple[str, str], list[str]] = {}
    for status, error in zip(frame["status"], frame["error"], strict=True):
        if status != "ok":
            found.setdefault((status, re.sub(r"[\d.]+", "#", str(error))), []).append(str(error))
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    pairs: Pairs = [
        (f"{len(errors)} {status}", ("such as " if len(errors) > 1 else "") + errors[0])
        for (status, _), errors in ordered[:MAX_REASONS]
    ]
    if len(ordered) > MAX_REASONS:
        pairs.append(("", f"{len(ordered) - MAX_REASONS} other reasons, in the error column"))
    return pairs


def _short(path: str) -> str:
    return path.removeprefix("system.")


def _brief(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _figure(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _cell(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    figure = _figure(value)
    return "-" if figure is None else digits(figure, 4)
