"""`validate end-to-end`: tokens per second of MoE models on one GPU against published runs.

A decode step is the sum of its stages. Attention, router, head and the layers whose experts are in
GPU memory run on the GPU, a layer's experts as grouped kernels; a layer whose experts are in host
memory is a stage of the machine, simulated as in any run: experts on the host's cores, or copied.
Without a GPU every operator runs on the host. Rows that name no model, format or machine we have
stay with the reason.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ndpsim import cpu, gpu
from ndpsim.cpu import CpuSpec
from ndpsim.errors import ConfigError
from ndpsim.gpu import GpuSpec
from ndpsim.link import LinkGroup, LinkSpec
from ndpsim.memo import Memo
from ndpsim.policy import Dispatch, Home, Phase, SchedulerSpec, Shard, Slot
from ndpsim.spec import load_preset
from ndpsim.system import MEMORY, Machine, Situation, SystemSpec, simulate
from ndpsim.units import PS_PER_S
from ndpsim.validation.gpu import Case, gpu_preset
from ndpsim.validation.hosts import cpu_preset
from ndpsim.validation.overview import overview
from ndpsim.validation.reference import find_file, read_table
from ndpsim.validation.routing import expert_loads
from ndpsim.workload import (
    Format,
    Formats,
    ModelSpec,
    Operator,
    Step,
    attention_operators,
    combine_operators,
    dense_operators,
    embedding_operators,
    expert_bytes,
    expert_operators,
    grouped_operators,
    head_operators,
    kv_cache_bytes,
    non_expert_bytes,
    router_operators,
    shared_operators,
)

STEM: Final = "end_to_end"
COLUMNS: Final = (
    "model", "quantization", "engine", "gpu", "gpu_count", "cpu", "host_memory", "pcie", "offload",
    "offload_detail", "prompt_tokens", "context_depth", "prefill_tok_s", "decode_tok_s", "batch",
    "confidence", "notes",
)  # fmt: skip
TARGET: Final = 0.30
"""Median absolute error aimed at."""
GENERATED: Final = 128
"""Tokens that benchmarks generate from a depth on, where they do not say."""

MODELS: Final = (
    (r"Qwen3-30B-A3B", "qwen3-30b-a3b"),
    (r"Qwen3-235B-A22B", "qwen3-235b-a22b"),
    (r"DeepSeek-V3", "deepseek-v3"),
    (r"DeepSeek-(Coder-)?V2-Lite", "deepseek-v2-lite"),
    (r"(?i)gpt-oss-20b", "gpt-oss-20b"),
    (r"(?i)gpt-oss-120b", "gpt-oss-120b"),
    (r"(?i)Mixtral-8x7B", "mixtral-8x7b"),
    (r"(?i)Mixtral-8x22B", "mixtral-8x22b"),
    (r"(?i)Phi-3\.5-MoE", "phi-3.5-moe"),
    (r"(?i)OLMoE-1B-7B", "olmoe-1b-7b"),
    (r"(?i)Qwen1\.5-MoE", "qwen1.5-moe-a2.7b"),
    (r"(?i)DeepSeek-MoE-16B", "deepseek-moe-16b"),
)
"""Patterns of model names and our presets of them."""

Q8_0: Final = Format("q8_0", 8, 32, 16)
MXFP4: Final = Format("mxfp4", 4, 32, 8)
BF16: Final = Format("bf16", 16)
FP16: Final = Format("fp16", 16)
GGUF: Final = {
    "IQ1_S": 1.5625, "IQ1_M": 1.75, "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125, "IQ2_S": 2.5625,
    "IQ2_M": 2.5625, "IQ2_K": 2.375, "Q2_K": 2.625, "IQ3_XXS": 3.0625, "IQ3_S": 3.4375,
    "Q3_K": 3.4375, "IQ4_XS": 4.25, "IQ4_NL": 4.5, "IQ4_K": 4.5, "Q4_0": 4.5, "Q4_1": 5.0,
    "Q4_K": 4.5, "Q5_0": 5.5, "Q5_K": 5.5, "Q6_K": 6.5625, "Q8_0": 8.5,
}  # fmt: skip
"""Bits per weight of ggml's block formats, scales included (ggml-common.h; ik_llama.cpp's _K)."""
PLAIN: Final = (
    (r"MXFP4", MXFP4, Q8_0),
    (r"NVFP4", Format("nvfp4", 4, 16, 8), BF16),
    (r"(?i)int4|AWQ|GPTQ", Format("int4", 4, 128, 16), BF16),
    (r"(?i)fp8", Format("fp8", 8, 16384, 32), Format("fp8", 8, 16384, 32)),
    (r"(?i)bf16", BF16, BF16),
    (r"(?i)f(p|loat)?16", FP16, FP16),
)
"""Other quantizations -> formats of experts and of other weights."""
BLOCK: Final = 32
"""Weights that share the scale of a format made from bits per weight."""

PCIE: Final = ((r"rtx-(50|pro)|b200|h[12]00", "pcie5-x16"), (r"rtx-2080|v100|t4", "pcie3-x16"))
"""Patterns of GPU presets and their host link; PCIe 4.0 otherwise."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A model in its formats on a machine, some of its MoE layers' experts off the GPU."""

    model: ModelSpec
    formats: Formats
    gpu: GpuSpec | None
    cpu: CpuSpec | None
    n_host_layers: int
    """MoE layers whose experts are in host memory ..."""
    n_pinned: int
    """... but for so many of each, which the GPU keeps as well."""
    dispatch: Dispatch | None
    """How experts in host memory are computed."""
    link: str


