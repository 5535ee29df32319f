"""What `ndpsim bench` does; imported when it runs."""

from dataclasses import asdict

from ndpsim.bench import compare_with, measure_all, write_scaling
from ndpsim.cli.output import Meter, print_json
from ndpsim.errors import InputError
from ndpsim.report.figures import digits, quantity


def bench(as_json: bool, revision: str | None, scaling: str | None) -> None:
    """`ndpsim bench`."""
    if revision is not None and scaling is not None:
        raise InputError("bench", "give one of --compare, --scaling")
    if scaling is not None:
        with Meter() as meter:
            write_scaling(scaling, meter)
    elif revision is not None:
        _compare(revision, as_json)
    else:
        _measure(as_json)


def _measure(as_json: bool) -> None:
    with Meter() as meter:
        rows = measure_all(meter)
    if as_json:
        print_json([{"name": row.name, "value": row.value, "unit": row.unit} for row in rows])
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name:{width}}  {_amount(row.value, row.unit)}")


def _compare(revision: str, as_json: bool) -> None:
    rows = compare_with(revision)
    if as_json:
        print_json([{**asdict(row), "ratio": row.ratio} for row in rows])
        return
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'this':>14}  {revision[:14]:>14}  this/other")
    for row in rows:
        cells = [_amount(value, row.unit) for value in (row.value, row.other)]
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        print(f"{row.name:{width}}  {cells[0]:>14}  {cells[1]:>14}  {ratio:>10}")


def _amount(value: float | None, unit: str) -> str:
    """A figure of the benchmark; its name already says which unit it is in."""
    if value is None:
        return "-"
    if unit in ("s", "B"):
        return quantity(value, unit)
    return quantity(value, "/s") if unit == "1/s" else f"{digits(value)} {unit}"
