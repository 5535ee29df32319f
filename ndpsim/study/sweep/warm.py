"""Compiling the kernels before many processes want them."""

from typing import Any, Final

TINY: Final[dict[str, Any]] = {
    "model": {
        "name": "warm-up",
        "n_layers": 1,
        "d_model": 256,
        "vocab": 1000,
        "attention": {"kind": "gqa", "n_heads": 4, "n_kv_heads": 2, "head_dim": 64},
        "n_experts": 8,
        "top_k": 2,
        "d_expert": 128,
    },
    "formats": dict.fromkeys(("expert", "weight", "cache", "activation"), "fp16"),
    "system": "edge",
    "scheduler": "edge-gpu-ndp",
    "trace": {"synthetic": {}},
    "workload": {"prompt_tokens": 8, "output_tokens": 2},
}
"""A run of milliseconds that touches every compiled kernel."""


def warm() -> None:
    """Run it; numba keeps what it compiled on disk, where other processes find it."""
    from ndpsim.experiment import run

    run(TINY)
