"""`validate gpu`: the GPU model against operator times that others measured.

Each row of a table becomes the kernels that its framework launches; their times add up. The GPU is
the preset that the row's `gpu` names: both compared in lower case, letters and digits only. How a
row was timed decides the launch cost, whether its weights stayed in L2 decides what is read from
memory. No value depends on the row's time.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ndpsim.errors import ConfigError, InputError
from ndpsim.gpu import GpuSpec, l2_hit_bytes, operator_ps
from ndpsim.memo import Memo
from ndpsim.spec import load_preset, preset_names
from ndpsim.validation.collectives import collective_us
from ndpsim.validation.elementwise import elementwise_kernels
from ndpsim.validation.reference import find_folder, read_table
from ndpsim.validation.routing import expert_loads
from ndpsim.workload.grouped import grouped_operators, quantize_operator
from ndpsim.workload.operators import Attention, Elementwise, Format, Gemm, Operator

COLUMNS: Final = ("gpu", "op", "dtype", "time_us", "timing", "l2_warm", "framework", "layer")
"""Columns that every table has."""
SETS: Final = {
    "gemm": ("m", "n", "k", "notes"),
    "moe": (
        "m", "n", "k", "num_experts", "top_k", "active_experts", "routing", "tensor_parallel",
        "expert_parallel", "notes",
    ),
    "attention": ("batch", "q_len", "ctx_len", "num_heads", "num_kv_heads", "head_dim"),
    "elementwise": ("m", "n", "tensor_parallel"),
    "launch": (),
    "comm": ("bytes", "num_gpus"),
}  # fmt: skip
"""Tables by the stem of their files, and the columns each needs besides."""

LAUNCHES: Final = {
    "cuda_graph_replay": "graph",
    "kernel_time_profiler": "none",
    "profiler_record_function": "none",
    "event": "eager",
    "cuda_event_eager": "eager",
    "wall_clock_loop": "loop",
}
"""How a timing kind pays for launches; in a loop the host runs ahead of a longer kernel."""

BF16: Final = Format("bf16", 16)
FORMATS: Final = {
    "bf16": (BF16, BF16),
    "fp16": (Format("fp16", 16), Format("fp16", 16)),
    "fp32": (Format("fp32", 32), Format("fp32", 32)),
    "fp8": (Format("fp8", 8), Format("fp8", 8)),
    "fp8_block": (Format("fp8", 8, 16384, 32), Format("fp8", 8, 128, 32)),
    "int8_w8a8": (Format("int8", 8), Format("int8", 8)),
    "int8_w8a16": (Format("int8", 8), BF16),
    "int4_w4a16": (Format("int4", 4, 128, 16), BF16),
    "nvfp4": (Format("nvfp4", 4, 16, 8), Format("nvfp4", 4, 16, 8)),
    "mxfp4": (Format("mxfp4", 4, 32, 8), Format("mxfp4", 4, 32, 8)),
    "w4a16_mxfp4": (Format("mxfp4", 4, 32, 8), BF16),
    "w4a8_mxfp4_mxfp8": (Format("mxfp4", 4, 32, 8), Format("fp8", 8, 32, 8)),
    "w4afp8": (Format("int4", 4, 128, 16), Format("fp8", 8)),
}
"""Formats of weights and of activations by the tables' `dtype`."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measured row and what the model says."""

    set: str
    case: str
    op: str
    expected: float
    """Measured microseconds."""
    got: float | None
    """Modelled microseconds."""
    error_frac: float | None
    """Relative, signed: (got - expected) / expected."""
    reason: str | None
    """Why the row is not modelled."""
    gpu: str
    dtype: str
    timing: str
    framework: str
    part: str
    """`headline`, or why the row stands apart: `sw_limited`, or weights that may be in L2."""
    shape: tuple[Any, ...]
    """What the operator is, by which frameworks are compared; not printed."""


def validate_gpu(reference: str | None = None) -> tuple[Case, ...]:
    """Every row of every table in a folder of reference times.

    Raises
    ------
    InputError
        No folder, no table in it, or a table without a needed column.
    """
    folder = find_folder(reference, "gpu")
    paths = [folder / f"{stem}.csv" for stem in SETS if (folder / f"{stem}.csv").is_file()]
    if not paths:
        raise InputError(str(folder), f"no table of GPU times; known: {', '.join(SETS)} (.csv)")
    memo, gpus = Memo(), _Gpus()
    return tuple(case for path in paths for case in _cases(path, memo, gpus))


def gpu_preset(name: str) -> str:
    """The preset of a GPU as tables name it: the same letters and digits, whatever their case.

    >>> gpu_preset("RTX4090")
    'rtx-4090'
    """
    wanted = _bare(name)
    for preset in preset_names("gpu"):
        if _bare(preset) == wanted:
            return preset
    raise ConfigError("gpu", f"no preset for '{name}'")


