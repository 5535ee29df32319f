"""From text to trace: train a little, resume, capture."""

import json

import numpy as np
import pytest

NEEDS = "needs the optional extra: pip install 'ndpsim[capture]'"
torch = pytest.importorskip("torch", reason=NEEDS)
pytest.importorskip("transformers", minversion="5", reason=NEEDS)
pytest.importorskip("tokenizers", reason=NEEDS)

from ndpsim.capture import run, train  # noqa: E402
from ndpsim.capture.generate import Sampling, capture, looping, trace_of  # noqa: E402
from ndpsim.capture.shrunk import load_model, shrunk_config  # noqa: E402
from ndpsim.capture.text import Document  # noqa: E402
from ndpsim.workload.stats import trace_stats  # noqa: E402
from ndpsim.workload.trace import read_trace, write_trace  # noqa: E402

SETTINGS = {
    "tokens_per_step": 64,
    "context": 16,
    "long_context": 32,
    "vocab_size": 300,
    "d_model": 16,
    "d_expert": 4,
    "eval_every": 1,
    "save_every": 2,
    "warmup_steps": 1,
}


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    words = ["expert", "router", "token", "layer", "memory", "near", "data"]
    return [
        Document(domain, f"{domain}/{i}", " ".join(rng.choice(words, 200)))
        for domain in ("code", "prose")
        for i in range(60)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, texts):
    """A directory with a two-layer model trained for two steps, then resumed for two more."""

    def two_layers(*args):
        config = shrunk_config(*args)
        config.num_hidden_layers = 2
        config.num_experts = 8
        config.num_experts_per_tok = 2
        return config

    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "shrunk_config", two_layers)
        patch.setattr(train, "documents", lambda: iter(texts))
        for steps in (2, 4):
            train.train(out, train.TrainSettings(steps=steps, **SETTINGS))
    return out


def test_a_resumed_run_goes_on_where_it_stopped(trained):
    rows = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["tokens"] for row in rows] == [64, 128, 192, 256]
    assert rows[-1]["held_out_loss"] < rows[0]["held_out_loss"]


def test_capture_of_held_out_prompts_says_where_it_comes_from(trained, texts, tmp_path):
    model, tokenizer = load_model(trained)
    chosen = run.held_out_prompts(texts, tokenizer, 2, 8)
    assert {d.domain for d, _ in chosen} == {"code", "prose"}
    assert all(d.held_out for d, _ in chosen)
    sampling = Sampling(decode_tokens=4)
    routed = capture(model, np.array([ids for _, ids in chosen]), sampling)
    about = run.provenance(trained, model, routed, sampling, [d for d, _ in chosen])
    write_trace(tmp_path / "t.parquet", trace_of(routed, run.MODEL_NAME, 8, about))
    trace = read_trace(tmp_path / "t.parquet")
    assert [row["step"] for row in trace.info.provenance["training"]["curve"]] == [1, 2, 3, 4]
    skew = about["capture"]["hottest_over_mean_by_layer"]
    stated = [row["hottest_over_mean"] for row in trace_stats(trace)["layers"]]
    assert skew == pytest.approx(stated, abs=0.01)


def test_too_few_held_out_documents_are_an_error(trained, texts):
    tokenizer = load_model(trained)[1]
    with pytest.raises(SystemExit, match="held-out prompts"):
        run.held_out_prompts(texts, tokenizer, 100, 8)


def test_weights_are_rounded_to_256ths():
    weights = np.array([0.1249, 0.5, 0.0019], np.float16)
    assert run.rounded(weights).tolist() == [32 / 256, 0.5, 0.0]


def test_a_sequence_that_repeats_itself_is_found():
    fresh = np.random.default_rng(0).integers(500, size=512)
    stuck = fresh.copy()
    stuck[300:] = [7, 8] * 106
    assert looping(np.stack([fresh, stuck])).tolist() == [False, True]
    assert not looping(stuck[None, 300:400]).any(), "too short to tell"
