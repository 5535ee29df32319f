"""Prefetched experts stay, fetched ones go."""

from typing import Literal

from ndpsim.policy.contract import Cache, CacheState, ExpertId, ResidencyView
from ndpsim.registry import register


@register("cache", "pinned")
class Pinned(Cache):
    """What was prefetched stays for the whole run; what was fetched on demand is dropped."""

    def start(self, view: ResidencyView) -> CacheState:
        """An empty set with room for `view.capacity` experts."""
        return _Pins(view.capacity)


class _Pins:
    def __init__(self, capacity: int) -> None:
        self._free = capacity

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Literal["refuse"] | None:
        if not prefetched or self._free == 0:
            return "refuse"
        self._free -= 1
        return None

    def touch(self, expert: ExpertId) -> None:
        """Use does not matter."""