def validate_end_to_end(reference: str | None = None) -> tuple[Case, ...]:
    """Every row of the table of published runs.

    Raises
    ------
    InputError
        No such table, or one without a needed column.
    """
    path = find_file(reference, f"{STEM}.csv")
    table = read_table(path, COLUMNS)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    memo = Memo()
    return tuple(_case(number, row, memo) for number, row in enumerate(rows, start=2))


def summarize_end_to_end(cases: Sequence[Case]) -> dict[str, Any]:
    """The summary of `validate end-to-end --json`."""
    decode: Callable[[Case], bool] = lambda c: c.part == "headline"  # noqa: E731
    targets = (("tokens/s of one request", TARGET, decode),)
    return overview(cases, ("part", "op", "gpu"), targets)


def _case(number: int, row: Mapping[Any, Any], memo: Memo) -> Case:
    got = reason = None
    rate, n_query = row["decode_tok_s"], 1
    if rate is None:
        rate, n_query = row["prefill_tok_s"], _microbatch(row)
    try:
        if rate is None:
            raise ConfigError("row", "neither a decode rate nor a prefill rate")
        placed = _placed(row)
        step = Step(1, n_query, _context(row, n_query))
        got = n_query * PS_PER_S / step_ps(memo, placed, step)
    except ConfigError as error:
        reason = str(error)
    what = [row[c] for c in ("model", "quantization", "gpu", "cpu", "context_depth", "batch")]
    text = " ".join(str(part) for part in what if part is not None)
    return Case(
        set=STEM,
        case=f"line {number}: {row['engine']} {text}",
        op=str(row["offload"]),
        expected=float(rate or 0.0),
        got=got,
        error_frac=None if got is None else got / float(rate) - 1,
        reason=reason,
        gpu=str(row["gpu"]),
        dtype=str(row["quantization"] or ""),
        timing="decode" if n_query == 1 else "prefill",
        framework=str(row["engine"]),
        part="headline" if n_query == 1 else "batched",
        shape=(),
    )


# --- rows ------------------------------------------------------------------------------------


def _placed(row: Mapping[Any, Any]) -> Placed:
    name = _match(MODELS, str(row["model"]), "model", "no preset for")
    model = load_preset("model", name, ModelSpec)
    formats = _formats(str(row["quantization"] or ""), name)
    if str(row["gpu_count"]) not in ("0", "1", "1.0", "0.0", "None"):
        raise ConfigError("gpu_count", f"{row['gpu_count']} GPUs")
    offload = str(row["offload"])
    host = (
        load_preset("cpu", cpu_preset(str(row["cpu"] or "")), CpuSpec)
        if (offload in ("cpu_only", "experts_cpu", "partial_experts_cpu"))
        else None
    )
    if offload == "cpu_only":
        return Placed(model, formats, None, host, model.n_moe_layers, 0, None, "")
    preset = gpu_preset(_gpu_name(str(row["gpu"])))
    link = next((link for pattern, link in PCIE if re.search(pattern, preset)), "pcie4-x16")
    spec = load_preset("gpu", preset, GpuSpec)
    n_layers, scheduler = _host_layers(row, model, offload)
    pinned = re.search(r"(\d+) of \d+ experts per layer on GPU", str(row["offload_detail"] or ""))
    n_pinned = int(pinned[1]) if pinned else 0
    dispatch = load_preset("scheduler", scheduler, SchedulerSpec).dispatch if scheduler else None
    if host is None and scheduler:
        host = load_preset("cpu", "ryzen-9-7950x", CpuSpec)  # it only holds what is copied
    placed = Placed(model, formats, spec, host, n_layers, n_pinned, dispatch, link)
    _fits(placed, row)
    return placed


