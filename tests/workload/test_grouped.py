"""Experts as a few kernels over all of them."""

from hypothesis import given
from hypothesis import strategies as st

from ndpsim.spec import load_preset
from ndpsim.workload import (
    Elementwise,
    Format,
    Formats,
    Gemm,
    GroupedGemm,
    ModelSpec,
    expert_operators,
    grouped_operators,
    quantize_operator,
)

BF16, FP8, INT4 = Format("bf16", 16), Format("fp8", 8), Format("int4", 4, 128, 16)
QWEN = load_preset("model", "qwen3-30b-a3b", ModelSpec)


def layer(tokens: tuple[int, ...], **options: object):
    given = {"weight": INT4, "activation": BF16} | options
    return grouped_operators(tokens, QWEN.d_model, QWEN.d_expert, **given)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8).map(tuple))
def test_grouped_experts_do_the_work_of_single_ones(tokens: tuple[int, ...]) -> None:
    formats = Formats(expert=INT4, weight=BF16, cache=BF16, activation=BF16)
    single = [op for n in tokens for op in expert_operators(QWEN, formats, n)]
    grouped = [op for op in layer(tokens) if isinstance(op, GroupedGemm)]
    gemms = [op for op in single if isinstance(op, Gemm)]
    assert sum(op.flop for op in grouped) == sum(op.flop for op in gemms)
    assert sum(op.weight_bytes for op in grouped) == sum(op.weight_bytes for op in gemms)
    assert sum(op.n_bytes for op in grouped) == sum(op.n_bytes for op in gemms)


def test_narrow_products_need_their_activations_narrowed_first() -> None:
    wide, narrow = layer((3, 1)), layer((3, 1), compute=FP8)
    assert len(narrow) == len(wide) + 2
    assert {op.activation for op in narrow if isinstance(op, GroupedGemm)} == {FP8}


def test_places_of_experts_elsewhere_are_handled_between_the_products() -> None:
    own, all_places = layer((4,) * 16, n_tokens=64), layer((4,) * 16, n_tokens=64, n_pairs=512)
    for few, many in zip(own, all_places, strict=True):
        if isinstance(few, Elementwise):
            assert many.n_read > few.n_read
        else:
            assert many == few


def test_narrowing_reads_twice_and_writes_once() -> None:
    kernel = quantize_operator("quantize", 1000, BF16, FP8)
    assert kernel.n_bytes == 2 * 2 * 1000 + 1000
