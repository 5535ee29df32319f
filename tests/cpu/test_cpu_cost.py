import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.cpu import CpuSpec, flop_energy_fj, memory_bytes_per_s, operator_ps, peak_flop_per_s
from ndpsim.errors import ConfigError
from ndpsim.memo import Memo
from ndpsim.spec import load_preset, preset_names
from ndpsim.units import ps_for
from ndpsim.workload.operators import Elementwise, Format, Gemm, Operator

FP16 = Format("fp16", 16)
INT4 = Format("int4", 4, group=128, scale_bits=16)
MEMO = Memo()
CPUS = [load_preset("cpu", name, CpuSpec) for name in preset_names("cpu")]
I7 = load_preset("cpu", "i7-14700", CpuSpec)


def gemm(m: int, n: int, k: int, weight: Format = FP16) -> Gemm:
    return Gemm("gemm", m, n, k, weight, FP16)


sizes = st.integers(1, 5000)
operators = st.one_of(
    st.builds(gemm, sizes, sizes, sizes, st.sampled_from([FP16, INT4])),
    st.builds(lambda n, flop: Elementwise("norm", n, n, flop * n, FP16), sizes, st.integers(0, 9)),
)


@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: str(cpu.cores))
@given(operator=operators)
def test_no_operator_beats_the_rates_of_the_bound(cpu: CpuSpec, operator: Operator) -> None:
    body_ps = operator_ps(MEMO, cpu, operator) - cpu.call
    assert body_ps >= ps_for(operator.n_bytes, memory_bytes_per_s(cpu))
    assert body_ps >= ps_for(operator.flop, peak_flop_per_s(cpu, "fp16"))


def test_one_token_is_memory_bound_and_many_are_not() -> None:
    one, many = gemm(1, 1536, 2048), gemm(512, 1536, 2048)
    memory_ps = ps_for(one.n_bytes, memory_bytes_per_s(I7))
    assert operator_ps(MEMO, I7, one) == I7.call + memory_ps
    flop_ps = ps_for(many.flop, peak_flop_per_s(I7, "fp16"))
    assert operator_ps(MEMO, I7, many) == I7.call + flop_ps


def test_narrow_weights_are_dequantised_once() -> None:
    many = gemm(512, 1536, 2048, weight=INT4)
    extra = I7.dequant_flop * 1536 * 2048
    flop_ps = ps_for(many.flop + extra, peak_flop_per_s(I7, "fp16"))
    assert operator_ps(MEMO, I7, many) == I7.call + flop_ps


def test_a_missing_rate_names_the_formats_there_are() -> None:
    fp8 = Format("fp8", 8)
    with pytest.raises(ConfigError, match=r"no rate for format 'fp8'.*bf16, fp16, fp32, int8"):
        operator_ps(MEMO, I7, Gemm("gemm", 1, 64, 64, fp8, fp8))
    with pytest.raises(ConfigError, match="'fp8'"):
        flop_energy_fj(I7, "fp8")


@pytest.mark.parametrize("cpu", CPUS, ids=lambda cpu: str(cpu.cores))
def test_full_arithmetic_load_stays_within_the_power_limit(cpu: CpuSpec) -> None:
    dynamic_w = peak_flop_per_s(cpu, "fp16") * flop_energy_fj(cpu, "fp16") * 1e-15
    assert dynamic_w + cpu.idle_power * 1e-6 <= cpu.peak_power * 1e-6


def test_every_rate_has_an_energy() -> None:
    fields = I7.model_dump(mode="json")
    fields["flop_energy"].pop("int8")
    with pytest.raises(ValueError, match="must name the same formats: int8"):
        CpuSpec.model_validate(fields)
