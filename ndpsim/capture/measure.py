"""Measure what the models predict: expert-shaped products, attention, copies, launches.

    python -m ndpsim.capture.measure OUT_DIR [--device cuda] [--name h100-sxm-80gb] [--quick]

Writes one table per kind with the columns that ``ndpsim validate gpu`` and ``validate links`` read,
so ``ndpsim validate gpu --reference OUT_DIR`` compares the preset of that name with the machine at
hand. On a GPU kernels are replayed from a graph between two events; weights rotate over more copies
than the last-level cache holds, so they are cold. On a CPU the same shapes are timed by the clock.
"""
# ruff: noqa: TID253  (this submodule is never imported unless something is to be measured)

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone who uses torch writes it

Row = dict[str, Any]
Call = Callable[[], Any]

DTYPES: Final = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
SHARED: Final = (
    "gpu", "framework", "op", "layer", "dtype", "m", "n", "k", "batch", "q_len", "ctx_len",
    "num_heads", "num_kv_heads", "head_dim", "num_experts", "top_k", "active_experts", "routing",
    "tensor_parallel", "expert_parallel", "num_gpus", "bytes", "time_us", "timing", "l2_warm",
    "notes",
)  # fmt: skip
LINK: Final = (
    "category", "gpu", "cpu", "host_memory", "link", "direction", "pinned", "size_bytes",
    "n_tokens", "model", "expert_shape", "dtype", "time_us", "bandwidth_GBps", "kind", "source",
    "notes",
)  # fmt: skip
N_LAUNCHES: Final = 100
"""Empty kernels in a row, by which a launch is measured."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    tokens: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    experts: tuple[tuple[int, int], ...] = ((2048, 768), (2048, 1408), (4096, 6400), (4096, 14336))
    """(d_model, d_expert) of each expert."""
    dtypes: tuple[str, ...] = ("fp16", "bf16", "fp8")
    contexts: tuple[int, ...] = (128, 512, 2048, 8192, 32768)
    heads: tuple[tuple[int, int, int], ...] = ((32, 4, 128), (32, 8, 128))
    """(heads, KV heads, head dimension) of decode attention."""
    grouped: tuple[tuple[int, int], ...] = ((8, 1), (32, 2), (64, 8), (128, 32))
    """(active experts, tokens of each) of grouped expert layers."""
    copies: tuple[int, ...] = tuple(4096 << shift for shift in range(19))
    """Bytes of copies between host and device, 4 KiB to 1 GiB."""
    cold_bytes: int = 512 << 20
    """Weights rotate over copies that hold at least so many bytes together."""
    repeats: int = 20


QUICK: Final = Plan(
    tokens=(1, 16),
    experts=((256, 128),),
    contexts=(64,),
    heads=((4, 2, 32),),
    grouped=((4, 2),),
    copies=(4096, 65536),
    cold_bytes=1 << 20,
    repeats=3,
)
"""Everything once, small: to see that it works."""


@dataclass
class Bench:
    """A device, its name in the tables, and how calls are timed on it."""

    device: torch.device
    name: str
    plan: Plan
    rows: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether kernels run on a GPU."""
        return bool(self.device.type == "cuda")

    @property
    def timing(self) -> str:
        """The timing kind of the tables."""
        return "cuda_graph_replay" if self.on_gpu else "wall_clock_loop"

    def add(self, table: str, **values: Any) -> None:
        """Note one measurement."""
        self.rows.setdefault(table, []).append({"gpu": self.name, **values})

    def tensor(self, *shape: int, dtype: str) -> torch.Tensor:
        """Random values on the device."""
        return torch.randn(shape, device=self.device).to(DTYPES[dtype])

    def n_copies(self, n_bytes: int) -> int:
        """Copies of a weight over which calls rotate so that none is in the cache."""
        return max(1, min(256, -(-self.plan.cold_bytes // max(1, n_bytes))))

    def time_us(self, calls: Sequence[Call]) -> float:
        """Median microseconds of one call, over repeats of all of them in turn."""
        for call in calls[:2]:
            call()
        measure = self._graph_us(calls) if self.on_gpu else self._clock_us(calls)
        return statistics.median(measure) / len(calls)

    def _graph_us(self, calls: Sequence[Call]) -> Iterator[float]:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            for call in calls:
                call()
        for _ in range(self.plan.repeats):
            yield event_us(graph.replay)

    def _clock_us(self, calls: Sequence[Call]) -> Iterator[float]:
        for _ in range(self.plan.repeats):
            begin = time.perf_counter_ns()
            for call in calls:
                call()
            yield (time.perf_counter_ns() - begin) / 1e3


def event_us(call: Call) -> float:
    """Microseconds between two events around a call on the current stream."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e3


def measure_gemm(bench: Bench) -> None:
    """Gate-and-up and down products of experts, C[m, n] = A[m, k] x W[n, k]^T."""
    for (width, inner), dtype in product(bench.plan.experts, bench.plan.dtypes):
        for layer, n, k in (("expert_up", 2 * inner, width), ("expert_down", width, inner)):
            for m in bench.plan.tokens:
                made = _fp8_calls(bench, m, n, k) if dtype == "fp8" else None
                calls = _gemm_calls(bench, m, n, k, dtype) if dtype != "fp8" else made
                if calls is None:
                    continue
                bench.add(
                    "gemm", framework="torch", op="gemm", layer=layer, dtype=dtype, m=m, n=n, k=k,
                    bytes=n * k * (1 if dtype == "fp8" else 2), time_us=bench.time_us(calls),
                    timing=bench.timing, l2_warm="no",
                )  # fmt: skip


def _gemm_calls(bench: Bench, m: int, n: int, k: int, dtype: str) -> list[Call]:
    rows = bench.tensor(m, k, dtype=dtype)
    weights = [bench.tensor(n, k, dtype=dtype) for _ in range(bench.n_copies(2 * n * k))]
    return [partial(F.linear, rows, weight) for weight in weights]


def _fp8_calls(bench: Bench, m: int, n: int, k: int) -> list[Call] | None:
    """Scaled products of 8-bit floats; None where the device has none."""
    if not bench.on_gpu or torch.cuda.get_device_capability(bench.device) < (8, 9):
        return None
    padded = -(-m // 16) * 16  # the kernel wants whole tiles of rows
    one = torch.ones((), device=bench.device)
    rows = torch.randn(padded, k, device=bench.device).to(torch.float8_e4m3fn)
    weights = [
        torch.randn(n, k, device=bench.device).to(torch.float8_e4m3fn)
        for _ in range(bench.n_copies(n * k))
    ]
    multiply = partial(torch._scaled_mm, rows, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    return [partial(multiply, weight.t()) for weight in weights]


def measure_attention(bench: Bench) -> None:
    """Decode attention: one query per sequence over its cache."""
    dtype = "bf16" if bench.on_gpu else "fp32"
    for (heads, kv_heads, dim), context in product(bench.plan.heads, bench.plan.contexts):
        query = bench.tensor(1, heads, 1, dim, dtype=dtype)
        size = 2 * kv_heads * context * dim * query.element_size()
        caches = [
            [bench.tensor(1, kv_heads, context, dim, dtype=dtype) for _ in range(2)]
            for _ in range(bench.n_copies(size))
        ]
        attend = partial(F.scaled_dot_product_attention, query, enable_gqa=True)
        calls = [partial(attend, key, value) for key, value in caches]
        bench.add(
            "attention", framework="torch", op="attention_decode", dtype=dtype, batch=1, q_len=1,
            ctx_len=context, num_heads=heads, num_kv_heads=kv_heads, head_dim=dim, bytes=size,
            time_us=bench.time_us(calls), timing=bench.timing, l2_warm="no",
        )  # fmt: skip


def measure_moe(bench: Bench) -> None:
    """Gated expert layers as grouped products: all active experts in one kernel each."""
    dtype = "bf16"
    for (width, inner), (active, tokens) in product(bench.plan.experts, bench.plan.grouped):
        size = 3 * active * width * inner * 2
        if size > 4 * max(bench.plan.cold_bytes, 1 << 30):
            continue
        rows = bench.tensor(active, tokens, width, dtype=dtype)
        layers = [
            (
                bench.tensor(active, width, 2 * inner, dtype=dtype),
                bench.tensor(active, inner, width, dtype=dtype),
            )
            for _ in range(bench.n_copies(size))
        ]
        calls = [partial(_gated, rows, up, down) for up, down in layers]
        bench.add(
            "moe", framework="torch bmm", op="moe_layer", dtype=dtype, m=active * tokens, n=inner,
            k=width, num_experts=active, top_k=1, active_experts=active, routing="forced",
            bytes=size, time_us=bench.time_us(calls), timing=bench.timing, l2_warm="no",
        )  # fmt: skip


def _gated(rows: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    gate, value = torch.bmm(rows, up).chunk(2, dim=-1)
    return torch.bmm(F.silu(gate) * value, down)


def measure_launch(bench: Bench) -> None:
    """Kernels that do next to nothing, one after another: eagerly, and from a graph on a GPU."""
    tiny = torch.zeros(1, device=bench.device)

    def many() -> None:
        for _ in range(N_LAUNCHES):
            tiny.add_(1)

    many()
    if bench.on_gpu:
        eager = [event_us(many) for _ in range(bench.plan.repeats)]
        graph_us = bench.time_us([many]) / N_LAUNCHES
        bench.add("launch", framework="torch", op="launch", time_us=graph_us, timing="graph_node")
    else:
        eager = list(bench._clock_us([many]))
    eager_us = statistics.median(eager) / N_LAUNCHES
    bench.add("launch", framework="torch", op="launch", time_us=eager_us, timing="eager_loop")


def measure_copies(bench: Bench) -> None:
    """Copies between host and device, pinned and pageable; host memory to itself on a CPU."""
    for size in bench.plan.copies:
        if not bench.on_gpu:
            source, target = (torch.zeros(size, dtype=torch.uint8) for _ in range(2))
            took_us = bench.time_us([partial(target.copy_, source)])
            _add_copy(bench, "cpu_bw", "", None, size, took_us)
            continue
        near = torch.zeros(size, dtype=torch.uint8, device=bench.device)
        for pinned in (True, False):
            far = torch.zeros(size, dtype=torch.uint8, pin_memory=pinned)
            for direction, to, of in (("h2d", near, far), ("d2h", far, near)):
                to.copy_(of)
                copy = partial(to.copy_, of, non_blocking=True)
                took = [event_us(copy) for _ in range(bench.plan.repeats)]
                _add_copy(bench, "memcpy", direction, pinned, size, statistics.median(took))


def _add_copy(
    bench: Bench, category: str, direction: str, pinned: bool | None, size: int, time_us: float
) -> None:
    bench.add(
        "pcie_cpu", category=category, direction=direction, size_bytes=size, time_us=time_us,
        pinned={True: "yes", False: "no", None: ""}[pinned], kind="measured", source="own",
        bandwidth_GBps=size / time_us / 1e3,
    )  # fmt: skip


MEASURES: Final = (
    measure_gemm, measure_attention, measure_moe, measure_launch, measure_copies,
)  # fmt: skip


def measure_all(device: str, name: str, plan: Plan) -> dict[str, list[Row]]:
    """Rows by table."""
    bench = Bench(torch.device(device), name, plan)
    with torch.inference_mode():
        for measure in MEASURES:
            measure(bench)
    return bench.rows


def write_tables(rows: dict[str, list[Row]], folder: Path) -> None:
    """One CSV per table, with the columns of the reference tables."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, found in rows.items():
        columns = LINK if table == "pcie_cpu" else SHARED
        with (folder / f"{table}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows({**row, "time_us": round(row["time_us"], 4)} for row in found)


def main() -> None:
    """Measure the device at hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", help="the preset that describes the device")
    parser.add_argument("--quick", action="store_true", help="everything once, in small shapes")
    given = parser.parse_args()
    on_gpu = given.device.startswith("cuda")
    name = given.name or (torch.cuda.get_device_name(given.device) if on_gpu else "cpu")
    write_tables(measure_all(given.device, name, QUICK if given.quick else Plan()), given.folder)


if __name__ == "__main__":
    main()
