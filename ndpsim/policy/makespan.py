"""Estimated ends of a GPU, a host CPU and NDP units while experts are given to them."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from ndpsim.policy.contract import DispatchView, Plan, Slot

GPU, CPU, NEAR = "gpu", "cpu", "near"
_ALL: Final = (GPU, NEAR, CPU)

Costs: TypeAlias = dict[str, tuple[tuple[str, int], ...]]
"""By device that can take a slot: (resource, time) pairs."""


class Loads:
    """Work given to devices so far; a device's end is the sum of what was given to it.

    The GPU's end is the larger of its copies and its compute, or their sum if `serial`; NDP units
    add up what each was given. Costs of equal slots are asked once.
    """

    def __init__(self, view: DispatchView, devices: Iterable[str], *, serial: bool) -> None:
        self._view = view
        self._serial = serial
        self._copies_ps = self._compute_ps = 0
        self.ends_ps = dict.fromkeys(_ALL, 0)
        """By device: when it has done what it was given."""
        self._units_ps: dict[str, int] = {}
        self.device: list[str] = [""] * len(view.slots)
        """By slot: the device it was given to."""
        devices = tuple(devices)
        costs = {slot: _costs(view, slot, devices) for slot in dict.fromkeys(view.slots)}
        self._costs = [costs[slot] for slot in view.slots]

    def kind(self, index: int) -> Slot:
        """What a slot is like; equal slots need not be tried twice."""
        return self._view.slots[index]

    def options(self, index: int) -> Iterable[str]:
        """Devices that can take a slot."""
        return self._costs[index]

    def give(self, index: int, device: str, sign: int = 1) -> None:
        """Give a slot to a device, or take it back with sign -1."""
        parts = self._costs[index][device]
        if device == GPU:
            (_, copy_ps), (_, compute_ps) = parts
            self._copies_ps += sign * copy_ps
            self._compute_ps += sign * compute_ps
            both = (self._copies_ps, self._compute_ps)
            self.ends_ps[GPU] = sum(both) if self._serial else max(both)
        elif device == CPU:
            self.ends_ps[CPU] += sign * parts[0][1]
        else:
            for unit, part_ps in parts:
                self._units_ps[unit] = self._units_ps.get(unit, 0) + sign * part_ps
            self.ends_ps[NEAR] = max(self._units_ps.values())
        self.device[index] = device if sign > 0 else ""

    @property
    def makespan_ps(self) -> int:
        """The latest end."""
        return max(self.ends_ps.values())

    def after_ps(self, index: int, device: str) -> int:
        """The makespan if a slot were given to a device."""
        parts, ends_ps = self._costs[index][device], self.ends_ps
        gpu_ps, cpu_ps, near_ps = ends_ps[GPU], ends_ps[CPU], ends_ps[NEAR]
        if device == GPU:
            copies_ps, compute_ps = self._copies_ps + parts[0][1], self._compute_ps + parts[1][1]
            gpu_ps = copies_ps + compute_ps if self._serial else max(copies_ps, compute_ps)
        elif device == CPU:
            cpu_ps += parts[0][1]
        else:
            for unit, part_ps in parts:
                near_ps = max(near_ps, self._units_ps.get(unit, 0) + part_ps)
        return max(gpu_ps, cpu_ps, near_ps)

    def plan(self) -> Plan:
        """The plan; the GPU's residents go first, they hide the first copies."""
        slots = self._view.slots
        of = {device: [i for i, d in enumerate(self.device) if d == device] for device in _ALL}
        of[GPU].sort(key=lambda i: (not slots[i].resident, -slots[i].n_tokens, i))
        return Plan(gpu=tuple(of[GPU]), near=tuple(of[NEAR]), cpu=tuple(of[CPU]))


def _costs(view: DispatchView, slot: Slot, devices: Sequence[str]) -> Costs:
    costs: Costs = {}
    if GPU in devices:
        copy_ps = 0 if slot.resident else view.fetch_ps(slot)
        costs[GPU] = (("copy", copy_ps), ("compute", view.gpu_ps(slot)))
    if NEAR in devices and (parts := view.near_ps(slot)):
        costs[NEAR] = parts
    if CPU in devices:
        costs[CPU] = (("cpu", view.cpu_ps(slot)),)
    return costs
