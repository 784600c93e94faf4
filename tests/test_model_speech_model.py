"""The module from waveform to probabilities: its outputs for every head, and its closed form of the steps."""

from dataclasses import replace

import pytest
import torch
from toys import LABELS, toy_weights

from genser.encoders import load_encoder
from genser.errors import ModelError
from genser.model import HEADS, EstimatorConfig, FeatureTransformConfig, HeadConfig, make_head
from genser.model.speech_gate import SpeechGate
from genser.model.speech_model import SpeechModel, check_encoder
from genser.transport import Sampler
from genser.transport.codes import probabilities, projections

NETWORK = EstimatorConfig(64, 3, width=16, depth=1, heads=2, tokens="concatenated", ensemble=2)
TRANSFORM = FeatureTransformConfig(3, 64, repeat=True)
CONFIG = HeadConfig(LABELS, NETWORK, sampler=Sampler(2), feature_transform=TRANSFORM, exponent=1.5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(toy_weights(tmp_path_factory.mktemp("model") / "encoder.safetensors"))


def random_head(config, seed=0):
    torch.manual_seed(seed)
    head = make_head(config)
    head.fit(torch.randn(64, 3, 64), torch.arange(64) % len(config.labels))
    for parameter in head.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return head.eval().requires_grad_(False)


def sounds(rows=3, samples=9_000):
    lengths = torch.tensor([samples, 4_000, 400])[:rows]
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0)), lengths


@pytest.mark.parametrize("method", ["euler", "bridge"])
@pytest.mark.parametrize(
    ("readout", "steps"),
    [("estimate", 0), *((readout, steps) for readout in ("estimate", "state") for steps in (1, 4, 20))],
)
@pytest.mark.parametrize(
    ("state", "ridge_prior"), [("network", 0.0), ("network", 2.0), ("posterior", 0.0), ("posterior", 2.0)]
)
def test_the_model_equals_the_sampler_step_by_step(encoder, method, readout, steps, state, ridge_prior):
    sampler = Sampler(steps, method, readout)
    head = random_head(replace(CONFIG, sampler=sampler, state=state, ridge_prior=ridge_prior))
    features = encoder(*sounds())
    x_1, X_c = head.ends(features)
    estimates, states = sampler.trace(head.estimate, head.config.path, x_1, X_c)
    scores, trajectory, found, _ = SpeechModel(encoder, head)(*sounds())
    torch.testing.assert_close(found, states.transpose(0, 1), rtol=1e-5, atol=4e-6 * float(states.abs().max()))
    expected = probabilities(projections(estimates, head.codes), 1.5).transpose(0, 1)
    torch.testing.assert_close(trajectory, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(scores, head(features), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("with_gate", [False, True])
@pytest.mark.parametrize("components", [0, 4])
def test_every_head_gives_the_outputs_that_it_names(encoder, kind, with_gate, components):
    settings = {"ridge_prior": 2.0 if kind == "ridge" else 0.0, "out_of_domain_exponent": 0.5}
    head = random_head(replace(CONFIG, kind=kind, in_domain_components=components, **settings))
    if components:
        head.in_domain.fit(torch.randn(40, 3, 64))
        head.in_domain.slope.fill_(1.0)
    gate = SpeechGate(3, 64)
    torch.nn.init.normal_(gate.weight, std=0.1)
    model = SpeechModel(encoder, head, gate if with_gate else None)
    found = dict(zip(model.outputs, model(*sounds()), strict=True))
    transport = {"trajectory", "states"} if kind == "transport" else set()
    assert set(found) == {"scores", "features"} | transport | ({"speech"} if with_gate else set()) | (
        {"familiar"} if components else set()
    )
    features = encoder(*sounds())
    torch.testing.assert_close(found["scores"], head(features), rtol=0, atol=2e-6)
    torch.testing.assert_close(found["scores"].sum(-1), torch.ones(3))
    if components:
        torch.testing.assert_close(found["familiar"], head.in_domain(features))
    if with_gate:
        torch.testing.assert_close(found["speech"], model.gate(features))


def test_a_shift_changes_the_scores_but_neither_the_speech_nor_the_familiarity(encoder):
    head = random_head(replace(CONFIG, in_domain_components=4))
    head.in_domain.fit(torch.randn(40, 3, 64))
    head.in_domain.slope.fill_(1.0)
    gate, shift = SpeechGate(3, 64), torch.randn(1, 3, 64)
    torch.nn.init.normal_(gate.weight, std=0.1)
    model, features = SpeechModel(encoder, head, gate), encoder(*sounds())
    found = dict(zip(model.outputs, model(*sounds(), shift), strict=True))
    exponent = head.exponent(head.in_domain_score(features))
    expected = probabilities(head.coordinates(features + shift), exponent)
    torch.testing.assert_close(found["scores"], expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(found["speech"], gate(features))
    torch.testing.assert_close(found["familiar"], head.in_domain(features))
    torch.testing.assert_close(found["features"], features)


def test_another_encoder_is_refused(encoder):
    check_encoder(encoder, encoder.fingerprint, "m")
    with pytest.raises(ModelError, match="m was trained on another encoder"):
        check_encoder(encoder, "0" * 64, "m")
