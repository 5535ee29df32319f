import json
from pathlib import Path

import pytest

from ndpsim.cli import main
from ndpsim.errors import InputError
from ndpsim.gpu import GpuSpec, operator_ps
from ndpsim.memo import Memo
from ndpsim.spec import load_preset
from ndpsim.validation.end_to_end import (
    Placed,
    step_ps,
    summarize_end_to_end,
    validate_end_to_end,
)
from ndpsim.workload import Format, Formats, ModelSpec, Step, embedding_operators

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
FP16 = Format("fp16", 16)
HEAD = (
    "model,quantization,engine,gpu,gpu_count,cpu,host_memory,pcie,offload,offload_detail,"
    "prompt_tokens,context_depth,prefill_tok_s,decode_tok_s,batch,confidence,notes\n"
)


@pytest.fixture(scope="module")
def cases():
    if not (REFERENCE / "end_to_end.csv").is_file():
        pytest.skip("no measured data: ../shared/reference/end_to_end.csv is absent")
    return validate_end_to_end(str(REFERENCE))


def test_decode_rates_agree_within_the_target(cases) -> None:
    (target,) = summarize_end_to_end(cases)["targets"]
    assert target["n"] >= 55
    assert target["median_abs_error"] <= target["target"]
    assert abs(target["bias"]) <= 0.15


def test_every_row_is_modelled_or_has_a_reason(cases) -> None:
    assert len(cases) == 133
    assert all((case.error_frac is None) == (case.reason is not None) for case in cases)


def rates(tmp_path, *rows: str):
    (tmp_path / "end_to_end.csv").write_text(HEAD + "\n".join(rows) + "\n")
    return validate_end_to_end(str(tmp_path))


QWEN = "Qwen3-30B-A3B,Q4_0,llama.cpp"


def test_what_is_off_the_gpu_costs_more_layer_by_layer(tmp_path) -> None:
    host = "RTX4090,1,Ryzen 7950X,,"
    done = rates(
        tmp_path,
        f"{QWEN},{host},full_gpu,,512,0,,100,1,high,",
        f"{QWEN},{host},partial_experts_cpu,14 of 48 on CPU,512,0,,100,1,high,",
        f"{QWEN},{host},experts_cpu,,512,0,,100,1,high,",
        f"{QWEN},none,0,Ryzen 7950X,,,cpu_only,,512,0,,100,1,high,",
    )
    got = [case.got for case in done]
    assert got == sorted(got, reverse=True)
    here, part, there = (1 / rate for rate in got[:3])
    assert part == pytest.approx(here + (there - here) * 14 / 48)


def test_experts_kept_on_the_gpu_are_hit_by_their_share(tmp_path) -> None:
    host = "RTX4090,1,Ryzen 7950X,,"
    done = rates(
        tmp_path,
        *(
            f"{QWEN},{host},partial_experts_cpu,{n} of 128 experts per layer on GPU,512,0,,9,1,low,"
            for n in (4, 32, 96)
        ),
        f"{QWEN},{host},experts_cpu,,512,0,,100,1,high,",
    )
    none, quarter, most, all_out = (case.got for case in done)
    assert none == all_out < quarter < most


def test_rows_we_cannot_express_say_why(tmp_path) -> None:
    done = rates(
        tmp_path,
        "Unheard-7B,Q4_0,llama.cpp,RTX4090,1,,,,full_gpu,,512,0,,100,1,low,",
        "Qwen3-30B-A3B,Q9_X,llama.cpp,RTX4090,1,,,,full_gpu,,512,0,,100,1,low,",
        f"{QWEN},RTX4090,1,,,,experts_cpu,,512,0,,100,1,low,",
        f"{QWEN},RTX4090,1,Ryzen 7950X,,,partial_experts_cpu,most,512,0,,100,1,low,",
        "Qwen3-30B-A3B,bf16,vLLM,RTX4090,1,,,,full_gpu,,512,0,,100,1,low,",
        f"{QWEN},Voodoo2,1,,,,full_gpu,,512,0,,100,1,low,",
        f"{QWEN},RTX4090,1,,,,full_gpu,,512,0,,,1,low,",
        "Qwen3-30B-A3B,INT4,vLLM,RTX2080,1,,,,full_gpu,,1,0,,100,1,low,",
    )
    wanted = (
        "no preset for 'Unheard-7B'",
        "no format for 'Q9_X'",
        "the host is not named",
        "how often the GPU's share is hit is not told",
        "needs 61",
        "no preset for 'Voodoo2'",
        "neither a decode rate nor a prefill rate",
        "needs 18",
    )
    for case, words in zip(done, wanted, strict=True):
        assert case.got is None
        assert words in str(case.reason)


def test_a_missing_column_is_named(tmp_path) -> None:
    (tmp_path / "end_to_end.csv").write_text("model,gpu\nMixtral-8x7B,RTX4090\n")
    with pytest.raises(InputError, match=r"end_to_end.csv: missing columns quantization, engine"):
        validate_end_to_end(str(tmp_path))


def test_a_step_holds_every_layer_once() -> None:
    """Twice the layers, ends once: the difference of two steps is exactly the layers'."""
    gpu = load_preset("gpu", "rtx-4090", GpuSpec)
    model = load_preset("model", "olmoe-1b-7b", ModelSpec)
    formats = Formats(FP16, FP16, FP16, FP16)

    def took_ps(n_layers: int) -> int:
        cut = model.model_copy(update={"n_layers": n_layers})
        return step_ps(Memo(), Placed(cut, formats, gpu, None, 0, 0, None, ""), Step(1, 1, 100))

    one, two, four = took_ps(1), took_ps(2), took_ps(4)
    assert four - two == 2 * (two - one)
    ends = embedding_operators(model, formats, 1)
    assert one > two - one > sum(operator_ps(Memo(), gpu, op) for op in ends)


def test_the_command_prints_one_document(tmp_path, capsys) -> None:
    rates(tmp_path, f"{QWEN},RTX4090,1,,,,full_gpu,,512,0,,100,1,low,")
    with pytest.raises(SystemExit) as done:
        main(["validate", "end-to-end", "--reference", str(tmp_path), "--json"])
    assert done.value.code == 0
    document = json.loads(capsys.readouterr().out)
    (case,) = document["cases"]
    assert {"set", "case", "op", "expected", "got", "error_frac", "reason"} <= case.keys()
    assert case["set"] == "end_to_end"
    assert case["error_frac"] == pytest.approx(case["got"] / 100 - 1)
    assert document["summary"]["rows"] == 1


def test_a_missing_column_is_one_line_and_exit_2(tmp_path, capsys) -> None:
    (tmp_path / "end_to_end.csv").write_text("model,gpu\nMixtral-8x7B,RTX4090\n")
    (tmp_path / "pcie_cpu.csv").write_text("category\nmemcpy\n")
    for command in ("end-to-end", "links"):
        with pytest.raises(SystemExit) as done:
            main(["validate", command, "--reference", str(tmp_path)])
        assert done.value.code == 2
        told = capsys.readouterr().err.strip()
        assert told.startswith("error: ")
        assert "missing columns" in told
        assert "\n" not in told
