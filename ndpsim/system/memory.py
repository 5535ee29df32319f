"""What must fit where, to the byte."""

from dataclasses import dataclass

from ndpsim.errors import ConfigError
from ndpsim.policy import Placement
from ndpsim.system.machine import GPU, MEMORY, Machine
from ndpsim.system.stage import STAGING_BUFFERS
from ndpsim.workload import (
    expert_bytes,
    expert_slice_bytes,
    kv_cache_bytes,
    non_expert_bytes,
    workspace_bytes,
)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes in use before any expert is brought to the GPU, and the room left for experts."""

    fixed_bytes: tuple[tuple[str, int], ...]
    """(device, bytes): the GPU's non-expert share, and expert weights at their homes."""
    gpu_parts: tuple[tuple[str, int], ...]
    """What the GPU's share consists of."""
    expert_capacity: int
    """Experts that fit into free GPU memory beyond the staging buffers."""


def plan_memory(
    machine: Machine, placement: Placement, batch: int, prompt_tokens: int, output_tokens: int
) -> MemoryPlan:
    """Account for a request of `batch` sequences.

    GPU memory free for experts is its capacity less what is reserved, non-expert weights, the KV
    cache of prompt and output, the largest prefill workspace and two staging buffers.

    Raises
    ------
    ConfigError
        Something does not fit; says what, how much it needs and how much there is.
    """
    model, formats = machine.model, machine.formats
    one_expert = expert_bytes(model, formats.expert)
    parts = {
        "reserved": machine.system.gpu_reserved,
        "non-expert weights": non_expert_bytes(model, formats),
        "KV cache": kv_cache_bytes(model, formats.cache, batch, prompt_tokens + output_tokens),
        "prefill workspace": workspace_bytes(model, formats, batch, prompt_tokens),
        "staging buffers": STAGING_BUFFERS * one_expert,
    }
    homes = _home_bytes(machine, placement)
    if GPU in homes:  # nothing is ever fetched
        parts["routed experts"] = homes.pop(GPU)
        del parts["staging buffers"]
    gpu_bytes = sum(parts.values())
    capacity = machine.system.gpu.memory_capacity
    _fits("GPU", gpu_bytes, capacity, ", ".join(f"{name} {_size(n)}" for name, n in parts.items()))
    for device, n_bytes in homes.items():
        on_host = device == MEMORY
        limit = machine.system.cpu.memory_capacity if on_host else machine.ndp.unit.capacity
        _fits(device, n_bytes, limit, f"routed experts of {model.name}")
    return MemoryPlan(
        fixed_bytes=tuple(sorted({GPU: gpu_bytes, **homes}.items())),
        gpu_parts=tuple(parts.items()),
        expert_capacity=(capacity - gpu_bytes) // one_expert,
    )


def _home_bytes(machine: Machine, placement: Placement) -> dict[str, int]:
    """Expert weights by the memory that holds them."""
    n_bytes: dict[str, int] = {}
    for index, home in enumerate(placement.homes):
        n_experts = int((placement.home_of == index).sum())
        for shard in home.shards:
            size = expert_slice_bytes(machine.model, machine.formats.expert, shard.columns)
            n_bytes[shard.unit] = n_bytes.get(shard.unit, 0) + n_experts * size
    return n_bytes


def _fits(device: str, needed: int, capacity: int, what: str) -> None:
    if needed > capacity:
        raise ConfigError(
            "memory", f"{device} has {_size(capacity)}, needs {_size(needed)} for {what}"
        )


def _size(n_bytes: int) -> str:
    """Three significant digits in a decimal unit.

    >>> _size(61_730_000_000), _size(524_288)
    ('61.7 GB', '524 kB')
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes} B"
