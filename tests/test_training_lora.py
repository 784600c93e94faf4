"""Low-rank adaptation: what changes, what stays, and that a model folder holds the adapted encoder."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import save_file
from test_encoders_hubert import model_of
from toys import toy_weights

import genser
import genser.encoders
from genser.audio.augment import Augmentation
from genser.bench.plan import load_plan
from genser.bench.runner import BenchSettings, run_bench
from genser.bench.runs import bench_result, entries
from genser.config import to_mapping
from genser.data.manifest import read_manifest
from genser.data.utterance import Utterance
from genser.encoders import EncoderConfig, Pooling, encode, load_encoder, named_encoder
from genser.encoders.hubert import CONFIG
from genser.errors import ConfigError, ModelError
from genser.export.onnx import export_onnx
from genser.model import EstimatorConfig, HeadConfig, make_head
from genser.model.folder import load_model, load_speech_model, save_model
from genser.training import clips as clips_module
from genser.training.data import build_dataset, sides
from genser.training.lora import GROUPS, LowRank, _identity, adaptable, adapted_encoder, episode_loss, groups_of
from genser.training.recipe import AdaptationConfig, OptimizerConfig, TrainConfig
from genser.training.run import TrainingSetup, run_training
from genser.transport import Objective

PITCHES = {"sad": 150, "merry": 450}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers, each twice low and twice high, with a wavering voice."""
    folder = tmp_path_factory.mktemp("adapted")
    generator = np.random.default_rng(0)
    rows = [["path", "label", "speaker"]]
    for speaker in range(6):
        for take in range(4):
            label = ("sad", "merry")[take % 2]
            time = np.arange(9600 + 800 * take) / 16000
            tone = np.sin(2 * np.pi * (PITCHES[label] + 8 * speaker) * time) * (1 + 0.5 * np.sin(20 * time))
            name = f"{speaker}_{take}.wav"
            soundfile.write(folder / name, 0.2 * (tone + 0.1 * generator.standard_normal(len(time))), 16000)
            rows.append([name, label, f"s{speaker}"])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def config(corpus):
    encoder = toy_weights(corpus / "toy.safetensors")
    adaptation = AdaptationConfig(rank=2, steps=12, lr=1e-2, fidelity=0.1, batch=16, batch_seconds=8.0)
    small = {"network": replace(TrainConfig().network, width=16, depth=1, heads=2), "steps": 20, "batch_size": 16}
    return TrainConfig(
        encoder, adaptation, validation=0.3, optimizer=OptimizerConfig(ema=0.9), objective=Objective(), **small
    )


@pytest.fixture(scope="module")
def frozen(corpus, config):
    encoder = load_encoder(config.encoder)
    return encoder, build_dataset(read_manifest(corpus / "manifest.csv"), encoder, str(corpus / "store"))


@pytest.fixture(scope="module")
def adapted(corpus, config, frozen):
    return adapted_encoder(*frozen, sides(frozen[1].utterances, config)[0], config, corpus / "kept")


def test_a_low_rank_term_starts_as_nothing_and_has_its_rank():
    matrix = torch.randn(8, 6)
    term = LowRank(matrix, 2)
    assert torch.equal(term(matrix), matrix)
    torch.nn.init.normal_(term.up)
    assert torch.linalg.matrix_rank(term(matrix) - matrix) == 2


def test_matrices_of_the_layers_change_by_low_rank_and_nothing_else_does(frozen, adapted, config):
    before, after = frozen[0].state_dict(), adapted.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=2e-3)}
    assert changed
    assert all("layers." in name and name.endswith(".weight") and before[name].ndim == 2 for name in changed)
    for name in changed:
        values = torch.linalg.svdvals(after[name] - before[name])
        assert values[config.adaptation.rank :].max() < 0.05 * values[0]  # what is left is rounding to float16


@pytest.mark.parametrize(("states", "layers"), [((), {"0", "1"}), ((1,), {"0"}), ((2, 1), {"0", "1"})])
def test_layers_above_the_highest_chosen_state_are_not_adapted(corpus, config, states, layers, tmp_path):
    pooled = replace(config.encoder, pooling=Pooling(("mean", "std"), states))
    encoder = load_encoder(pooled)
    dataset = build_dataset(read_manifest(corpus / "manifest.csv"), encoder, str(tmp_path))
    adapted = adapted_encoder(
        encoder, dataset, np.arange(len(dataset.labels)), replace(config, encoder=pooled), tmp_path
    )
    before, after = encoder.state_dict(), adapted.state_dict()
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=2e-3)}
    assert {name.partition("layers.")[2][0] for name in changed} == layers


