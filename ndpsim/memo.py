"""A bounded memory before pure functions: the arguments are the key.

A remembered function has the form ``function(memo, *frozen_values) -> frozen_value`` and reads nothing
else; `memo` is passed on so that it may remember what it calls. Nobody but the caller knows which kind
of memory was handed down.
"""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Memo:
    """Remembers results, dropping the oldest of a function beyond `limit` entries."""

    def __init__(self, limit: int = 1 << 18) -> None:
        self._limit = limit
        self._tables: dict[str, dict[Any, Any]] = {}
        self.calls: dict[str, int] = {}

    def __call__(
        self, function: "Callable[Concatenate[Memo, P], R]", *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`function(self, *args)`, computed at most once while remembered."""
        assert not kwargs
        name = f"{function.__module__}.{function.__qualname__}"
        self.calls[name] = self.calls.get(name, 0) + 1
        table = self._tables.setdefault(name, {})
        try:
            return table[args]  # type: ignore[no-any-return]
        except KeyError:
            result = function(self, *args)
        if len(table) >= self._limit:
            del table[next(iter(table))]
        table[args] = result
        return result

    def stats(self) -> dict[str, dict[str, int]]:
        """Per function: how often it was asked and how many distinct results are held."""
        return {
            name: {"calls": calls, "distinct": len(self._tables.get(name, {}))}
            for name, calls in sorted(self.calls.items())
        }


class NoMemo(Memo):
    """Remembers nothing; every call computes."""

    def __call__(
        self, function: Callable[Concatenate[Memo, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`function(self, *args)`, computed now."""
        name = f"{function.__module__}.{function.__qualname__}"
        self.calls[name] = self.calls.get(name, 0) + 1
        return function(self, *args)
