"""Small runs for tests: a tiny model on small variants of the edge machine."""

from typing import Any

from hypothesis import strategies as st

from ndpsim.experiment import RunSpec, build_machine
from ndpsim.spec import resolve
from ndpsim.system import plan_memory
from ndpsim.workload import expert_bytes

SCHEDULERS = (
    "expert-parallel",
    "tensor-parallel",
    "load-balanced",
    "prefetch",
    "edge-gpu-ndp",
    "monde",
    "monde-ndp",
    "dynande",
    "dynande-no-cache",
    "trimoe",
    "oracle",
    "on-demand",
    "moe-ondemand",
    "on-demand-lru",
    "mixtral-offloading",
    "dali",
    "fiddler",
    "fiddler-cold",
    "cpu-offload",
    "gpu-only",
)
"""Named schedulers that every small machine and any routing can serve."""


def tiny_config(**changes: Any) -> dict[str, Any]:
    """A run of a three-layer model with eight small experts; simulates in milliseconds.

    `changes` replace top-level fields.
    """
    return {
        "model": {
            "name": "tiny",
            "n_layers": 3,
            "d_model": 256,
            "vocab": 512,
            "attention": {"kind": "gqa", "n_heads": 4, "n_kv_heads": 2, "head_dim": 64},
            "n_experts": 8,
            "top_k": 2,
            "d_expert": 192,
        },
        "formats": {"expert": "fp16", "weight": "fp16", "cache": "fp16", "activation": "fp16"},
        "system": "edge",
        "scheduler": "edge-gpu-ndp",
        "trace": {"synthetic": {}},
        "workload": {"prompt_tokens": 12, "output_tokens": 6},
        "seed": 0,
    } | changes


def with_room(config: dict[str, Any], n_experts: int) -> dict[str, Any]:
    """The run on a GPU with room for at most `n_experts`; the rest of its memory is reserved."""
    spec = resolve(RunSpec, config).spec
    workload, model = spec.workload, spec.model_spec()
    machine, placement = build_machine(spec, model)
    sizes = (workload.batch, workload.prompt_tokens, workload.output_tokens)
    plan = plan_memory(machine, placement, *sizes)
    surplus = plan.expert_capacity - n_experts
    if surplus <= 0:
        return config
    size = expert_bytes(model, spec.formats.formats().expert)
    reserved = spec.system.gpu_reserved + surplus * size
    system = config["system"]
    changes = {"preset": system} if isinstance(system, str) else dict(system)
    return config | {"system": changes | {"gpu_reserved": f"{reserved} B"}}


@st.composite
def tiny_runs(draw: st.DrawFn) -> dict[str, Any]:
    """Random small runs: model shape, machine, scheduler, request and seed."""
    config = tiny_config(
        scheduler=draw(st.sampled_from(SCHEDULERS)),
        system={
            "preset": draw(st.sampled_from(["edge", "edge-paper"])),
            "ndp": {
                "count": draw(st.integers(1, 5)),
                "host_access": draw(st.sampled_from(["exclusive", "share", "ideal"])),
                "reduce": draw(st.sampled_from(["gpu", "cpu"])),
            },
        },
        workload={
            "prompt_tokens": draw(st.integers(1, 24)),
            "output_tokens": draw(st.integers(1, 6)),
            "batch": draw(st.integers(1, 3)),
        },
        seed=draw(st.integers(0, 1000)),
    )
    n_experts = draw(st.integers(2, 12))
    shape = {
        "n_experts": n_experts,
        "d_expert": 16 * draw(st.integers(1, 24)),
        "d_model": 64 * draw(st.integers(1, 8)),
        "dense_layers": draw(st.sampled_from([[], [0]])),
    }
    if shape["dense_layers"]:
        shape["d_dense"] = 512
    if draw(st.booleans()):
        shape |= {"n_shared_experts": 1, "d_shared": 128}
    shape["top_k"] = draw(st.integers(1, min(4, n_experts)))
    config["model"] |= shape
    room = draw(st.sampled_from([None, 0, 1, 3, 8]))
    if room is None or config["scheduler"] == "gpu-only":
        return config
    return with_room(config, room)