def test_an_encoder_whose_states_lie_below_its_layers_is_refused(config):
    with pytest.raises(ConfigError, match="no layers to adapt"):
        adaptable(load_encoder(replace(config.encoder, pooling=Pooling(states=(0,)))))


def test_the_frozen_encoder_stays_and_the_copy_has_a_name_of_its_own(config, frozen, adapted):
    assert adapted.fingerprint != frozen[0].fingerprint
    assert frozen[0].fingerprint == load_encoder(config.encoder).fingerprint
    assert not any(parameter.requires_grad for parameter in adapted.parameters())


def test_an_episode_asks_about_each_group_what_the_others_know():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 6, generator=generator).double()
    labels, groups = torch.arange(30) % 3, torch.arange(30) // 10
    shares, penalty = torch.nn.functional.one_hot(labels, 3).double(), 0.7
    expected = []
    for group in range(3):
        asked, known = features[groups == group], features[groups != group]
        mean, share = known.mean(0), shares[groups != group].mean(0)
        centred = known - mean
        gram = centred.T @ centred + penalty * len(known) * torch.eye(6)
        weight = torch.linalg.solve(gram, centred.T @ (shares[groups != group] - share))
        for shifted in (asked, asked + mean - asked.mean(0)):
            logits = 4.0 * ((shifted - mean) @ weight + share)
            expected.append(torch.nn.functional.cross_entropy(logits, labels[groups == group]))
    found = episode_loss(features, shares, groups, penalty, torch.tensor(4.0))
    assert found.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-6)


def test_groups_are_corpora_or_else_speakers_or_else_recordings():
    def item(path, corpus=None, speaker=None):
        return Utterance(path, "a", speaker=speaker, corpus=corpus)

    assert groups_of([item("1", "x"), item("2", "y", "s"), item("3", "x", "s")]).tolist() == [0, 1, 0]
    speakers = groups_of([item(str(index), "x", f"s{index // 2}") for index in range(12)])
    assert speakers[::2].tolist() == speakers[1::2].tolist()
    assert len(set(speakers.tolist())) == GROUPS
    assert len(set(groups_of([item(str(index)) for index in range(4)]).tolist())) == GROUPS
    assert len(set(groups_of([item(str(index), "x", "s") for index in range(8)]).tolist())) == GROUPS


def test_rows_of_one_group_have_nothing_to_be_asked_about():
    features = torch.ones(3, 2, requires_grad=True)
    loss = episode_loss(features, torch.eye(3), torch.zeros(3, dtype=torch.int64), 1.0, torch.tensor(1.0))
    assert loss.item() == 0


def test_classes_lie_further_apart_than_before(corpus, config, frozen, adapted):
    """Speakers that were adapted to: between-class against within-class spread of the pooled states."""
    indices = sides(frozen[1].utterances, config)[0]
    dataset = build_dataset(read_manifest(corpus / "manifest.csv"), adapted, str(corpus / "store"))

    def ratio(features):
        rows, labels = features[indices].reshape(len(indices), -1), frozen[1].labels[indices]
        means = [rows[labels == label].mean(0) for label in (0, 1)]
        within = np.mean([rows[labels == label].var(0).sum() for label in (0, 1)])
        return np.square(means[0] - means[1]).sum() / within

    assert ratio(dataset.features) > ratio(frozen[1].features)


def test_the_same_rows_give_the_same_weights_and_are_taken_from_the_folder(corpus, config, frozen, adapted, tmp_path):
    indices = sides(frozen[1].utterances, config)[0]
    again = adapted_encoder(*frozen, indices, config, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), adapted.parameters(), strict=True))
    steps = []
    adapted_encoder(*frozen, indices, config, corpus / "kept", lambda done, total: steps.append(done))
    assert steps == []
    other = adapted_encoder(*frozen, indices[:-1], config, corpus / "kept", lambda done, total: steps.append(done))
    assert steps == list(range(1, config.adaptation.steps + 1))
    assert other.fingerprint != adapted.fingerprint


def test_other_groups_or_weights_are_another_adaptation(config, frozen):
    """As after a column of the manifest was filled; the features stay the same."""
    encoder, dataset = frozen
    every = np.arange(len(dataset.labels))
    corpora = tuple(replace(item, corpus="ab"[n % 2]) for n, item in enumerate(dataset.utterances))
    found = {
        _identity(encoder, one, every, replace(config, balance=balance))
        for one in (dataset, replace(dataset, utterances=corpora))
        for balance in ("none", "corpus")
    }
    assert len(found) == 4
    speakers = tuple(replace(item, corpus="a", speaker="s") for item in dataset.utterances)
    assert _identity(encoder, replace(dataset, utterances=speakers), every, config) not in found


