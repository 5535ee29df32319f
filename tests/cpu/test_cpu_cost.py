import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.cpu import (
    CpuSpec,
    compute_ps,
    flop_energy_fj,
    kernel_bytes_per_s,
    memory_bytes_per_s,
    operator_ps,
    peak_flop_per_s,
)
from ndpsim.errors import ConfigError
from ndpsim.memo import Memo
from ndpsim.spec import load_preset, preset_names
from ndpsim.units import ps_for
from ndpsim.workload.operators import Elementwise, Format, Gemm, Operator

FP16 = Format("fp16", 16)
INT4 = Format("int4", 4, group=128, scale_bits=16)
MEMO = Memo()
NAMES = preset_names("cpu")
CPUS = [load_preset("cpu", name, CpuSpec) for name in NAMES]
I7 = load_preset("cpu", "i7-14700", CpuSpec)


def gemm(m: int, n: int, k: int, weight: Format = FP16) -> Gemm:
    return Gemm("gemm", m, n, k, weight, FP16)


sizes = st.integers(1, 5000)
operators = st.one_of(
    st.builds(gemm, sizes, sizes, sizes, st.sampled_from([FP16, INT4])),
    st.builds(lambda n, flop: Elementwise("norm", n, n, flop * n, FP16), sizes, st.integers(0, 9)),
)


@pytest.mark.parametrize("cpu", CPUS[::4], ids=NAMES[::4])
@given(operator=operators)
@settings(max_examples=25)
def test_no_operator_beats_the_rates_of_the_bound(cpu: CpuSpec, operator: Operator) -> None:
    body_ps = operator_ps(MEMO, cpu, operator) - cpu.call
    assert body_ps >= ps_for(operator.n_bytes, kernel_bytes_per_s(cpu))
    assert body_ps >= ps_for(operator.flop, peak_flop_per_s(cpu, "fp16"))


def test_one_token_is_memory_bound_and_many_are_not() -> None:
    one, many = gemm(1, 1536, 2048), gemm(512, 1536, 2048)
    memory_ps = ps_for(one.n_bytes, kernel_bytes_per_s(I7))
    assert operator_ps(MEMO, I7, one) == I7.call + memory_ps
    flop_ps = ps_for(many.flop, peak_flop_per_s(I7, "fp16"))
    assert operator_ps(MEMO, I7, many) == I7.call + flop_ps


def test_narrow_weights_are_dequantised_once() -> None:
    many = gemm(512, 1536, 2048, weight=INT4)
    extra_ps = ps_for(I7.dequant_flop * 1536 * 2048, peak_flop_per_s(I7, "fp32"))
    plain_ps = operator_ps(MEMO, I7, gemm(512, 1536, 2048))
    assert operator_ps(MEMO, I7, many) == plain_ps + extra_ps


def test_a_missing_rate_names_the_formats_there_are() -> None:
    fp8 = Format("fp8", 8)
    with pytest.raises(ConfigError, match=r"no rate for format 'fp8'.*bf16, fp16, fp32, int8"):
        operator_ps(MEMO, I7, Gemm("gemm", 1, 64, 64, fp8, fp8))
    with pytest.raises(ConfigError, match="'fp8'"):
        flop_energy_fj(I7, "fp8")


@pytest.mark.parametrize("cpu", CPUS, ids=NAMES)
def test_full_arithmetic_load_stays_within_the_power_limit(cpu: CpuSpec) -> None:
    dynamic_w = peak_flop_per_s(cpu, "fp16") * flop_energy_fj(cpu, "fp16") * 1e-15
    assert dynamic_w + cpu.idle_power * 1e-6 <= cpu.peak_power * 1e-6


def test_every_rate_has_an_energy() -> None:
    fields = I7.model_dump(mode="json")
    fields["flop_energy"].pop("int8")
    with pytest.raises(ValueError, match="must name the same formats: int8"):
        CpuSpec.model_validate(fields)


def test_the_matrix_unit_pays_for_whole_tiles_and_wins_when_they_are_full() -> None:
    spr = load_preset("cpu", "xeon-gold-6454s", CpuSpec)
    simd = spr.model_copy(update={"matrix_flop": {}})
    bf16 = Format("bf16", 16)

    def time_ps(cpu: CpuSpec, m: int) -> int:
        return compute_ps(MEMO, cpu, Gemm("gemm", m, 2048, 7168, bf16, bf16))

    assert time_ps(spr, 1) == time_ps(simd, 1)
    assert time_ps(spr, 512) < time_ps(simd, 512)
    assert time_ps(spr, 497) == time_ps(spr, 512)
    peak = peak_flop_per_s(spr, "bf16")
    assert time_ps(spr, 512) == spr.call + ps_for(2 * 512 * 2048 * 7168, peak)


def test_core_dies_can_be_narrower_than_the_channels() -> None:
    one_die = load_preset("cpu", "ryzen-7-7800x3d", CpuSpec)
    free = one_die.model_copy(update={"cluster_bandwidth": None})
    two_dies = one_die.model_copy(update={"clusters": 2})
    assert memory_bytes_per_s(one_die) < memory_bytes_per_s(two_dies) == memory_bytes_per_s(free)


def test_interleaved_pages_cost_more_than_local_ones() -> None:
    mixed = load_preset("cpu", "xeon-gold-6526y-2p", CpuSpec)
    local = mixed.model_copy(update={"numa": "local"})
    even = mixed.model_copy(update={"remote_frac": 1.0})
    assert memory_bytes_per_s(mixed) < memory_bytes_per_s(even) == memory_bytes_per_s(local)


def test_two_local_sockets_read_twice_as_fast_as_one() -> None:
    one, two = (load_preset("cpu", f"epyc-7452{n}", CpuSpec) for n in ("", "-2p"))
    assert memory_bytes_per_s(two) == pytest.approx(2 * memory_bytes_per_s(one))


def test_a_matrix_format_needs_a_simd_rate_and_a_price() -> None:
    fields = I7.model_dump(mode="json") | {"matrix_flop": {"fp8": 2048}}
    with pytest.raises(ValueError, match="simd_flop lacks: fp8"):
        CpuSpec.model_validate(fields)
    fields = I7.model_dump(mode="json")
    del fields["simd_flop"]["fp32"], fields["flop_energy"]["fp32"]
    with pytest.raises(ValueError, match="must name fp32"):
        CpuSpec.model_validate(fields)
