"""Models on the hub: the real client of huggingface_hub against a hub on this machine."""

import json
import pickle
import shutil

import huggingface_hub
import numpy as np
import onnx
import pytest
from hub_server import hub_server, use_hub
from huggingface_hub import ModelCard
from toys import LABELS, toy_folder

import genser
from genser import cli
from genser.cli.export import export
from genser.errors import MissingExtraError, ModelError
from genser.inference.hub_card import hub_card, measured
from genser.inference.hub_model import FOLDER_FILES
from genser.inference.load import find_model
from genser.model import folder as model_folder

SOUND = (0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32), 16_000)


@pytest.fixture(scope="module")
def server():
    with hub_server() as found:
        yield found


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The hub, with an empty cache."""
    use_hub(monkeypatch, server[1], tmp_path / "cache")
    server[0].commits.clear()
    server[0].requests.clear()
    return server[0]


def test_a_model_comes_back_from_the_hub_with_its_commit(hub, toys):
    ours = genser.load(toys.float32)
    pinned = ours.push_to_hub("ann/toy")
    assert pinned == f"hf:ann/toy@{hub.at('ann/toy', 'main')[0]}"
    theirs = genser.load("hf:ann/toy")
    assert (ours.pinned, theirs.pinned) == (None, pinned)
    assert theirs.predict(SOUND).scores == ours.predict(SOUND).scores
    assert pickle.loads(pickle.dumps(theirs)).pinned == theirs.for_task("emotion").pinned == pinned
    assert set(hub.at("ann/toy", "main")[1]) == {"model.onnx", "README.md"}


def test_a_revision_pins_the_model(hub, toys):
    first = genser.load(toys.float32).push_to_hub("ann/toy")
    second = genser.load(toys.int8).push_to_hub("ann/toy")
    assert first != second
    assert find_model(first).read_bytes() == toys.float32.read_bytes()
    assert find_model("hf:ann/toy").read_bytes() == toys.int8.read_bytes()
    revision = first.partition("@")[2]
    assert genser.Recognizer.from_pretrained("ann/toy", revision=revision).pinned == first


def test_offline_only_the_cache_is_read(hub, toys, monkeypatch):
    pinned = genser.load(toys.float32).push_to_hub("ann/toy")
    with pytest.raises(ModelError, match="LocalEntryNotFoundError"):
        genser.Recognizer.from_pretrained("ann/toy", local_files_only=True)
    find_model("hf:ann/toy")
    hub.requests.clear()
    assert genser.Recognizer.from_pretrained("ann/toy", local_files_only=True).pinned == pinned
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert genser.load("hf:ann/toy").pinned == pinned
    assert hub.requests == []


def test_a_damaged_download_is_refused(hub, toys):
    genser.load(toys.float32).push_to_hub("ann/toy")
    content = bytearray(toys.float32.read_bytes())
    content[len(content) // 2] ^= 1
    hub.commit("ann/toy", {"model.onnx": bytes(content)})
    with pytest.raises(ModelError, match="checksum differs"):
        genser.load("hf:ann/toy")


def test_a_model_folder_on_the_hub_is_exported(hub, toys, tmp_path, capsys, monkeypatch):
    traced = onnx.load(toys.float32)  # the same weights: tracing takes most of an export
    monkeypatch.setattr("genser.export.onnx._exported", lambda _model: traced)
    whole = embedded(toys.folder, tmp_path)
    pinned = genser.load(whole).push_to_hub("ann/whole")
    assert export(pinned, output=tmp_path / "whole.onnx") == 0
    assert "Exporting hf:ann/whole@" in capsys.readouterr().err
    exported = genser.load(tmp_path / "whole.onnx")
    assert exported.predict(SOUND).scores == pytest.approx(genser.load(pinned).predict(SOUND).scores, abs=1e-4)
    assert exported.metadata["card"].startswith("# Whole")
    genser.load(toys.float32).push_to_hub("ann/toy")
    with pytest.raises(ModelError, match="hf:ann/toy is an ONNX file already"):
        export("hf:ann/toy", output=tmp_path / "again.onnx")
    with pytest.raises(ModelError, match="RepositoryNotFoundError"):
        export("hf:ann/none", output=tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:ann/none", "RepositoryNotFoundError"),
        ("hf:ann", "not a model on the hub"),
        ("hf:ann/toy@", "not a model on the hub"),
        ("hf:ann/toy@v9", "Check the name"),
        ("hf:ann/other", "has no model of genser"),
        ("hf:ann/two", "has no model of genser"),
    ],
)
def test_what_is_no_model_is_refused(hub, name, message):
    hub.commit("ann/toy", {"model.onnx": b"x"})
    hub.commit("ann/other", {"model.safetensors": b"x", "README.md": b"x"})
    hub.commit("ann/two", {"a.onnx": b"x", "b.onnx": b"x"})
    with pytest.raises(ModelError, match=message):
        genser.load(name)
    assert not any(path.endswith("model.safetensors") for _, path in hub.requests)


def test_without_the_extra_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"genser\[hub\]"):
        genser.load("hf:ann/toy")


def embedded(folder, tmp_path):
    """A model folder that contains its encoder."""
    model = model_folder.load_model(folder)
    encoder = model_folder.load_speech_model(model).encoder
    given = model.head, model.encoder, model.fingerprint, model.info
    model_folder.save_model(tmp_path / "whole", *given, license="MIT", gate=model.gate, embed=encoder)
    (tmp_path / "whole" / "card.md").write_text("# Whole\n\n| held out | UA % |\n| --- | --- |\n| anna | 61.5 |\n")
    return tmp_path / "whole"


def test_a_model_folder_is_a_repository_too(hub, toys, tmp_path):
    whole = embedded(toys.folder, tmp_path)
    ours = genser.load(whole)
    pinned = ours.push_to_hub("ann/whole")
    theirs = genser.Recognizer.from_pretrained("ann/whole")
    assert theirs.pinned == pinned
    assert theirs.metadata["encoder"] == ours.metadata["encoder"]
    assert theirs.predict(SOUND).scores == pytest.approx(ours.predict(SOUND).scores)
    card = ModelCard(hub.at("ann/whole", "main")[1]["README.md"].decode())
    assert [result.metric_value for result in card.data.eval_results] == [61.5]
    shutil.rmtree(whole)
    assert pickle.loads(pickle.dumps(theirs)).pinned == pinned


def test_a_folder_whose_encoder_lies_elsewhere_is_not_uploaded(hub, toys):
    with pytest.raises(ModelError, match="Export the model"):
        genser.load(toys.folder).push_to_hub("ann/toy")
    assert hub.requests == []


def test_the_files_of_a_folder_are_all_copied():
    names = {model_folder.HEAD, model_folder.GATE, model_folder.GENDER, model_folder.ENCODER, model_folder.CARD}
    assert set(FOLDER_FILES) == names | {model_folder.CONFIG}


def test_a_saved_model_loads_by_its_folder(tmp_path, toys):
    genser.load(toys.int8).save_pretrained(tmp_path / "saved")
    assert genser.load(tmp_path / "saved").labels == LABELS
    assert genser.Recognizer.from_pretrained(tmp_path / "saved").labels == LABELS
    again = toy_folder(tmp_path / "both")
    shutil.copy(toys.int8, again / "exported.onnx")
    assert find_model(again) == again


def test_a_used_folder_or_repository_holds_the_new_model_only(hub, tmp_path, toys):
    folder, whole = tmp_path / "saved", genser.load(embedded(toys.folder, tmp_path))
    for ours in (whole, genser.load(toys.int8), whole):
        ours.save_pretrained(folder)
        ours.push_to_hub("ann/used")
        for theirs in (genser.load(folder), genser.load("hf:ann/used")):
            assert theirs.metadata == ours.metadata
        assert set(hub.at("ann/used", "main")[1]) == {one.name for one in folder.iterdir()}
    genser.load(folder).save_pretrained(folder)  # its own
    assert genser.load(folder).metadata == whole.metadata
    (tmp_path / "taken").mkdir()
    shutil.copy(toys.int8, tmp_path / "taken/other.onnx")
    with pytest.raises(ModelError, match=r"holds another model, other\.onnx"):
        genser.load(toys.int8).save_pretrained(tmp_path / "taken")


def test_the_verbs_take_a_model_of_the_hub(hub, toys, capsys):
    pinned = genser.load(toys.float32).push_to_hub("ann/toy")
    assert cli.app(["info", pinned, "--json"], exit_on_error=False) == 0
    shown = json.loads(capsys.readouterr().out)["model"]
    assert shown["labels"] == list(LABELS)
    assert pinned.partition("@")[2] in shown["file"]


def test_the_card_of_a_bundled_model_has_its_scores_with_intervals():
    metadata = genser.load("tiny").metadata
    card = ModelCard(hub_card(metadata))
    assert card.data.license == "cc-by-nc-sa-4.0"
    assert card.data.library_name == "genser"
    assert card.data.pipeline_tag == "audio-classification"
    assert set(card.data.language) == {"am", "de", "en", "hi", "it", "ko", "pl"}
    results = {(result.dataset_config, result.dataset_name): result for result in card.data.eval_results}
    assert len(results) == 17  # 7 corpora, two genders and all, held out; 7 corpora, left out
    table = next(line for line in metadata["card"].splitlines() if line.startswith("| ravdess (English) | 300 |"))
    result = results["Held-out speakers", "ravdess (English)"]
    low, high = result.metric_args["interval_95"]
    assert f"| {result.metric_value} [{low}, {high}] |" in table
    assert "interval_95" not in results["Held-out speakers", "emodb (German)"].metric_args
    assert card.text.strip() == metadata["card"].strip()


def test_measured_scores_are_those_of_the_tables_of_scores():
    text = (
        "## A\n\n| corpus | UA % |\n| --- | --- |\n| x | 50.0 [40.1, 60] |\n| y | – |\n\n| noise | UA % |\n| z | 1 |\n"
    )
    assert list(measured(text)) == [("A", "x", 50.0, [40.1, 60.0])]
    ragged = "| corpus | a | UA % |\n|---|---|---|\n| x |\n|\n||\n| y | 1 | 2.5 |\n| corpus |\n| z | 1 | 2 |"
    assert list(measured(ragged)) == [("", "y", 2.5, None)]


@pytest.mark.parametrize(
    ("terms", "shown"),
    [
        ("MIT", {"license": "mit"}),
        ("CC0", {"license": "cc0-1.0"}),
        ("CC BY 4.0 (see below)", {"license": "cc-by-4.0"}),
        ("Mitford's own terms\nof use", {"license": "other", "license_name": "Mitford's own terms"}),
        ("", {}),
    ],
)
def test_the_licence_has_the_name_of_the_hub(terms, shown):
    metadata = {**genser.load("tiny").metadata, "license": terms}
    data = ModelCard(hub_card(metadata)).data.to_dict()
    assert {name: value for name, value in data.items() if name.startswith("license")} == shown
