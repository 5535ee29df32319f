"""What can go wrong, as types.

Every field is positional and lives in ``args``: an error is rebuilt from ``args`` by SimPy and by
process pools, and must survive both.
"""

import difflib
from collections.abc import Iterable


class NdpsimError(Exception):
    """An error ndpsim raises on purpose; its text is one line."""

    def __str__(self) -> str:
        return ": ".join(str(part) for part in self.args if part)


class InputError(NdpsimError):
    """Bad input or usage; the command line exits with 2. Arguments: where, what."""


class ConfigError(InputError, ValueError):
    """A configuration, preset or override that cannot be used. Arguments: where, what.

    A `ValueError` as well: when a validator of a spec raises it, its `what` becomes that field's
    fault.
    """


class UnknownName(ConfigError):  # noqa: N818 - named for what happened, as the standard library does
    """A name nobody registered or shipped. Arguments: where, what (see `unknown`)."""


class TraceError(InputError):
    """A routing trace that cannot be used. Arguments: where, what."""


class SimulationError(NdpsimError):
    """A simulation that failed; the command line exits with 1. Arguments: where, what."""


class ProtocolViolation(SimulationError):  # noqa: N818
    """A DRAM command issued before it was legal. Arguments: where, what."""


class Deadlock(SimulationError):  # noqa: N818
    """Work is outstanding and nothing can happen any more. Arguments: where, what."""


class InvariantError(SimulationError):
    """An audit found a broken law: work lost, done twice, over capacity. Arguments: where, what."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint that follows an unknown name: the closest known one, or nothing.

    >>> nearest("lruu", ["lfu", "lru"])
    "; did you mean 'lru'?"
    """
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


def unknown(where: str, kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """An `UnknownName` that lists what is known and the nearest of it."""
    names = sorted(known)
    listed = ", ".join(names) if names else "none"
    return UnknownName(where, f"unknown {kind} '{name}'; known: {listed}{nearest(name, names)}")
