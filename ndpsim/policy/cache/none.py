"""No cache: what was fetched is dropped after use."""

from typing import Literal

from ndpsim.policy.contract import Cache, CacheState, ExpertId, ResidencyView
from ndpsim.registry import register


@register("cache", "none")
class NoCache(Cache):
    """Nothing stays on the GPU."""

    keeps_prefetched = False

    def start(self, view: ResidencyView) -> CacheState:
        """A state that refuses everything."""
        return _Refuse()


class _Refuse:
    def admit(self, expert: ExpertId, *, prefetched: bool) -> Literal["refuse"]:
        return "refuse"

    def touch(self, expert: ExpertId) -> None:
        raise AssertionError("nothing is ever resident")
