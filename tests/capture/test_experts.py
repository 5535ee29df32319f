"""The experts used in training compute what transformers' own experts compute."""

import pytest

NEEDS = "needs the optional extra: pip install 'ndpsim[capture]'"
torch = pytest.importorskip("torch", reason=NEEDS)
transformers = pytest.importorskip("transformers", minversion="5", reason=NEEDS)
pytest.importorskip("tokenizers", reason=NEEDS)

from ndpsim.capture.experts import SortedExperts, use_sorted_experts  # noqa: E402
from ndpsim.capture.train import BalanceTap, TrainSettings, next_token_loss  # noqa: E402


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = transformers.Qwen3MoeConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        moe_intermediate_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=16,
        num_experts_per_tok=4,
        norm_topk_prob=True,
        initializer_range=0.3,
    )
    model = transformers.Qwen3MoeForCausalLM(config).double()
    model.set_experts_implementation("eager")
    return model


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = next_token_loss(model, batch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def test_loss_and_every_gradient_equal_transformers_own(model):
    batch = torch.randint(64, (2, 9))
    loss, gradients = loss_and_gradients(model, batch)
    use_sorted_experts(model)
    ours, our_gradients = loss_and_gradients(model, batch)
    assert ours == pytest.approx(loss, rel=1e-9)
    for name, gradient in gradients.items():
        # Routing weights are computed in float32 whatever the model's precision.
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-5, atol=1e-8)


def test_backward_is_the_derivative_of_forward():
    """Finite differences, with an expert that no token chose."""
    torch.manual_seed(1)
    chosen = torch.tensor([[0, 2], [2, 3], [3, 0]])
    flat = chosen.reshape(-1)
    order, counts = flat.argsort(stable=True), flat.bincount(minlength=4).tolist()
    shapes = [(3, 5), (3, 2), (4, 6, 5), (4, 5, 3)]
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(
        lambda x, w, up, down: SortedExperts.apply(x, w, up, down, order, counts), inputs
    )


def test_balance_loss_is_transformers_own_of_each_layer(model):
    tap = BalanceTap(model)
    batch = torch.randint(64, (2, 9))
    of_layer = transformers.models.qwen3_moe.modeling_qwen3_moe.load_balancing_loss_func
    logits = model(input_ids=batch, output_router_logits=True).router_logits
    expected = sum(of_layer((layer,), 16, 4) for layer in logits)
    torch.testing.assert_close(tap.take()[0].double(), expected.double(), rtol=1e-5, atol=0)


def test_rate_warms_up_stays_and_decays():
    settings = TrainSettings(steps=1000)
    rates = [settings.lr(step) for step in range(1000)]
    assert rates[0] == pytest.approx(settings.peak_lr / settings.warmup_steps)
    assert rates[settings.warmup_steps] == rates[500] == settings.peak_lr
    assert rates[-1] == pytest.approx(0.05 * settings.peak_lr, rel=0.01)
    assert settings.context_at(0) == 256
    assert settings.context_at(999) == 1024
    assert settings.balance_coef_at(0) > settings.balance_coef_at(999) > 0
