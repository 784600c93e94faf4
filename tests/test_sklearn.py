"""Heads and encoders as scikit-learn estimators, by scikit-learn's own checks."""

import numpy as np
import pytest
import soundfile
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import genser
from genser.errors import AudioError, ConfigError
from genser.sklearn import HeadClassifier, SpeechEmbedder

NEEDS = {"check_array_api_input", "check_classifier_data_not_an_array"}
"""Checks that are skipped where SCIPY_ARRAY_API or pandas is missing."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("head", ["ridge", "transport"])
def test_scikit_learn_s_own_checks_pass(head):
    results = check_estimator(HeadClassifier(head, steps=1, random_state=0))
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= NEEDS
    assert len(results) > 50


def rows(count=60, states=2, dim=12):
    """Features of three classes that differ in the last state alone, for as many speakers as classes."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    features = random.normal(size=(count, states, dim))
    features[np.arange(count), -1, labels] += 4
    return features.reshape(count, -1), np.array(["sad", "merry", "calm"])[labels], np.arange(count) // 3 % 4


@pytest.mark.parametrize("head", ["transport", "mlp"])
def test_heads_learn_and_are_reproducible(head):
    X, y, groups = rows()
    settings = {"optimizer.lr": 1e-2}
    model = HeadClassifier(head, states=2, steps=40, settings=settings, random_state=1)
    scores = cross_val_score(model, X, y, groups=groups, cv=GroupKFold(4))
    assert scores.mean() > 0.8
    first, second = (clone(model).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (60, 3)
    np.testing.assert_allclose(first.sum(axis=1), 1)


def test_settings_are_searched():
    X, y, _ = rows()
    search = GridSearchCV(HeadClassifier("ridge"), {"settings": [{"ridge_prior": 1.0}, {"ridge_prior": 64.0}]}, cv=3)
    assert search.fit(X, y).best_score_ > 0.8


def test_what_cannot_be_trained_is_a_sentence():
    X, y, _ = rows()
    with pytest.raises(ConfigError, match=r"optimizer"):
        HeadClassifier(settings={"optimizer.rate": 1}).fit(X, y)
    with pytest.raises(ConfigError, match="transport"):
        HeadClassifier("transpot").fit(X, y)
    with pytest.raises(ValueError, match="no multiple of 7 states"):
        HeadClassifier(states=7).fit(X, y)
    with pytest.raises(NotFittedError):
        HeadClassifier().predict(X)


@pytest.fixture
def clips(tmp_path):
    """Hums of two pitches as files, and their labels and speakers."""
    time, paths = np.arange(12_000) / 16_000, []
    for index in range(12):
        pitch = (150, 450)[index % 2] + 4 * index
        sound = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * np.random.default_rng(index).normal(size=len(time))
        paths.append(str(tmp_path / f"{index}.wav"))
        soundfile.write(paths[-1], sound, 16_000)
    return np.array(paths), np.array(["low", "high"] * 6), np.arange(12) // 4


def test_clips_go_through_a_pipeline_by_speaker(clips):
    paths, labels, speakers = clips
    recognizer = genser.load("tiny", threads=1)
    states = recognizer.embed(paths[:1]).shape[1]
    model = make_pipeline(SpeechEmbedder(recognizer), HeadClassifier("ridge", states=states))
    assert cross_val_score(model, paths, labels, groups=speakers, cv=GroupKFold(3)).mean() > 0.9
    features = clone(model[0]).fit_transform(list(paths[:2]))
    np.testing.assert_allclose(features, recognizer.embed(paths[:2]).reshape(2, -1), atol=1e-5)
    assert SpeechEmbedder("tiny").transform([(np.ones(8000, np.float32) * 0.1, 16_000)]).shape == features[:1].shape


def test_a_clip_that_cannot_be_read_is_named(clips):
    with pytest.raises(AudioError, match=r"missing\.wav"):
        SpeechEmbedder("tiny").transform([clips[0][0], "missing.wav"])
