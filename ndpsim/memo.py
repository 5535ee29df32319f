"""A bounded memory before pure functions: the arguments are the key.

A remembered function has the form ``function(memo, *frozen_values) -> frozen_value`` and reads
nothing else; `memo` is passed on so that it may remember what it calls. Nobody but the caller knows
which kind of memory was handed down.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Concatenate, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_ABSENT: Final = object()


class Memo:
    """Remembers results, dropping the oldest of a function beyond `limit` entries."""

    remembers: ClassVar[bool] = True

    def __init__(self, limit: int = 1 << 18) -> None:
        self._limit = limit
        self._tables: dict[Callable[..., Any], dict[Any, Any]] = {}
        self._calls: dict[Callable[..., Any], int] = {}
        self._computed: dict[Callable[..., Any], int] = {}

    def __call__(
        self, function: "Callable[Concatenate[Memo, P], R]", *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`function(self, *args)`, computed at most once while remembered."""
        if kwargs:
            raise TypeError(
                "a remembered function takes positional arguments only: they are its key"
            )
        self._calls[function] = self._calls.get(function, 0) + 1
        table = self._tables.setdefault(function, {})
        remembered = table.get(args, _ABSENT)
        if remembered is not _ABSENT:
            return remembered  # type: ignore[no-any-return]
        result = self._compute(function, *args)
        if len(table) >= self._limit:
            del table[next(iter(table))]
        table[args] = result
        return result

    def _compute(self, function: Callable[..., R], *args: object) -> R:
        self._computed[function] = self._computed.get(function, 0) + 1
        return function(self, *args)

    def stats(self) -> dict[str, dict[str, int]]:
        """Per function: how often it was asked, how often computed, how many results are held."""
        found: dict[str, dict[str, int]] = {}
        for function, calls in sorted(self._calls.items(), key=lambda item: _name(item[0])):
            row = found.setdefault(_name(function), {"calls": 0, "computed": 0, "distinct": 0})
            row["calls"] += calls
            row["computed"] += self._computed.get(function, 0)
            row["distinct"] += len(self._tables.get(function, ()))
        return found


class NoMemo(Memo):
    """Remembers nothing; every call computes."""

    remembers: ClassVar[bool] = False

    def __call__(
        self, function: Callable[Concatenate[Memo, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`function(self, *args)`, computed now."""
        if kwargs:
            raise TypeError(
                "a remembered function takes positional arguments only: they are its key"
            )
        self._calls[function] = self._calls.get(function, 0) + 1
        return self._compute(function, *args)


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
