"""Work to be done: model dimensions, operators, number formats and routing traces."""

from ndpsim.workload.grouped import GroupedOperators, grouped_operators, quantize_operator
from ndpsim.workload.huggingface import read_huggingface_config
from ndpsim.workload.layers import (
    Formats,
    Operators,
    Step,
    attention_operators,
    combine_operators,
    dense_operators,
    embedding_operators,
    expert_operators,
    head_operators,
    router_operators,
    shared_operators,
)
from ndpsim.workload.memory import (
    expert_bytes,
    expert_flop,
    expert_slice_bytes,
    kv_cache_bytes,
    non_expert_bytes,
    workspace_bytes,
)
from ndpsim.workload.operators import Attention, Elementwise, Format, Gemm, GroupedGemm, Operator
from ndpsim.workload.selection import Extend, Routing, check_geometry, select
from ndpsim.workload.spec import FormatSpec, GqaSpec, MlaSpec, ModelSpec
from ndpsim.workload.stats import trace_stats
from ndpsim.workload.synth import SyntheticSpec, synthesize
from ndpsim.workload.trace import Trace, TraceInfo, read_trace, trace_digest, write_trace

__all__ = [
    "Attention",
    "Elementwise",
    "Extend",
    "Format",
    "FormatSpec",
    "Formats",
    "Gemm",
    "GqaSpec",
    "GroupedGemm",
    "GroupedOperators",
    "MlaSpec",
    "ModelSpec",
    "Operator",
    "Operators",
    "Routing",
    "Step",
    "SyntheticSpec",
    "Trace",
    "TraceInfo",
    "attention_operators",
    "check_geometry",
    "combine_operators",
    "dense_operators",
    "embedding_operators",
    "expert_bytes",
    "expert_flop",
    "expert_operators",
    "expert_slice_bytes",
    "grouped_operators",
    "head_operators",
    "kv_cache_bytes",
    "non_expert_bytes",
    "quantize_operator",
    "read_huggingface_config",
    "read_trace",
    "router_operators",
    "select",
    "shared_operators",
    "synthesize",
    "trace_digest",
    "trace_stats",
    "workspace_bytes",
    "write_trace",
]