def test_only_the_training_side_is_adapted_to(corpus, config, adapted):
    setup = TrainingSetup.open(read_manifest(corpus / "manifest.csv"), config, corpus / "store", corpus / "kept")
    encoder, _ = setup.features(sides(setup.dataset.utterances, config)[0])
    assert encoder.fingerprint == adapted.fingerprint  # taken from the folder: the same rows, the training side's


def test_augmented_copies_of_an_adapted_encoder_can_be_omitted(corpus, config):
    """The clips take their place, as in the trainings of a calibration."""
    config = replace(config, augmented_copies=1, augmentation=Augmentation(noise_chance=1.0, crop_chance=0.0))
    setup = TrainingSetup.open(read_manifest(corpus / "manifest.csv"), config, corpus / "store", corpus / "kept")
    training = sides(setup.dataset.utterances, config)[0]
    _, without = setup.features(training, copies=False)
    np.testing.assert_array_equal(without.augmented[:, 0], without.features)
    _, dataset = setup.features(training)
    assert np.abs(dataset.augmented[training, 0] - dataset.features[training]).max(axis=(1, 2)).min() > 1e-3


def test_a_trained_model_carries_its_encoder(corpus, config, tmp_path):
    stages = []
    run_training(
        corpus / "manifest.csv",
        config,
        tmp_path / "model",
        tmp_path / "store",
        progress=lambda stage, *_: stages.append(stage),
    )
    assert list(dict.fromkeys(stages)) == ["features", "adaptation", "steps"]
    model = load_model(tmp_path / "model")
    (corpus / "toy.safetensors").rename(corpus / "gone.safetensors")
    try:
        speech = load_speech_model(model)
    finally:
        (corpus / "gone.safetensors").rename(corpus / "toy.safetensors")
    assert speech.encoder.fingerprint == model.fingerprint


HUBERTS = [("hubert", "group", False), ("wavlm", "layer", True), ("wav2vec2", "layer", False)]
HUBERTS += [("wav2vec2", "group", False), ("wavlm", "group", False)]  # the base models
EXPORTED = [("wav2vec2", "group", False), ("wavlm", "group", False)]
"""Tracing takes seconds, so the forms are exported that differ most."""
HUBERTS += [("hubert-batch-norm", "group", False), ("data2vec-audio", "layer", False)]


@pytest.mark.parametrize("case", HUBERTS, ids=str)
def test_huberts_family_is_adapted_kept_in_the_model_folder_and_exported(corpus, config, case, tmp_path):
    model_of(case).save_pretrained(tmp_path / "published")
    published = EncoderConfig("hubert", str(tmp_path / "published"))
    encoder = load_encoder(published)
    dataset = build_dataset(read_manifest(corpus / "manifest.csv")[:8], encoder, str(tmp_path / "store"))
    short = replace(config.adaptation, steps=2, batch=6, strength=1.0)
    recipe = replace(config, encoder=published, adaptation=short)
    adapted = adapted_encoder(encoder, dataset, np.arange(8), recipe, tmp_path / "kept")
    before, after = encoder.state_dict(), adapted.state_dict()
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=2e-3)}
    assert {name.split("layers.")[1][0] for name in changed} == {"0", "1"}
    assert all(name.startswith("model.encoder.layers.") and before[name].ndim == 2 for name in changed)

    head = make_head(HeadConfig(dataset.classes, EstimatorConfig(32, 2, depth=1, heads=2))).eval()
    for parameter in head.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    save_model(tmp_path / "model", head, published, adapted.fingerprint, embed=adapted)
    shutil.rmtree(tmp_path / "published")
    model = load_model(tmp_path / "model")
    clips = [np.sin(np.arange(length) / 9).astype(np.float32) for length in (4000, 7000)]
    kept = load_encoder(model.encoder)
    assert kept.fingerprint == model.fingerprint
    np.testing.assert_array_equal(encode(kept, clips), encode(adapted, clips))
    assert str(tmp_path) not in (tmp_path / "model/encoder.safetensors").read_bytes().decode("latin-1")
    assert named_encoder(str(tmp_path / "model/encoder.safetensors")).kind == "hubert"

    if case not in EXPORTED:
        return
    assert export_onnx(tmp_path / "model", tmp_path / "model.onnx").parity.difference < 1e-4
    graph, folder = genser.load(tmp_path / "model.onnx"), genser.load(tmp_path / "model")
    np.testing.assert_allclose(graph.scores(clips), folder.scores(clips), atol=1e-4)
    np.testing.assert_allclose(graph.embed([(clips[0], 16_000)])[0], encode(adapted, clips)[0], atol=1e-3)
    frames = [one.embed_frames((clips[1], 16_000)) for one in (graph, folder)]
    assert frames[0].states.shape == (21, 3, 32), "a frame needs 25 ms, so the last one is missing"
    np.testing.assert_allclose(frames[0].states, frames[1].states, atol=1e-3)
    np.testing.assert_allclose(frames[0].times, np.arange(21) / 50)


