"""Protocols: names as those of published rows, marks for shared speakers, no leaks, inner splits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genser.bench.protocols import check_fold, divide, identifiers, inner_splits
from genser.data.splits import Fold, emobox_tests
from genser.data.utterance import Utterance
from genser.errors import ManifestError
from genser.report.paper import published_rows

EMOTIONS = ("anger", "neutral", "sadness")


@pytest.fixture
def corpus(tmp_path):
    """Makes utterances with files of one corpus: three emotions for each of some speakers."""

    def make(name="home", speakers=6, **fields):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        items = []
        for number in range(3 * speakers):
            path = folder / f"{number}.wav"
            path.write_text(f"{name} {number}")
            gender = ("female", "male")[number // 3 % 2]
            items.append(Utterance(str(path), EMOTIONS[number % 3], f"s{number // 3}", gender, corpus=name, **fields))
        return items

    return make


@pytest.mark.parametrize(
    ("name", "expected", "family", "folds"),
    [
        ("loso", "home-loso", "loso", 6),
        ("kfold-speaker", "home-kfold-3", "kfold", 3),
        ("random", "home-random-3", "random", 3),
    ],
)
def test_a_protocol_is_named_by_corpus_and_family(corpus, name, expected, family, folds):
    (data,) = divide(corpus(), name, k=3)
    protocol = data.protocol
    assert (protocol.name, protocol.family, protocol.folds, protocol.corpus) == (expected, family, folds, "home")
    assert protocol.speaker_dependent is (name == "random")
    assert ("speaker-dependent" in protocol.title) is (name == "random")


def test_gender_and_label_maps_are_in_the_name_and_merged_classes_have_no_published_rows(corpus):
    items = corpus("meld", split="train")
    items = [Utterance(**vars(item) | {"split": "test" if item.speaker == "s0" else "train"}) for item in items]
    (plain,) = divide(items, "official")
    assert plain.protocol.family == "official"
    assert published_rows(plain.protocol)
    (renamed,) = divide(items, "official", labels="meld7")
    assert (renamed.protocol.name, renamed.protocol.family) == ("meld-official-meld7", "official")
    calm = [*items, Utterance(**vars(items[5]) | {"path": items[5].path + "x", "label": "calm"})]
    Path(calm[-1].path).write_text("calm")
    (merged,) = divide(calm, "official", labels="meld7")
    assert "labels meld7" in merged.protocol.family
    assert not published_rows(merged.protocol)
    (gender,) = divide(items, "official", task="gender")
    assert (gender.protocol.name, gender.protocol.task) == ("meld-official-gender", "gender")


def emobox_corpus(tmp_path, name, omitted=0):
    """Files with the names of EmoBox's test lists."""
    items = []
    for fold, clips in emobox_tests(name).items():
        for clip in clips[omitted:] if fold == "1" else clips:
            path = tmp_path / f"{clip}.wav"
            path.write_text(clip)
            speaker = {"ravdess": clip[-2:], "emodb": clip[:2]}[name]
            items.append(Utterance(str(path), EMOTIONS[len(items) % 3], speaker, corpus=name))
    return items


def test_emobox_folds_have_published_rows_and_mark_shared_speakers(tmp_path):
    items = [*emobox_corpus(tmp_path, "ravdess"), *emobox_corpus(tmp_path, "emodb")]
    ravdess, emodb = divide(items, "emobox")
    assert [one.protocol.name for one in (ravdess, emodb)] == ["ravdess-emobox", "emodb-emobox"]
    assert [one.protocol.folds for one in (ravdess, emodb)] == [6, 5]
    assert [one.protocol.speaker_dependent for one in (ravdess, emodb)] == [False, True]
    assert [len(published_rows(one.protocol)) for one in (ravdess, emodb)] == [7, 7]


def test_missing_clips_are_refused_unless_allowed_and_then_named(tmp_path):
    items = emobox_corpus(tmp_path, "ravdess", omitted=3)
    with pytest.raises(ManifestError, match="3 test clips"):
        divide(items, "emobox")
    (data,) = divide(items, "emobox", incomplete=True)
    assert data.protocol.name == "ravdess-emobox-incomplete"


def test_a_speaker_on_both_sides_is_refused(corpus):
    items = corpus(speakers=2)
    fold = Fold("wrong", np.array([0, 1, 2, 3]), np.array([4, 5]), speaker_independent=True)
    with pytest.raises(ManifestError, match="speaker home s1"):
        check_fold(items, fold)
    honest = Fold("right", np.array([0, 1, 2, 3]), np.array([4, 5]), speaker_independent=False)
    check_fold(items, honest)


