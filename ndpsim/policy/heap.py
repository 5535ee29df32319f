"""Experts in order of a key that changes, for caches."""

from heapq import heapify, heappop, heappush

from ndpsim.policy.contract import ExpertId


class Ranking:
    """Held experts and their keys; finds the one with the least key, ties by expert.

    A heap that is brought up to date when asked: O(log n) per change.
    """

    def __init__(self) -> None:
        self._key: dict[ExpertId, float] = {}
        self._heap: list[tuple[float, ExpertId]] = []

    def __len__(self) -> int:
        return len(self._key)

    def __contains__(self, expert: object) -> bool:
        return expert in self._key

    def put(self, expert: ExpertId, key: float) -> None:
        """Hold an expert, or change its key."""
        self._key[expert] = key
        heappush(self._heap, (key, expert))
        if len(self._heap) > 8 * len(self._key) + 64:
            self._heap = [(key, expert) for expert, key in self._key.items()]
            heapify(self._heap)

    def pop(self) -> ExpertId:
        """Drop the expert with the least key."""
        while True:
            key, expert = heappop(self._heap)
            if self._key.get(expert) == key:
                del self._key[expert]
                return expert
