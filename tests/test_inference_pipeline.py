"""The callable in the shape of transformers' pipeline for audio classification, beside the real one."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import genser
from genser.errors import AudioError, ConfigError

ROOT = Path(__file__).resolve().parent.parent
SPEECH, RATE = soundfile.read(ROOT / "examples/synthetic.flac", dtype="float32")


@pytest.fixture(scope="module")
def recognizer():
    return genser.load("tiny", threads=1)


@pytest.fixture(scope="module")
def real(recognizer):
    """The pipeline of transformers with a tiny random model of as many classes."""
    from transformers import AudioClassificationPipeline, Wav2Vec2Config, Wav2Vec2FeatureExtractor
    from transformers import Wav2Vec2ForSequenceClassification as Classifier

    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    names = dict(enumerate(recognizer.labels))
    config = Wav2Vec2Config(**size, conv_dim=(8,) * 7, num_conv_pos_embeddings=2, num_conv_pos_embedding_groups=1)
    config.id2label, config.label2id = names, {name: index for index, name in names.items()}
    return AudioClassificationPipeline(model=Classifier(config), feature_extractor=Wav2Vec2FeatureExtractor())


def shape(result):
    """A result with its scores replaced by their type and its labels by their type."""
    if isinstance(result, list):
        return [shape(part) for part in result]
    return {name: type(value) for name, value in result.items()}


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_k": 99}])
@pytest.mark.parametrize(
    "inputs",
    [
        SPEECH,
        torch.from_numpy(SPEECH),
        {"array": SPEECH, "sampling_rate": RATE},
        {"raw": SPEECH, "sampling_rate": RATE, "path": None},
        [SPEECH, SPEECH[:30_000]],
        [{"array": SPEECH, "sampling_rate": RATE}],
    ],
)
def test_results_have_the_shape_of_the_real_pipeline(recognizer, real, inputs, options):
    ours, theirs = recognizer.pipeline()(inputs, **options), real(inputs, **options)
    assert shape(ours) == shape(theirs)
    for ranking in ours if isinstance(inputs, list) else [ours]:
        scores = [entry["score"] for entry in ranking]
        assert scores == sorted(scores, reverse=True)


def test_an_iterable_is_read_as_needed_by_both(recognizer, real):
    taken = []

    def clips():
        for index in range(2):
            taken.append(index)
            yield SPEECH

    ours = recognizer.pipeline(top_k=1)(clips())
    assert not isinstance(ours, list)
    assert taken == []
    assert shape(list(ours)) == shape(list(real(clips(), top_k=1)))


def test_every_form_of_a_clip_gives_the_scores_of_the_recogniser(recognizer):
    path = ROOT / "examples/synthetic.flac"
    expected = recognizer.predict(path).scores
    classify = recognizer.pipeline(top_k=None)
    stereo = np.stack([SPEECH, SPEECH])
    forms = [path, str(path), path.read_bytes(), SPEECH, (SPEECH, RATE), {"array": stereo, "sampling_rate": RATE}]
    for ranking in [*map(classify, forms), *classify(forms)]:
        assert {entry["label"]: entry["score"] for entry in ranking} == pytest.approx(dict(expected), abs=1e-4)
    with path.open("rb") as file:
        assert classify(file) == classify(path)


def test_a_clip_without_speech_has_one_entry(recognizer):
    assert recognizer.pipeline()(np.zeros(16_000, np.float32))[0]["label"] == "no speech"


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ("missing.wav", {}, AudioError, "does not exist"),
        (["missing.wav"], {}, AudioError, "does not exist"),
        ({"array": SPEECH}, {}, ConfigError, "sampling_rate"),
        ({"sampling_rate": 16_000}, {}, ConfigError, "sampling_rate"),
        (SPEECH, {"top_k": 0}, ConfigError, "top_k"),
    ],
)
def test_what_cannot_be_classified_is_a_sentence(recognizer, inputs, options, error, message):
    with pytest.raises(error, match=message):
        recognizer.pipeline()(inputs, **options)
