import pytest
import torch

from genser.model import EstimatorConfig, FeatureTransformConfig, HeadConfig, TransportHead
from genser.model.unrolled import UnrolledTransport
from genser.transport import BridgePath, Sampler

torch.set_num_threads(1)


def random_head(sampler, ridge_prior=0.0, state="network", **network):
    torch.manual_seed(0)
    path = BridgePath(k=7.0, sigma=0.8, t_eps=0.05)
    front = (
        FeatureTransformConfig(network["conditions"], 32, repeat=True) if ridge_prior or state == "posterior" else None
    )
    own = {"state": state, "ridge_prior": ridge_prior, "feature_transform": front}
    config = HeadConfig(("a", "b"), EstimatorConfig(dim=32, **network), path, sampler, **own)
    head = TransportHead(config)
    if ridge_prior:
        head.fit(torch.randn(64, front.states, 32), torch.arange(64) % 2)
    for parameter in head.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return head.eval().requires_grad_(False)


@pytest.mark.parametrize("method", ["euler", "heun", "bridge"])
@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize(
    "network",
    [
        {"conditions": 3, "depth": 2, "heads": 2},
        {"conditions": 0, "depth": 1, "heads": 2},
        {"conditions": 4, "depth": 2, "heads": 4, "tokens": "layers"},
        {"conditions": 3, "depth": 1, "heads": 2, "width": 16, "dropout": 0.5},
        {"conditions": 3, "depth": 1, "heads": 2, "tokens": "concatenated", "ridge_prior": 10.0},
        {"conditions": 3, "depth": 1, "heads": 2, "ensemble": 3},
        {"conditions": 3, "depth": 1, "heads": 2, "ensemble": 2, "state": "posterior"},
        {"conditions": 2, "depth": 1, "heads": 2, "tokens": "concatenated", "state": "posterior", "ridge_prior": 10.0},
    ],
)
def test_unrolled_equals_the_sampler(method, steps, network):
    head = random_head(Sampler(steps, method), **network)
    features = torch.randn(5, head.config.feature_transform.states, 32)
    x_1, X_c = head.ends(features)
    wanted = head.config.sampler.trace(head.estimate, head.config.path, x_1, X_c)
    for ours, theirs in zip(UnrolledTransport(head)(x_1, X_c), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_unrolled_is_smaller_where_attention_has_one_token_to_see():
    head = random_head(Sampler(20), conditions=3, depth=2, heads=2)
    unrolled = UnrolledTransport(head)
    with torch.no_grad():
        program = torch.export.export(unrolled, head.ends(torch.randn(2, 4, 32)))
    used = sum(tensor.numel() for name, tensor in program.state_dict.items() if "attention" not in name)
    assert used < sum(parameter.numel() for parameter in head.estimator.parameters())
