"""What an operator costs on a GPU, by the rule its spec names; and the rates no operator beats."""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import ConfigError
from ndpsim.gpu import attacc, sm
from ndpsim.gpu.spec import GpuSpec
from ndpsim.memo import Memo
from ndpsim.workload.operators import Attention, Elementwise, GroupedGemm, Operator


def operator_ps(memo: Memo, gpu: GpuSpec, operator: Operator, resident_bytes: int = 0) -> int:
    """Picoseconds of one operator with the whole GPU to itself, launch included.

    `resident_bytes` of its weights or KV cache are in L2 already (rule `sm` only; see
    `kernel.l2_hit_bytes`). Without any it is never less than its FLOP at `peak_flop_per_s` or its
    compulsory bytes at `memory_bytes_per_s`.

    Raises
    ------
    ConfigError
        The GPU has no GEMM rate for the operator's activation format.
    """
    del memo  # leaf of the model: nothing below is worth remembering
    seconds = _attacc_s if gpu.rule == "attacc" else _sm_s
    return ceil(seconds(gpu, operator, resident_bytes) * 1e12)


def decode_attention_ps(
    gpu: GpuSpec, attention: Attention, contexts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Picoseconds of decode attention at each of many context lengths.

    Parameters
    ----------
    attention
        One query per sequence; its own `context` is not used.
    contexts
        (n,) tokens each sequence has, the new one included.

    Returns
    -------
        (n,) the integers that `operator_ps` gives for each context alone.
    """
    if attention.n_query != 1:
        raise ConfigError("attention.n_query", f"decode has one query, got {attention.n_query}")
    sm_flop = _sm_flop(gpu, attention.activation.name)
    if gpu.rule == "attacc":
        seconds = attacc.decode_s(gpu, sm_flop, attention, contexts)
    else:
        rate = sm_flop * _tensor_frac(gpu, attention.activation.name)
        seconds = sm.decode_s(gpu, rate, attention, contexts)
    return np.ceil(seconds * 1e12).astype(np.int64)


def _attacc_s(gpu: GpuSpec, operator: Operator, resident_bytes: int) -> float:
    del resident_bytes  # the rule knows no L2 contents
    if isinstance(operator, Elementwise):
        return attacc.elementwise_s(gpu, operator)
    sm_flop = _sm_flop(gpu, operator.activation.name)
    if isinstance(operator, Attention):
        return attacc.attention_s(gpu, sm_flop, operator)
    if isinstance(operator, GroupedGemm):
        return attacc.grouped_s(gpu, sm_flop, operator)
    return attacc.gemm_s(gpu, sm_flop, operator)


def _sm_s(gpu: GpuSpec, operator: Operator, resident_bytes: int) -> float:
    if isinstance(operator, Elementwise):
        return sm.elementwise_s(gpu, operator, resident_bytes)
    name = operator.activation.name
    rate = _sm_flop(gpu, name) * _tensor_frac(gpu, name)
    if isinstance(operator, Attention):
        return sm.attention_s(gpu, rate, operator, resident_bytes)
    if isinstance(operator, GroupedGemm):
        return sm.grouped_s(gpu, rate, operator, resident_bytes)
    return sm.gemm_s(gpu, rate, operator, resident_bytes)


def _sm_flop(gpu: GpuSpec, format_name: str) -> int:
    """Dense GEMM FLOP per cycle and SM."""
    try:
        return gpu.matrix_flop[format_name]
    except KeyError:
        known = ", ".join(sorted(gpu.matrix_flop))
        raise ConfigError(
            "gpu.matrix_flop", f"no GEMM rate for format '{format_name}'; this GPU has: {known}"
        ) from None


def _tensor_frac(gpu: GpuSpec, format_name: str) -> float:
    return gpu.format_frac.get(format_name, gpu.tensor_frac)


def peak_flop_per_s(gpu: GpuSpec, format_name: str) -> int:
    """The highest FLOP rate any GEMM or attention reaches, under the GPU's rule."""
    sm_flop = _sm_flop(gpu, format_name)
    frac = gpu.attacc.compute_frac if gpu.rule == "attacc" else _tensor_frac(gpu, format_name)
    return ceil(sm_flop * gpu.sms * gpu.clock * frac)


def memory_bytes_per_s(gpu: GpuSpec) -> int:
    """The highest rate at which any operator moves device memory, under the GPU's rule."""
    frac = gpu.attacc.memory_frac if gpu.rule == "attacc" else gpu.memory_frac
    return ceil(gpu.memory_bandwidth * frac)


def flop_energy_fj(gpu: GpuSpec, format_name: str) -> int:
    """Dynamic femtojoules per FLOP in a format."""
    _sm_flop(gpu, format_name)
    return gpu.flop_energy[format_name]
