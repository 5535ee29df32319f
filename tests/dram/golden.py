"""The reference figures beside the project: their folder and rows."""

from pathlib import Path

from ndpsim.validation.dram_tables import Folder, Row, read_folder

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "reference" / "dram"
REASON = "no reference figures beside the project (../shared/reference/dram)"


def tables() -> Folder:
    """All tables; none without the folder."""
    return read_folder(FOLDER)


def rows(*names: str, most_requests: int) -> list[Row]:
    """Rows of tables with at most so many requests."""
    found = tables().tables
    return [
        row
        for name in names
        for row in found.get(name, ())
        if int(row["n_requests"]) <= most_requests
    ]
