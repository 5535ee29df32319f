"""Measured collectives as sends over the links of the machine they ran on."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ndpsim.errors import ConfigError
from ndpsim.link import (
    ALL_REDUCE,
    LinkGroup,
    LinkSpec,
    Send,
    Sends,
    Topology,
    all_gather,
    all_to_all_rounds,
    build_topology,
    run_sends,
)
from ndpsim.spec import load_preset

LINKS: Final = {
    "A100-SXM4-80GB": "nvlink3",
    "H100-SXM-80GB": "nvlink4",
    "B200-SXM": "nvlink5",
    "RTX-PRO-6000-Server": "pcie5-x16-peer",
}
"""The link that joins the GPUs of a measured machine, a port each on one switch."""
UNKNOWN: Final = (("A100-SXM4-80GB", "torch.distributed nccl"),)
"""(GPU, framework) of machines whose two-GPU rates are far below any NVLink of that GPU."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How NCCL's kernels write to a peer: extra time of a step, share of the bytes that is data.

    Source: NCCL 2.x, src/graph/tuning.cc: 0.6, 1.9 and 3.4 us per NVLink step of a ring; LL stores
    4 bytes of data with 4 of flag, LL128 120 of every 128 bytes, Simple data only.
    """

    name: str
    step_ps: int
    data_frac: float


PROTOCOLS: Final = (
    Protocol("LL", 0, 0.5),
    Protocol("LL128", 1_300_000, 120 / 128),
    Protocol("Simple", 2_800_000, 1.0),
)
"""Links are calibrated with LL; the others pay the difference."""

PEER_PROTOCOLS: Final = tuple(p for p in PROTOCOLS if p.name != "LL128")
"""What NCCL uses between two peers that send and receive."""

DIRECT: Final = Protocol("direct", 0, 1.0)
"""Kernels that store data straight into every peer's memory, as vLLM's own all-reduce does."""

MAX_PCIE_PEERS: Final = 2
"""GPUs without NVLink that vLLM's kernel serves (vllm, custom_all_reduce.py)."""


def collective_us(
    gpu: str, op: str, framework: str, n_gpus: int, n_bytes: int, launch_ps: int
) -> float:
    """Microseconds of a collective of `n_bytes` per GPU, the best of what its library may choose.

    vLLM's own kernel is launched as any other, in `launch_ps`, and meets its peers once before data
    moves; it serves GPUs that are all joined by NVLink, or two over PCIe.

    Raises
    ------
    ConfigError
        A machine whose links are not known, or a collective that is not modelled.
    """
    link = LINKS.get(gpu)
    if link is None or (gpu, framework) in UNKNOWN:
        raise ConfigError("comm", f"how the GPUs of the '{gpu}' machine are joined is not stated")
    members = tuple(f"gpu{i}" for i in range(n_gpus))
    protocols = PEER_PROTOCOLS if op in ("alltoall", "sendrecv") else PROTOCOLS
    sends = _nccl(op, members, n_bytes)
    times = [_time_ps(link, n_gpus, protocol, sends) for protocol in protocols]
    if framework.startswith("vllm") and (link.startswith("nvlink") or n_gpus == MAX_PCIE_PEERS):
        own = (ALL_REDUCE[name](members, n_bytes) for name in ("direct", "two-step"))
        times += [_time_ps(link, n_gpus, DIRECT, sends, launch_ps) for sends in own]
    return min(times) / 1e6


def _nccl(op: str, members: tuple[str, ...], n_bytes: int) -> Sends:
    """What NCCL does on one machine, where its trees are chains and gain nothing over a ring."""
    if op == "allreduce":
        return ALL_REDUCE["ring"](members, n_bytes)
    if op == "all_gather":
        return all_gather(members, n_bytes)
    if op == "alltoall":
        return all_to_all_rounds(members, n_bytes)
    if op == "sendrecv":
        return tuple(Send(a, b, n_bytes) for a, b in zip(members, members[::-1], strict=True))
    raise ConfigError("comm", f"no model of '{op}'")


def _time_ps(
    link: str, n_gpus: int, protocol: Protocol, sends: Sends, launch_ps: int | None = None
) -> int:
    return run_sends(_machine(link, n_gpus, protocol, launch_ps), sends).duration_ps


@lru_cache(maxsize=64)
def _machine(link: str, n_gpus: int, protocol: Protocol, launch_ps: int | None) -> Topology:
    spec = load_preset("link", link, LinkSpec)
    spec = spec.model_copy(
        update={
            "setup": spec.setup if launch_ps is None else launch_ps + spec.latency,
            "latency": spec.latency + protocol.step_ps,
            "streaming_frac": spec.streaming_frac * protocol.data_frac,
        }
    )
    group = LinkGroup(name="port", link=spec, ends=("gpu", "gpu"))
    return build_topology((group,), tuple(f"gpu{i}" for i in range(n_gpus)))