def _gpu_name(text: str) -> str:
    return "A100-SXM4-80GB" if text.startswith("A100 ") else text


def _match(table: Sequence[tuple[str, str]], text: str, where: str, what: str) -> str:
    for pattern, name in table:
        if re.search(pattern, text):
            return name
    raise ConfigError(where, f"{what} '{text}'")


def _formats(quantization: str, model: str) -> Formats:
    if model.startswith("gpt-oss"):  # its experts stay in the format they were trained in
        return Formats(MXFP4, Q8_0, FP16, FP16)
    blocks = [_gguf(name) for name in re.findall(r"I?Q\d_[A-Z0-9]+", quantization.upper())]
    known = [block for block in blocks if block is not None]
    if known:
        return Formats(known[0], known[-1], FP16, FP16)  # "Q4 experts/Q5 attention"
    for pattern, expert, weight in PLAIN:
        if re.search(pattern, quantization):
            cache = FP16 if weight == FP16 else BF16
            return Formats(expert, weight, cache, cache)
    raise ConfigError("quantization", f"no format for '{quantization}'")


def _gguf(name: str) -> Format | None:
    """A block format by name; its bits beyond whole ones are scales of 32 weights."""
    per_weight = GGUF.get(name)
    if per_weight is None:
        return None
    bits = int(per_weight)
    return Format(name.lower(), bits, BLOCK, round((per_weight - bits) * BLOCK))


def _host_layers(row: Mapping[Any, Any], model: ModelSpec, offload: str) -> tuple[int, str | None]:
    """MoE layers whose experts are in host memory, and the scheduler that serves them."""
    detail = str(row["offload_detail"] or "")
    if offload == "full_gpu":
        return 0, None
    if offload == "experts_cpu":
        return model.n_moe_layers, "cpu-offload"
    if offload == "partial_experts_cpu":
        counted = re.search(r"(\d+) of (\d+)(?! experts)", detail)
        plain = re.search(r"n-cpu-moe (\d+)", detail)
        if "experts per layer on GPU" in detail:
            return model.n_moe_layers, "cpu-offload"
        if counted and int(counted[2]) <= model.n_layers:
            return int(counted[1]), "cpu-offload"
        if plain:
            return min(int(plain[1]), model.n_moe_layers), "cpu-offload"
        raise ConfigError("offload", f"how often the GPU's share is hit is not told: '{detail}'")
    if offload == "experts_host_with_gpu_cache" and "all 48 MoE layers host-resident" in detail:
        return model.n_moe_layers, "on-demand"
    raise ConfigError("offload", f"'{offload}': the share of hits is not told")


def _number(value: Any) -> int | None:
    found = re.search(r"\d+", str(value)) if value is not None else None
    return int(found[0]) if found else None


def _microbatch(row: Mapping[Any, Any]) -> int:
    """Tokens of a step where only prefill is told: a microbatch, or the whole prompt."""
    batch = int(row["batch"] or 1)
    return batch if batch > 1 else (_number(row["prompt_tokens"]) or 1)


