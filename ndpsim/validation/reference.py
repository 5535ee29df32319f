"""Tables of what others measured: a folder of CSV files with agreed columns."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ndpsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_FOLDERS: Final = ("reference", "../shared/reference")
"""Where reference data is looked for when no folder is given, from the working directory."""


def find_folder(given: str | None, kind: str) -> Path:
    """The folder of one kind of reference data.

    Parameters
    ----------
    given
        That folder, or one that holds it under the name `kind`; None looks in `DEFAULT_FOLDERS`.

    Raises
    ------
    InputError
        There is none.
    """
    places = [Path(given)] if given is not None else [Path(place) for place in DEFAULT_FOLDERS]
    for place in places:
        for folder in (place / kind, place):
            if folder.is_dir() and any(folder.glob("*.csv")):
                return folder
    looked = ", ".join(str(place) for place in places)
    hint = "" if given is not None else "; name one with --reference DIR"
    raise InputError("--reference", f"no CSV tables in {looked}{hint}")


def find_file(given: str | None, name: str) -> Path:
    """A table by its file name, in the folder given or in one of `DEFAULT_FOLDERS`.

    Raises
    ------
    InputError
        There is none.
    """
    places = [Path(given)] if given is not None else [Path(place) for place in DEFAULT_FOLDERS]
    for place in places:
        if (place / name).is_file():
            return place / name
    looked = ", ".join(str(place) for place in places)
    hint = "" if given is not None else "; name one with --reference DIR"
    raise InputError("--reference", f"no {name} in {looked}{hint}")


def read_table(path: Path, columns: Iterable[str]) -> "pd.DataFrame":
    """A table of measurements.

    Raises
    ------
    InputError
        The file cannot be read, or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, low_memory=False)
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"not a readable CSV table: {error}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            str(path),
            f"missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has: {', '.join(map(str, table.columns))}",
        )
    return table