@pytest.mark.parametrize("name", ["loso", "random"])
def test_the_same_bytes_on_both_sides_are_refused(corpus, name):
    items = corpus()
    for item in (items[0], items[4], items[8], items[12]):
        Path(item.path).write_text("one recording")
    with pytest.raises(ManifestError, match="the same bytes"):
        divide(items, name, k=3)


def test_published_folds_stay_as_they_are_and_name_the_same_bytes_on_both_sides(corpus):
    items = corpus("meld", split="train")
    items = [replace(item, split="test" if item.speaker in ("s0", "s1") else "train") for item in items]
    assert divide(items, "official")[0].remarks == ()
    for item in (items[0], items[1], items[9]):  # two clips of the test side and one of the training side
        Path(item.path).write_text("one recording")
    (data,) = divide(items, "official")
    assert [(leak.test, leak.train) for leak in data.leaks] == [(item.path, items[9].path) for item in items[:2]]
    assert len(data.folds[0].test) == 6, "no clip is omitted"
    (remark,) = data.remarks
    assert remark.startswith("meld-official: 2 test clips have the same bytes as a clip of the training")
    assert "meld/0.wav (meld/9.wav)" in remark


def test_a_repeated_utterance_is_refused(corpus):
    items = corpus()
    with pytest.raises(ManifestError, match="occurs twice"):
        divide([*items, items[3]], "loso")


def test_folds_follow_the_kept_utterances(corpus):
    items = corpus()
    (data,) = divide(items, "loso")
    kept = [item for item in items if item.label != "neutral"][::-1]
    for fold, moved in zip(data.folds, data.folds_of(kept), strict=True):
        for side in ("train", "test"):
            before = {items[place].key for place in getattr(fold, side) if items[place].label != "neutral"}
            assert {kept[place].key for place in getattr(moved, side)} == before
        assert moved.name == fold.name
    with pytest.raises(ManifestError, match="empty test side"):
        data.folds_of([item for item in items if item.speaker != "s2"])


def test_inner_splits_hold_out_whole_training_speakers(corpus):
    items = corpus()
    (data,) = divide(items, "loso")
    for fold in data.folds:
        splits = inner_splits(items, fold, 3, 0.4)
        assert len(splits) == 3
        for train, held_out in splits:
            assert set(train) | set(held_out) == set(fold.train)
            voices = [{items[place].speaker for place in side} for side in (train, held_out, fold.test)]
            assert not voices[0] & voices[1]
            assert not (voices[0] | voices[1]) & voices[2]
        assert len({tuple(held_out) for _, held_out in splits}) > 1


def test_an_official_validation_side_is_the_inner_split(corpus):
    items = corpus()
    fold = Fold("official", np.arange(9), np.arange(12, 18), True, np.arange(9, 12))
    ((train, held_out),) = inner_splits(items, fold, 3, 0.4)
    assert (train.tolist(), held_out.tolist()) == (list(range(9)), [9, 10, 11])


@pytest.mark.parametrize("speakers", [[None] * 18, ["one"] * 18])
def test_inner_splits_hold_out_single_clips_if_speakers_cannot_be_held_out(corpus, speakers):
    items = [Utterance(**vars(item) | {"speaker": speaker}) for item, speaker in zip(corpus(), speakers, strict=True)]
    fold = Fold("f", np.arange(12), np.arange(12, 18), False)
    ((train, held_out),) = inner_splits(items, fold, 1, 0.25)
    assert (len(train), len(held_out)) == (9, 3)
    assert set(train) | set(held_out) == set(range(12))


def test_inner_splits_hold_out_whole_recordings():
    items = [Utterance(f"{n % 4}.wav", start=float(n), end=n + 1.0) for n in range(12)]
    for train, held_out in inner_splits(items, Fold("f", np.arange(11), np.array([11]), False), 4, 0.25):
        assert set(train) | set(held_out) == set(range(11))
        assert not {items[place].path for place in train} & {items[place].path for place in held_out}


def test_identifiers_are_unique_and_do_not_depend_on_the_folder(tmp_path):
    items = [
        Utterance(str(tmp_path / "a/s1/happy/1.wav"), corpus="a"),
        Utterance(str(tmp_path / "a/s2/happy/1.wav"), corpus="a"),
        Utterance(str(tmp_path / "b/1.wav"), corpus="b", start=1.0, end=2.5),
        Utterance(str(tmp_path / "b/1.wav"), corpus="b", start=3.0),
        Utterance(str(tmp_path / "c.wav")),
    ]
    assert identifiers(items).tolist() == [
        "a/s1/happy/1.wav",
        "a/s2/happy/1.wav",
        "b/1.wav#t=1,2.5",
        "b/1.wav#t=3,",
        "c.wav",
    ]
    elsewhere = [Utterance(**vars(item) | {"path": "/other" + item.path}) for item in items]
    assert identifiers(elsewhere).tolist() == identifiers(items).tolist()