def test_a_file_that_is_no_encoder_of_a_model_folder_is_refused(tmp_path):
    tensors = {f"model.{name}": tensor for name, tensor in model_of(HUBERTS[0]).state_dict().items()}
    foreign = {"model_type": "hubert", "auto_map": {"AutoModel": "code.Model"}}
    for metadata in (
        None,
        {CONFIG: json.dumps(foreign)},
        {CONFIG: "{}"},
        {CONFIG: '{"model_type": "bert"}'},
        {CONFIG: "["},
    ):
        save_file(tensors, tmp_path / "encoder.safetensors", metadata)
        with pytest.raises(ModelError, match="is not the encoder of a model folder"):
            load_encoder(EncoderConfig("hubert", str(tmp_path / "encoder.safetensors")))


def test_what_cannot_be_adapted_is_refused(corpus, config, frozen, tmp_path):
    with pytest.raises(ConfigError, match="rank is 0"):
        adapted_encoder(*frozen, np.arange(4), replace(config, adaptation=AdaptationConfig()), tmp_path)
    with pytest.raises(ConfigError, match="an adapted encoder of kind 'fbank'"):
        TrainConfig(EncoderConfig("fbank"), adaptation=AdaptationConfig(rank=4))
    with pytest.raises(ConfigError, match="rank"):
        AdaptationConfig(rank=-1)


def test_a_bench_adapts_to_the_training_side_of_every_fold(corpus, config, tmp_path):
    recipe = {"encoder": to_mapping(config.encoder), "adaptation": to_mapping(config.adaptation), "steps": 5}
    recipe |= {"network": {"width": 16, "depth": 1, "heads": 2}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    plan = {"recipe": str(tmp_path / "recipe.yaml"), "seeds": 1, "steps": [0, 1], "heads": {"transport": {}}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    settings = BenchSettings("kfold-speaker", (corpus / "manifest.csv",), tmp_path / "bench", tmp_path / "store", k=2)
    run_bench(settings, [load_plan(str(tmp_path / "plan.yaml"))])
    assert len(list((tmp_path / "bench/encoders").glob("adapted-*.safetensors"))) == 2
    (entry,) = entries(tmp_path / "bench")
    assert entry.encoder == "toy, adapted"
    result = bench_result(tmp_path / "bench")
    assert sorted({run.spec.fold for run in result.runs}) == [f"kfold-speaker {number}/2" for number in (1, 2)]
    assert len({run.spec.settings["features"] for run in result.runs}) == 2
    assert any("adapted to its whole training side" in note for note in result.notes)


def test_a_bench_that_is_resumed_encodes_for_unfinished_runs_only(corpus, config, tmp_path, monkeypatch):
    recipe = {"encoder": to_mapping(config.encoder), "adaptation": to_mapping(config.adaptation), "steps": 5}
    recipe |= {"network": {"width": 16, "depth": 1, "heads": 2}, "augmented_copies": 1}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    heads = {"linear": {"grid": {"optimizer.lr": [1e-2, 1e-3]}}}
    (tmp_path / "plan.yaml").write_text(
        yaml.safe_dump({"recipe": str(tmp_path / "recipe.yaml"), "seeds": 1, "heads": heads})
    )
    settings = BenchSettings("kfold-speaker", (corpus / "manifest.csv",), tmp_path / "bench", tmp_path / "store", k=2)
    encoded = []
    for module in (genser.encoders, clips_module):

        def counting(encoder, clips, original=module.encode, **options):
            encoded.append(len(clips))
            return original(encoder, clips, **options)

        monkeypatch.setitem(vars(module), "encode", counting)

    def run():
        encoded.clear()
        run_bench(settings, [load_plan(str(tmp_path / "plan.yaml"))])
        return sum(encoded)

    assert run() == 24 + 2 * (24 + 12)
    before = {path.name: path.read_bytes() for path in (tmp_path / "bench/runs").iterdir()}
    assert run() == 0
    next((tmp_path / "bench/runs").iterdir()).unlink()
    assert run() == 24 + 12
    assert {path.name for path in (tmp_path / "bench/runs").iterdir()} == before.keys()
    candidate = next((tmp_path / "bench/candidates").iterdir())
    candidate.unlink()
    assert run() == 24 + 12
    assert candidate.exists()
