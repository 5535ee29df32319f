"""What a run produced: a summary, and frames with the detail behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, NDArray[Any] | list[Any]]
"""A table by column; becomes a frame on demand and a Parquet file as it is."""


@dataclass(frozen=True)
class RunResult:
    """One simulated run."""

    summary: dict[str, Any]
    """The figures of `ndpsim run --json`, without wall time and memo statistics."""
    values: dict[str, Any]
    """The resolved configuration, as plain data."""
    provenance: dict[str, str]
    """Dotted path of each value -> where it came from."""
    assumed: tuple[str, ...]
    """Values that a preset marks as assumptions."""
    tables: Mapping[str, Columns]
    """Columns of `layers`, `tokens` and `resources`."""
    wall_s: float = 0.0
    memo: dict[str, dict[str, int]] = field(default_factory=dict)

    @cached_property
    def layers(self) -> "pd.DataFrame":
        """One row per phase and decoder layer: times and pairs, summed over steps."""
        return self._frame("layers")

    @cached_property
    def tokens(self) -> "pd.DataFrame":
        """One row per output token: when it was emitted and what its step took."""
        return self._frame("tokens")

    @cached_property
    def resources(self) -> "pd.DataFrame":
        """One row per resource: busy and critical time, bytes, FLOP."""
        return self._frame("resources")

    def _frame(self, name: str) -> "pd.DataFrame":
        import pandas as pd  # 0.4 s to import

        frame = pd.DataFrame(self.tables[name])
        frame.attrs["config_hash"] = self.summary["config_hash"]
        return frame
