"""A complete run: what a manifest becomes, with and without speakers, and what the model gets."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from genser.data.utterance import Utterance
from genser.encoders import EncoderConfig, encode
from genser.errors import ConfigError
from genser.model.estimator import NetworkConfig
from genser.model.folder import load_model, load_speech_model
from genser.training.card import model_card
from genser.training.data import Dataset, calibration_folds, corpus_folds, sides
from genser.training.gender import gender_rows
from genser.training.recipe import CalibrationConfig, OptimizerConfig, TrainConfig, load_recipe
from genser.training.run import TrainingSetup, _info, run_training

CONFIG = TrainConfig(
    EncoderConfig("fbank"),
    network=NetworkConfig(width=16, depth=1, heads=2),
    optimizer=OptimizerConfig(lr=5e-3, ema=0.9),
    batch_size=16,
    steps=20,
    validation=0.3,
    license="CC0",
)


GENDERS = ("f", "female", "m", "male", "", "f")
"""Of the speakers; one is unknown."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers of two corpora with low and high voices; one row has no class."""
    folder, generator = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    rows = [["path", "label", "speaker", "corpus", "gender"]]
    for number in range(91):
        speaker, label = number % 6, ("sad", "merry")[number // 6 % 2]
        time = np.arange(8000) / 16000
        tone = np.sin(2 * np.pi * ((150, 450)[label == "merry"] + 8 * speaker) * time) * (1 + 0.5 * np.sin(20 * time))
        soundfile.write(folder / f"{number}.wav", 0.3 * tone + 0.05 * generator.standard_normal(8000), 16000)
        rows.append([f"{number}.wav", label if number < 90 else "", f"s{speaker}", "ab"[speaker % 2], GENDERS[speaker]])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def fitted():
    """Paths of the clips that each head learned from."""
    return []


@pytest.fixture(scope="module")
def trained(corpus, fitted):
    config = replace(CONFIG, calibration=CalibrationConfig(2, across_corpora=True), speech_gate=True, gender=True)
    sentences, fit = [], TrainingSetup.fit

    def noted(setup, dataset, training, *arguments, **options):
        fitted.append({dataset.utterances[index].path for index in training})
        return fit(setup, dataset, training, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingSetup, "fit", noted)
        run = run_training(corpus / "manifest.csv", config, corpus / "model", corpus / "store", report=sentences.append)
    return run, sentences


def test_no_head_learns_from_speakers_outside_the_training_side(trained, fitted):
    run, _ = trained
    training = {run.dataset.utterances[index].path for index in sides(run.dataset.utterances, CONFIG)[0]}
    assert len(fitted) == 10  # emotion and gender: the model, two groups of speakers and two corpora
    assert all(paths <= training for paths in fitted)


def test_every_training_row_is_predicted_without_its_speaker_and_without_its_corpus(trained):
    run, _ = trained
    training = sides(run.dataset.utterances, CONFIG)[0]
    assert sorted(run.inside.rows) == sorted(training)
    assert sorted(run.outside.rows) == list(range(len(run.dataset.utterances)))
    assert (run.outside.corpora == run.dataset.corpora[run.outside.rows]).all()


def test_the_model_has_gate_and_in_domain_score_and_both_exponents(trained):
    run, _ = trained
    model = load_model(run.folder)
    assert model.license == "CC0"
    assert model.head.config.in_domain_components
    assert model.head.config.exponent == run.calibration.exponent
    assert model.head.config.out_of_domain_exponent == run.calibration.out_of_domain_exponent
    speech = load_speech_model(model)
    clips = [np.zeros(32000, np.float32), soundfile.read(run.folder.parent / "0.wav", dtype="float32")[0]]
    silent, spoken = model.gate(torch.from_numpy(encode(speech.encoder, clips)))
    assert silent < model.gate.threshold < spoken


def test_the_model_records_digests_of_its_speakers_instead_of_their_names(trained):
    run, _ = trained
    recorded = load_model(run.folder).info["training_speakers"]
    assert recorded == sorted({item.speaker_digest for item in run.dataset.utterances})
    assert len(recorded) == 6


def test_the_gender_is_learned_from_the_rows_that_have_one(trained):
    run, _ = trained
    labelled, rows = gender_rows(run.dataset, sides(run.dataset.utterances, CONFIG)[0])
    assert labelled.classes == ("female", "male")
    assert [item.label for item in labelled.utterances] == [
        item.gender for item in run.dataset.utterances if item.gender
    ]
    assert {item.speaker for item in labelled.utterances} == {"s0", "s1", "s2", "s3", "s5"}
    assert run.gender.head.config.labels == ("female", "male")
    assert sorted(run.gender.inside.rows) == list(rows)
    assert set(run.gender.outside.corpora) == {"a", "b"}


def test_the_gender_is_saved_calibrated_and_in_the_card(trained):
    run, _ = trained
    model = load_model(run.folder)
    assert model.description["genders"] == ["female", "male"]
    assert model.gender.config.exponent == run.gender.head.config.exponent != 1.0
    assert model.info["gender_ua"].keys() == {"speakers held out", "a", "b"}
    assert "gender: a, trained without |" in (run.folder / "card.md").read_text("utf-8")


def test_a_manifest_without_genders_has_no_head_for_them(corpus, tmp_path):
    lines = [line.split(",") for line in (corpus / "manifest.csv").read_text().splitlines()]
    (corpus / "unknown.csv").write_text("".join(",".join(line[:4]) + "\n" for line in lines))
    sentences = []
    run = run_training(
        corpus / "unknown.csv",
        replace(CONFIG, steps=5, gender=True),
        tmp_path,
        corpus / "store",
        report=sentences.append,
    )
    assert run.gender is None
    assert load_model(tmp_path).description["genders"] is None
    assert any("column 'gender'" in sentence for sentence in sentences)


def test_the_gender_cannot_be_task_and_second_answer():
    with pytest.raises(ConfigError, match="Use gender: false"):
        replace(CONFIG, task="gender", gender=True)


def test_a_finished_run_is_reported(trained, corpus):
    _, sentences = trained
    assert not any("was trained before" in sentence for sentence in sentences)
    config, again = replace(CONFIG, speech_gate=False), []
    for _ in range(2):
        run_training(corpus / "manifest.csv", config, corpus / "twice", corpus / "store", report=again.append)
    assert sum("was trained before" in sentence for sentence in again) == 1


def test_rows_without_a_class_are_reported(trained):
    run, sentences = trained
    assert len(run.dataset.utterances) == 90
    assert any("1 row has no class" in sentence for sentence in sentences)


def test_the_card_lists_data_licence_and_scores(trained):
    run, _ = trained
    card = (run.folder / "card.md").read_text("utf-8")
    for words in (
        "CC0",
        "| a | 30 | 2 | merry ",
        "a, trained without it",
        "speech gate",
        "validation side, which also chose the weights: optimistic |",
    ):
        assert words in card


def test_scores_over_few_clips_are_marked(trained):
    run, _ = trained
    training, validation = sides(run.dataset.utterances, CONFIG)
    assert "few clips" not in (run.folder / "card.md").read_text("utf-8").lower()
    info = _info(run, CONFIG, training, validation[:29])
    assert info["few_clips"] == ["validation"]
    card = model_card("m", CONFIG, run.dataset, training, info, True, True)
    (marked,) = re.findall(r"\| (.*) \(few clips\) \|", card)
    assert marked.startswith("validation side")
    assert "Few clips: fewer than 30, or fewer than 10 of a class." in card


def test_with_one_corpus_there_is_one_exponent_and_a_sentence(corpus, tmp_path):
    text = (corpus / "manifest.csv").read_text().replace(",b,", ",a,")
    (corpus / "one.csv").write_text(text)
    config, sentences = replace(CONFIG, steps=5, calibration=CalibrationConfig(0, across_corpora=True)), []
    run = run_training(corpus / "one.csv", config, tmp_path, corpus / "store", report=sentences.append)
    assert any("one corpus" in sentence for sentence in sentences)
    assert run.calibration is None
    head = load_model(tmp_path).head
    assert head.config.in_domain_components == 0


def dataset(speakers, split=None):
    items = tuple(
        Utterance(f"{n}.wav", label="ab"[n % 2], speaker=speaker, corpus="c", split=split)
        for n, speaker in enumerate(speakers)
    )
    return Dataset(items, np.zeros((len(items), 1, 4), np.float32), ("a", "b"), (), 0)


def test_without_speakers_recordings_are_divided_and_a_sentence_warns():
    sentences = []
    training, validation = sides(dataset([None] * 40).utterances, replace(CONFIG, validation=0.25), sentences.append)
    assert sorted([*training, *validation]) == list(range(40))
    assert [sum(index % 2 == label for index in validation) for label in (0, 1)] == [5, 5]
    assert "optimistic" in sentences[0]
    again = sides(dataset([None] * 40).utterances, replace(CONFIG, validation=0.25))
    assert (again[1] == validation).all()


def test_all_parts_of_a_recording_without_speaker_are_on_one_side():
    items = tuple(
        Utterance(f"{n // 4}.wav", label="a" if n < 40 else "b", start=float(n % 4), end=n % 4 + 1.0) for n in range(80)
    )
    training, validation = sides(items, CONFIG)
    assert len(validation)
    assert not {items[i].path for i in training} & {items[i].path for i in validation}


@pytest.mark.parametrize("share", [0.15, 0.9])
def test_of_few_recordings_each_class_keeps_one_to_learn_from(share):
    sentences = []
    training, validation = sides(dataset([None] * 4).utterances, replace(CONFIG, validation=share), sentences.append)
    assert {index % 2 for index in training} == {0, 1}
    assert ("There is no validation side" in sentences[0]) == (not len(validation))


def test_speakers_on_both_sides_of_the_manifest_are_reported():
    items = [
        Utterance(f"{n}.wav", label="ab"[n % 2], speaker=f"s{n // 2}", split="train" if n < 5 else "validation")
        for n in range(8)
    ]
    sentences = []
    sides(items, CONFIG, sentences.append)
    assert "1 speaker is on the training and the validation side" in sentences[0]
    sides(dataset([f"s{n // 2}" for n in range(8)]).utterances, replace(CONFIG, validation=0.0), sentences.append)
    assert len(sentences) == 1


def test_known_speakers_are_divided_as_a_whole_without_a_warning():
    sentences = []
    data = dataset([f"s{n // 4}" for n in range(40)])
    training, validation = sides(data.utterances, CONFIG, sentences.append)
    assert not sentences
    assert not {data.utterances[i].speaker for i in training} & {data.utterances[i].speaker for i in validation}


def test_there_are_no_more_folds_than_speakers():
    data, every = dataset([f"s{n % 3}" for n in range(12)]), np.arange(12)
    parts = calibration_folds(data.utterances, every, 5)
    assert len(parts) == 3
    assert sorted(index for _, test in parts for index in test) == list(range(12))
    assert calibration_folds(dataset(["one"] * 12).utterances, every, 5) == []
    assert len(calibration_folds(dataset([None] * 12).utterances, every, 4)) == 4


def test_calibration_predicts_no_recording_of_which_it_learned_a_part():
    items = tuple(Utterance(f"{n % 5}.wav", label="ab"[n % 2], start=float(n), end=n + 1.0) for n in range(40))
    found = calibration_folds(items, np.arange(2, 40), 3)
    assert sorted(index for _, test in found for index in test) == list(range(2, 40))
    for training, test in found:
        assert not {items[index].path for index in training} & {items[index].path for index in test}


def test_no_corpus_is_held_out_from_one_class_alone():
    corpora, labels = "aaaabbbbcccc", "xxxxxyxyxyxz"
    items = tuple(Utterance(f"{n}.wav", label=labels[n], corpus=corpora[n]) for n in range(12))
    found = corpus_folds(items, np.arange(11))  # the row of class z is no training row
    assert [(training.tolist(), test.tolist()) for training, test in found] == [
        ([4, 5, 6, 7, 8, 9, 10], [0, 1, 2, 3]),
        ([0, 1, 2, 3, 8, 9, 10], [4, 5, 6, 7]),
        ([0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10]),
    ]
    assert [test.tolist() for _, test in corpus_folds(items[:8], np.arange(8))] == [[0, 1, 2, 3]]


def test_a_recording_without_speech_that_cannot_be_read_is_a_problem(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("genser.training.speech_gate.SOUNDS_EACH", 1)
    (corpus / "broken.wav").write_bytes(b"no sound")
    (corpus / "silent.csv").write_text((corpus / "manifest.csv").read_text() + "broken.wav,No_Speech,s1,a,\n")
    config = replace(CONFIG, steps=5, speech_gate=True)
    run = run_training(corpus / "silent.csv", config, tmp_path, corpus / "store")
    assert [problem.key for problem in run.dataset.problems] == [str(corpus / "broken.wav")]
    assert load_speech_model(load_model(tmp_path)).gate is not None


@pytest.mark.parametrize(("recipe", "resets"), [("small", True), ("bundled", True), ("paper", False)])
def test_an_encoder_of_another_kind_resets_what_it_cannot_have(recipe, resets):
    sentences = []
    config = load_recipe(recipe, {"labels": "none"}, EncoderConfig("fbank"), sentences.append)
    assert config.encoder == EncoderConfig("fbank")
    assert config.adaptation.rank == 0
    assert config.head_config(("a", "b"), 1, 160).labels == ("a", "b")
    assert bool(sentences) == resets


def test_an_encoder_of_the_same_kind_keeps_the_pooling_and_overrides_win():
    config = load_recipe("small", {}, EncoderConfig("whisper", "mine.safetensors"))
    assert config.encoder.source == "mine.safetensors"
    assert config.encoder.pooling == load_recipe("small").encoder.pooling
    changed = load_recipe("small", {"feature_transform.components": "32"}, EncoderConfig("fbank"))
    assert changed.feature_transform.components == 32
