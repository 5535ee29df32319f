"""What commands print: one JSON document, or tables; progress on the side."""

import json
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console, RenderableType

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_S: Final = 2.0
"""No progress is shown before."""


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_view(view: RenderableType) -> None:
    """Tables on stdout; plain text without trailing blanks when it is not a terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        console.print(view)
        return
    with console.capture() as captured:
        console.print(view)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def is_ascii() -> bool:
    """Whether stdout cannot show block characters."""
    return "utf" not in (sys.stdout.encoding or "").lower()


class Meter:
    """A progress bar on stderr, once a command has taken long; silent where nobody looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._state: tuple[str, int, int | None] = ("loading and prefill", 0, None)
        self._timer = threading.Timer(PATIENCE_S, self._open)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._bar is not None:
                self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of progress; cheap before the bar is shown."""
        self._state = (what, done, total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what, completed=done, total=total)

    def _open(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        with self._lock:
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                Remaining(),
                console=Console(stderr=True),
                transient=True,
            )
            what, done, total = self._state
            self._task = bar.add_task(what, completed=done, total=total)
            bar.start()
            self._bar = bar