def _context(row: Mapping[Any, Any], n_query: int) -> int:
    """Tokens in the middle of what was measured."""
    depth = str(row["context_depth"] or "")
    prompt = _number(row["prompt_tokens"]) or 0
    if "growing" in depth or n_query > 1:
        return max(n_query, (prompt + n_query) // 2)
    if depth == "short":
        prompt = 0
    start = _number(depth) if re.search(r"\d", depth) and "setting" not in depth else None
    return (prompt if start is None else start) + GENERATED // 2


def _fits(placed: Placed, row: Mapping[Any, Any]) -> None:
    """The GPU must hold what is not in host memory; a published run is proof that it did."""
    assert placed.gpu is not None
    model, formats = placed.model, placed.formats
    context = _context(row, _microbatch(row) if row["decode_tok_s"] is None else 1)
    n_here = (model.n_moe_layers - placed.n_host_layers) * model.n_experts
    n_here += placed.n_host_layers * placed.n_pinned
    needed = (
        non_expert_bytes(model, formats)
        + n_here * expert_bytes(model, formats.expert)
        + kv_cache_bytes(model, formats.cache, 1, context)
    )
    if needed > placed.gpu.memory_capacity:
        have = placed.gpu.memory_capacity
        raise ConfigError("memory", f"needs {needed / 1e9:.1f} GB, the GPU has {have / 1e9:.1f} GB")


# --- a step ----------------------------------------------------------------------------------


def step_ps(memo: Memo, placed: Placed, step: Step) -> int:
    """Picoseconds of one step of one sequence, all layers, its new tokens routed evenly."""
    model, formats = placed.model, placed.formats
    loads = expert_loads("uniform", step.n_tokens, model.n_experts, model.top_k)
    fronts = sum(
        _dense_ps(memo, placed, _front(model, formats, step, layer))
        for layer in range(model.n_layers)
    )
    ends = embedding_operators(model, formats, step.n_tokens) + head_operators(model, formats, 1)
    n_here = model.n_moe_layers - placed.n_host_layers
    here_ps = _grouped_ps(memo, placed, loads, step.n_tokens) if n_here else 0
    there_ps = _host_ps(memo, placed, loads, step.n_tokens) if placed.n_host_layers else 0
    moe_ps = n_here * here_ps + placed.n_host_layers * there_ps
    return _dense_ps(memo, placed, ends) + fronts + moe_ps


def _front(model: ModelSpec, formats: Formats, step: Step, layer: int) -> tuple[Operator, ...]:
    """A layer up to its experts; a dense layer whole."""
    attention = attention_operators(model, formats, step, sliding=layer in model.sliding_layers)
    rest = dense_operators if layer in model.dense_layers else router_operators
    return attention + rest(model, formats, step.n_tokens)


def _dense_ps(memo: Memo, placed: Placed, operators: Sequence[Operator]) -> int:
    """Operators one after another on the GPU, or on the host where there is none."""
    if placed.gpu is not None:
        return sum(memo(gpu.operator_ps, placed.gpu, operator) for operator in operators)
    assert placed.cpu is not None
    return sum(memo(cpu.operator_ps, placed.cpu, operator) for operator in operators)


def _grouped_ps(memo: Memo, placed: Placed, loads: tuple[int, ...], n_tokens: int) -> int:
    """A layer's experts in GPU memory: a few kernels over all of them, and the shared experts."""
    assert placed.gpu is not None
    model, formats = placed.model, placed.formats
    routed = grouped_operators(
        loads, model.d_model, model.d_expert, weight=formats.expert,
        activation=formats.activation, n_tokens=n_tokens,
    )  # fmt: skip
    operators = (*routed, *shared_operators(model, formats, n_tokens))
    return sum(memo(gpu.operator_ps, placed.gpu, operator) for operator in operators)


def _host_ps(memo: Memo, placed: Placed, loads: tuple[int, ...], n_tokens: int) -> int:
    """A layer's experts in host memory."""
    model, formats = placed.model, placed.formats
    if placed.dispatch is None:
        return _on_host_ps(memo, placed, loads, n_tokens)
    machine = _machine(placed)
    n_hits = round(len(loads) * placed.n_pinned / model.n_experts)
    slots = tuple(sorted(Slot(0, i < n_hits, load) for i, load in enumerate(loads)))
    shared = shared_operators(model, formats, n_tokens)
    phase: Phase = "decode" if n_tokens == 1 else "prefill"
    situation = Situation("experts", phase, n_tokens, shared, slots)
    return memo(simulate, machine, placed.dispatch, situation).duration_ps


def _on_host_ps(memo: Memo, placed: Placed, loads: tuple[int, ...], n_tokens: int) -> int:
    """On a machine without a GPU: one call per product over all active experts."""
    assert placed.cpu is not None
    model, formats = placed.model, placed.formats
    total = 0
    for operator in expert_operators(model, formats, max(loads)):
        call = placed.cpu.call
        alone_ps = memo(cpu.operator_ps, placed.cpu, operator) - call
        total += call + alone_ps * len(loads)
    rest = shared_operators(model, formats, n_tokens) + combine_operators(model, formats, n_tokens)
    return total + sum(memo(cpu.operator_ps, placed.cpu, operator) for operator in rest)


def _machine(placed: Placed) -> Machine:
    """One GPU, its host, all experts in host memory that expert kernels and copies share."""
    assert placed.gpu is not None
    assert placed.cpu is not None
    memory = LinkSpec.model_validate(
        {
            "lane_bandwidth": f"{cpu.kernel_bytes_per_s(placed.cpu)} B/s",
            "duplex": "half",
            "latency": "100 ns",
            "setup": "0 ns",
            "energy": "0 pJ/bit",
        }
    )
    pcie = load_preset("link", placed.link, LinkSpec)
    system = SystemSpec.model_validate(
        {
            "gpu": placed.gpu,
            "cpu": placed.cpu,
            "topology": (
                LinkGroup(name="pcie", link=pcie, ends=("host", "gpu")),
                LinkGroup(name="memory", link=memory, ends=("host", "memory")),
            ),
            "gpu_reserved": "0 B",
            "refresh_phases": 1,
        }
    )
    home = Home(MEMORY, (Shard(MEMORY, placed.model.d_expert),))
    return Machine(system, placed.model, placed.formats, (home,))