def _bare(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


class _Gpus:
    """Presets by the tables' names, one variant per launch mode."""

    def __init__(self) -> None:
        self._specs: dict[tuple[str, str], GpuSpec] = {}

    def __call__(self, name: str, launch: str) -> GpuSpec:
        if (name, launch) not in self._specs:
            spec = load_preset("gpu", gpu_preset(str(name)), GpuSpec)
            mode = {"launch": "graph" if launch == "loop" else launch}
            self._specs[name, launch] = spec.model_copy(update=mode)
        return self._specs[name, launch]


def _cases(path: Path, memo: Memo, gpus: _Gpus) -> Iterator[Case]:
    table = read_table(path, (*COLUMNS, *SETS[path.stem]))
    for number, row in enumerate(table.to_dict("records"), start=2):
        row["time_us"] = _microseconds(f"{path}:{number}", row["time_us"])
        yield _case(path.stem, number, {str(k): _plain(v) for k, v in row.items()}, memo, gpus)


def _microseconds(where: str, value: Any) -> float:
    try:
        time_us = float(value)
    except ValueError:
        time_us = math.nan
    if not 0 < time_us < math.inf:
        raise InputError(where, f"time_us: expected microseconds, got '{value}'")
    return time_us


def _plain(value: Any) -> Any:
    """A cell: None where empty, an int where whole."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else value
    return value


def _case(stem: str, number: int, row: dict[str, Any], memo: Memo, gpus: _Gpus) -> Case:
    expected = float(row["time_us"])
    got = reason = None
    try:
        got = _modelled_us(stem, row, memo, gpus)
    except ConfigError as error:
        reason = str(error)
    except (TypeError, ValueError, ZeroDivisionError):
        reason = "a dimension of the shape is missing"
    shape = tuple(row.get(column) for column in SETS[stem] if column != "notes")
    text = " ".join(f"{c}={row[c]}" for c in SETS[stem] if c != "notes" and row[c] is not None)
    return Case(
        set=stem,
        case=f"line {number}: {row['gpu']} {row['framework']} {row['dtype'] or ''} "
        f"{row['layer'] or ''} {text}".replace("  ", " "),
        op=str(row["op"]),
        expected=expected,
        got=got,
        error_frac=None if got is None else got / expected - 1,
        reason=reason,
        gpu=str(row["gpu"]),
        dtype=str(row["dtype"] or ""),
        timing=str(row["timing"]),
        framework=str(row["framework"]),
        part=_part(row),
        shape=(row["gpu"], row["op"], row["layer"], row["dtype"], *shape),
    )


def _part(row: dict[str, Any]) -> str:
    if "sw_limited" in str(row.get("notes") or ""):
        return "sw_limited"
    return "headline" if row["l2_warm"] in (None, "no") else f"L2 warm: {row['l2_warm']}"


def _modelled_us(stem: str, row: dict[str, Any], memo: Memo, gpus: _Gpus) -> float:
    if stem == "comm":
        return _collective_us(row, gpus)
    if stem == "launch":
        return _launch_us(row, gpus)
    launch = LAUNCHES.get(row["timing"])
    if launch is None:
        raise ConfigError("timing", f"unknown timing kind '{row['timing']}'")
    gpu = gpus(row["gpu"], launch)
    kernels = _WORK[stem](gpu, row)
    took_us = sum(operator_ps(memo, gpu, op, held) for op, held in kernels) / 1e6
    if launch == "loop":
        return max(took_us, len(kernels) * gpu.launch_eager / 1e6)
    return took_us


def _collective_us(row: dict[str, Any], gpus: _Gpus) -> float:
    """A collective over the machine's links; launched eagerly, the host is in its way."""
    gpu = gpus(row["gpu"], "graph")
    took_us = collective_us(
        row["gpu"], row["op"], row["framework"], int(row["num_gpus"]), int(row["bytes"]),
        gpu.launch_graph,
    )  # fmt: skip
    return took_us + (gpu.launch_eager / 1e6 if _is_eager(row) else 0.0)


def _is_eager(row: dict[str, Any]) -> bool:
    return str(row["timing"]) == "eager"


def _launch_us(row: dict[str, Any], gpus: _Gpus) -> float:
    if row["timing"] != "cuda_event_minus_kernel":
        raise ConfigError("timing", f"'{row['timing']}' measures the host, not the GPU")
    gpu = gpus(row["gpu"], "eager")
    return (gpu.launch_eager - gpu.launch_kernel) / 1e6


Kernels = list[tuple[Operator, int]]


def _formats(dtype: Any) -> tuple[Format, Format]:
    if dtype not in FORMATS:
        raise ConfigError("dtype", f"no format known for '{dtype}'")
    return FORMATS[dtype]


def _held(gpu: GpuSpec, n_bytes: int, warm: Any) -> int:
    """Bytes in L2 before the kernel starts, by what the table says of its weights.

    Profilers look at a kernel within a whole model, whose output head alone is several times L2:
    nothing is left there from the repetition before.
    """
    return l2_hit_bytes(gpu, n_bytes) if warm == "yes" and gpu.launch != "none" else 0


def _passing(gpu: GpuSpec, kernel: Elementwise) -> tuple[Operator, int]:
    """A kernel whose operands the one before has just left in L2, or an earlier repetition."""
    return kernel, l2_hit_bytes(gpu, kernel.n_bytes)


def _gemm(gpu: GpuSpec, row: dict[str, Any]) -> Kernels:
    """The product, after a kernel that narrows activations if the format wants it.

    Rows of the bare kernel (DeepGEMM's) get narrow activations from outside.
    """
    weight, activation = _formats(row["dtype"])
    m, n, k = int(row["m"]), int(row["n"]), int(row["k"])
    gemm = Gemm("gemm", m, n, k, weight, activation)
    kernels: Kernels = [(gemm, _held(gpu, gemm.weight_bytes, row["l2_warm"]))]
    if activation.bits < 16 and "deepgemm_gemm" not in str(row["notes"]):
        kernels.insert(0, _passing(gpu, quantize_operator("quantize", m * k, BF16, activation)))
    return kernels


def _moe(gpu: GpuSpec, row: dict[str, Any]) -> Kernels:
    if row["op"] == "moe_layer":
        return _moe_layer(gpu, row)
    return _moe_piece(gpu, row)


def _moe_layer(gpu: GpuSpec, row: dict[str, Any]) -> Kernels:
    weight, compute = _formats(row["dtype"])
    ep = int(row["expert_parallel"] or 1)
    loads = expert_loads(
        str(row["routing"]), int(row["m"]), int(row["num_experts"]), int(row["top_k"]), ep=ep,
        n_active=int(row["active_experts"] or 0),
        group_limited="group-limited" in str(row["notes"]),
    )  # fmt: skip
    width = int(row["n"]) // int(row["tensor_parallel"] or 1)
    operators = grouped_operators(
        loads, int(row["k"]), width, weight=weight, activation=BF16, compute=compute,
        n_tokens=int(row["m"]), n_pairs=max(sum(loads), int(row["m"]) * int(row["top_k"])),
    )  # fmt: skip
    weights = len(loads) * 3 * weight.bytes_for(width * int(row["k"]))
    kept = _held(gpu, weights, row["l2_warm"]) / weights
    return [
        _passing(gpu, operator)
        if isinstance(operator, Elementwise)
        else (operator, int(operator.weight_bytes * kept))
        for operator in operators
    ]


def _moe_piece(gpu: GpuSpec, row: dict[str, Any]) -> Kernels:
    """Router product; softmax and choice of experts; rows gathered by expert."""
    _, activation = _formats(row["dtype"])
    m, k, n_experts, top_k = (int(row[c]) for c in ("m", "k", "num_experts", "top_k"))
    if row["op"] == "moe_gating_linear":
        gemm = Gemm("router", m, n_experts, k, activation, activation)
        return [(gemm, _held(gpu, gemm.weight_bytes, "yes"))]
    if row["op"] == "moe_gating_routing_topk":
        raise ConfigError("op", "a chain of eager kernels whose number the table does not tell")
    if row["op"] == "moe_shuffling":
        pairs = m * top_k
        kernels = (
            Elementwise("sort", 2 * pairs, 2 * pairs, 4 * pairs, activation),
            Elementwise("gather", pairs * k, pairs * k, 0, activation),
        )
        return [_passing(gpu, kernel) for kernel in kernels]
    raise ConfigError("op", f"no model of '{row['op']}'")


def _attention(gpu: GpuSpec, row: dict[str, Any]) -> Kernels:
    """Fused attention; a graph replays the same cache, which stays in L2 if it fits.

    A narrow format is the cache's: queries and results stay 16 bits wide.
    """
    cache, activation = _formats(row["dtype"])
    activation = activation if activation.bits >= 16 else BF16
    kv, dim = int(row["num_kv_heads"]), int(row["head_dim"])
    attention = Attention(
        str(row["op"]), int(row["batch"]), int(row["q_len"]), int(row["ctx_len"]),
        int(row["num_heads"]), kv, dim, dim, 2 * dim * kv, cache, activation,
    )  # fmt: skip
    warm = "yes" if row["timing"] == "cuda_graph_replay" else row["l2_warm"]
    reread = attention.cache_bytes if attention.n_query == 1 else attention.n_bytes
    return [(attention, _held(gpu, reread, warm))]


def _elementwise(gpu: GpuSpec, row: dict[str, Any]) -> Kernels:
    _, wide = _formats(row["dtype"])
    layer = str(row["layer"] or row["op"])
    kernels = elementwise_kernels(
        layer, str(row["framework"]), int(row["m"]), row["n"], int(row["tensor_parallel"] or 1),
        wide,
    )  # fmt: skip
    return [_passing(gpu, kernel) for kernel in kernels]


_WORK: Final[dict[str, Callable[[GpuSpec, dict[str, Any]], Kernels]]] = {
    "gemm": _gemm,
    "moe": _moe,
    "attention": _attention,
    "elementwise": _elementwise,
}
