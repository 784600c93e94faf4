"""Tasks and label maps."""

import tomllib
from importlib import resources

import pytest

from genser.data.corpora import CORPORA, crema_d, esd, meld, nemo, ravdess, savee
from genser.data.labels import NO_SPEECH, TASKS, LabelMap, find_label_map, for_task, read_label_maps
from genser.data.utterance import Utterance
from genser.errors import ConfigError, ManifestError

READERS = [reader for reader in CORPORA.values() if hasattr(reader, "LABELS")]


def test_every_packaged_map_lists_every_label_of_every_corpus():
    labels = {label for reader in READERS for label in reader.LABELS.values()} | {"neutral", "boredom", "contempt"}
    for mapping in read_label_maps().values():
        for label in labels:
            assert mapping(label) in (*mapping.classes, None)
        assert {mapping(label) for label in labels} >= set(mapping.classes)


@pytest.mark.parametrize(
    ("name", "reader"),
    [("six", crema_d), ("seven", savee), ("meld7", meld), ("eight", ravdess), ("nemo6", nemo), ("esd5", esd)],
)
def test_maps_made_for_a_corpus_keep_its_labels(name, reader):
    mapping = find_label_map(name)
    assert {label: mapping(label) for label in reader.LABELS.values()} == {label: label for label in mapping.classes}


def test_a_label_is_kept_renamed_or_dropped():
    mapping = find_label_map("seven")
    assert (mapping("anger"), mapping("calm"), mapping("boredom")) == ("anger", "neutral", None)
    with pytest.raises(ManifestError, match=r"does not list 'angr'\. Did you mean 'anger'"):
        mapping("angr")


@pytest.mark.parametrize(
    ("label", "seven", "everything"),
    [
        ("Joy", "happiness", "happiness"),
        ("HAPPY", "happiness", "happiness"),
        ("pleasant_surprise", "surprise", "surprise"),
        ("excited", "happiness", "excitement"),
        ("calm", "neutral", "calm"),
        ("Neutrality", "neutral", "neutral"),
        ("rabbia", "anger", "anger"),
        ("Colère", "anger", "anger"),
        ("Tristezza", "sadness", "sadness"),
        ("Ekel", "disgust", "disgust"),
        ("화남", "anger", "anger"),
        ("bored", None, "boredom"),
        ("amusement", None, None),
        ("assertive", None, None),
    ],
)
def test_usual_names_of_emotions_are_known_to_every_map(label, seven, everything):
    assert find_label_map("seven")(label) == seven
    assert find_label_map("all")(label) == everything


def test_usual_names_stand_for_one_canonical_emotion_each():
    content = resources.files("genser.data").joinpath("label_names.toml").read_text("utf-8")
    names = tomllib.loads(content)
    words = [word for name, words in names.items() for word in (name, *words)]
    assert len(words) == len(set(words))
    assert words == [word.casefold() for word in words]
    all_emotions = find_label_map("all")
    assert set(names) == {*all_emotions.classes, *all_emotions.drop}


def test_a_map_of_your_own_comes_before_usual_names():
    mapping = LabelMap("mine", ("up", "joy"), {"happiness": "up"})
    assert (mapping("joy"), mapping("happy"), mapping("happiness")) == ("joy", "up", "up")
    with pytest.raises(ManifestError, match="does not list 'sad'"):
        mapping("sad")


def test_recordings_without_speech_are_no_class_of_any_task():
    silent = Utterance("/s", label=NO_SPEECH, gender="female")
    for task in TASKS:
        assert for_task([silent, ITEM], task)[1] == [silent]
    assert for_task([silent], "emotion", LabelMap("x", ("anger",)))[1] == [silent]


def test_a_file_adds_and_replaces_maps(tmp_path):
    path = tmp_path / "maps.toml"
    path.write_text('[seven]\nclasses = ["yes", "no"]\n[mine]\nclasses = ["up"]\nrename = { happiness = "up" }\n')
    maps = read_label_maps(path)
    assert maps["seven"].classes == ("yes", "no")
    assert find_label_map(f"{path}:mine")("happiness") == "up"
    assert maps["six"] == find_label_map("six")
    assert find_label_map("seven").classes != ("yes", "no")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[a]\nclases = ["x"]', "unknown key 'clases'. Did you mean 'classes'"),
        ("a = 1", "'a' is not a table"),
        ("[a", "is not valid TOML"),
        ("[a]", "has no classes"),
        ('[a]\nclasses = "x"', "must be a list of labels"),
        ('[a]\nclasses = ["x"]\ndrop = [1]', "drop of the map 'a' must be a list"),
        ('[a]\nclasses = ["x"]\nrename = ["y"]', "must be a table"),
        ('[a]\nclasses = ["x", "x"]', "'x' twice"),
        ('[a]\nclasses = ["x"]\ndrop = ["x"]', "lists 'x' twice"),
        ('[a]\nclasses = ["anger"]\nrename = { mad = "angr" }', "Did you mean 'anger'"),
    ],
)
def test_impossible_files(tmp_path, text, words):
    path = tmp_path / "maps.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_label_maps(path)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\xff")
    for name in ("none.toml", "bytes.toml", "."):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_label_maps(tmp_path / name)
    with pytest.raises(ConfigError, match="Did you mean 'seven'"):
        find_label_map("sevn")


ITEM = Utterance("/a", label="calm", gender="female", speaker="s", corpus="c")


def test_tasks():
    found = {task: for_task([ITEM], task)[0][0].label for task in TASKS}
    assert found == {"emotion": "calm", "gender": "female"}
    with pytest.raises(ConfigError, match="Did you mean 'gender'"):
        for_task([ITEM], "gendre")


def test_the_class_of_the_task_becomes_the_label():
    items = [ITEM, Utterance("/b", label="boredom"), Utterance("/c")]
    kept, omitted = for_task(items, "emotion", find_label_map("seven"))
    assert [(item.path, item.label) for item in kept] == [("/a", "neutral")]
    assert omitted == items[1:]
    kept, omitted = for_task(items, "gender")
    assert [(item.path, item.label) for item in kept] == [("/a", "female")]
    assert omitted == items[1:]


def test_a_map_made_in_code_is_checked():
    with pytest.raises(ConfigError):
        LabelMap("x", ("a",), {"b": "c"})


def test_labels_that_differ_only_in_case_are_refused_unless_a_map_joins_them():
    items = [Utterance(f"/{label}", label=label) for label in ("Anger", "anger", "fear")]
    with pytest.raises(ManifestError, match="'Anger' and 'anger' differ only in case"):
        for_task(items, "emotion")
    joined = LabelMap("x", ("anger", "fear"), {"Anger": "anger"})
    assert [item.label for item in for_task(items, "emotion", joined)[0]] == ["anger", "anger", "fear"]
