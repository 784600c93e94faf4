"""Splits keep speakers apart where they say so, and leaks are found."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genser.data.corpora import prepare
from genser.data.leaks import check_leaks, find_leaks
from genser.data.splits import (
    PROTOCOLS,
    Fold,
    emobox_clip,
    emobox_tests,
    folds,
    validation_split,
)
from genser.data.utterance import Utterance
from genser.errors import ManifestError


@st.composite
def corpora_of(draw, smallest=2):
    """Utterances of a few corpora in any order; speakers of different corpora share their names."""
    items = []
    for corpus in draw(st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]])):
        for speaker in range(draw(st.integers(smallest, 8))):
            gender = draw(st.sampled_from(["female", "male", None]))
            for clip in range(draw(st.integers(1, 4))):
                path = f"/{corpus}/{speaker}/{clip}.wav"
                items.append(Utterance(path, label="x", speaker=str(speaker), gender=gender, corpus=corpus))
    return draw(st.permutations(items))


def speakers(items, places):
    return {items[place].speaker_key for place in places}


@given(items=corpora_of(), seed=st.integers(0, 5))
def test_folds_by_speaker_part_speakers_and_test_everyone_once(items, seed):
    all_speakers = len(speakers(items, range(len(items))))
    k = min(3, all_speakers)
    for divided, count in [(folds(items, "loso"), all_speakers), (folds(items, "kfold-speaker", k=k, seed=seed), k)]:
        assert len(divided) == count
        assert sorted(np.concatenate([fold.test for fold in divided])) == list(range(len(items)))
        for fold in divided:
            assert fold.speaker_independent
            assert not speakers(items, fold.train) & speakers(items, fold.test)
            assert sorted([*fold.train, *fold.test]) == list(range(len(items)))
            check_leaks([items[place] for place in fold.train], [items[place] for place in fold.test])


@given(items=corpora_of(), seed=st.integers(0, 5))
def test_speakers_are_dealt_evenly(items, seed):
    k = 2
    divided = folds(items, "kfold-speaker", k=k, seed=seed)
    for corpus in {item.corpus for item in items}:
        counts = [sum(name == corpus for name, _ in speakers(items, fold.test)) for fold in divided]
        assert max(counts) - min(counts) <= 1


@given(items=corpora_of(), fraction=st.floats(0.05, 0.9), seed=st.integers(0, 5))
def test_validation_holds_out_speakers_of_every_corpus(items, fraction, seed):
    train, held_out = validation_split(items, fraction, seed)
    assert sorted([*train, *held_out]) == list(range(len(items)))
    assert not speakers(items, train) & speakers(items, held_out)
    for corpus in {item.corpus for item in items}:
        total = sum(name == corpus for name, _ in speakers(items, range(len(items))))
        chosen = sum(name == corpus for name, _ in speakers(items, held_out))
        assert chosen == min(max(1, round(fraction * total)), total - 1)


@given(items=corpora_of(), seed=st.integers(0, 5), data=st.data())
def test_the_draw_does_not_depend_on_the_order(items, seed, data):
    other = data.draw(st.permutations(items))
    assert speakers(items, validation_split(items, 0.3, seed)[1]) == speakers(
        other, validation_split(other, 0.3, seed)[1]
    )


def test_validation_has_both_genders():
    items = [
        Utterance(f"/{number}", speaker=str(number), gender="female" if number < 4 else "male", corpus="a")
        for number in range(20)
    ]
    for seed in range(20):
        _, held_out = validation_split(items, 0.5, seed)
        assert Counter(items[place].gender for place in held_out) == {"female": 2, "male": 8}


def test_seeds_draw_other_speakers():
    items = [Utterance(f"/{number}", speaker=str(number)) for number in range(20)]
    draws = {tuple(validation_split(items, 0.2, seed)[1]) for seed in range(10)}
    assert len(draws) > 5


@pytest.mark.parametrize(
    ("items", "fraction", "words"),
    [
        ([Utterance("/a", speaker="1"), Utterance("/b", speaker="2")], 1.0, "between 0 and 1"),
        ([Utterance("/a", speaker="1"), Utterance("/b", speaker="1")], 0.5, "No speaker can be held out"),
        ([Utterance("/a", speaker="1"), Utterance("/b")], 0.5, "1 has none, such as /b"),
    ],
)
def test_impossible_validation(items, fraction, words):
    with pytest.raises(ManifestError, match=words):
        validation_split(items, fraction)


@given(items=corpora_of(), seed=st.integers(0, 3))
def test_random_folds_are_called_speaker_dependent(items, seed):
    divided = folds(items, "random", k=2, seed=seed)
    assert sorted(np.concatenate([fold.test for fold in divided])) == list(range(len(items)))
    assert all("speaker-dependent" in fold.name and not fold.speaker_independent for fold in divided)


def test_leave_one_corpus_out():
    items = [Utterance(f"/{corpus}{clip}", corpus=corpus) for corpus in "abc" for clip in range(2)]
    divided = folds(items, "loco")
    assert [(fold.name, list(fold.test), fold.speaker_independent) for fold in divided] == [
        ("loco a", [0, 1], True),
        ("loco b", [2, 3], True),
        ("loco c", [4, 5], True),
    ]


@pytest.mark.parametrize(("name", "independent"), [("ravdess", True), ("emodb", False)])
def test_emobox_folds_of_real_corpora(corpora, name, independent):
    items = prepare(name, corpora / name).utterances
    divided = folds(items, "emobox")
    assert [len(fold.test) for fold in divided] == {"ravdess": [240] * 6, "emodb": [107] * 5}[name]
    assert {len(fold.train) for fold in divided} == {len(items) - len(divided[0].test)}
    assert {fold.speaker_independent for fold in divided} == {independent}
    assert sorted(np.concatenate([fold.test for fold in divided])) == list(range(len(items)))


def test_emobox_actors_of_ravdess(corpora):
    items = prepare("ravdess", corpora / "ravdess").utterances
    first, *_ = folds(items, "emobox")
    assert {int(speaker) for _, speaker in speakers(items, first.test)} == {1, 11, 20, 21}
    assert Counter(items[place].label for place in first.test)["neutral"] == 16


@pytest.mark.parametrize("layout", ["/x/{0}_{1}.wav", "/x/{0}/{1}.wav"])
def test_emobox_folds_of_savee_in_both_layouts(layout):
    clips = [clip.split("_") for fold in emobox_tests("savee").values() for clip in fold]
    items = [Utterance(layout.format(*clip), speaker=clip[0], corpus="savee") for clip in clips]
    divided = folds(items, "emobox")
    assert [sorted({items[place].speaker for place in fold.test}) for fold in divided] == [
        ["JE"],
        ["KL"],
        ["DC"],
        ["JK"],
    ]
    assert all(fold.speaker_independent for fold in divided)


def test_emobox_lists():
    sizes = {
        corpus: [len(clips) for clips in emobox_tests(corpus).values()]
        for corpus in ("ravdess", "savee", "emodb", "crema-d", "tess")
    }
    assert sizes == {
        "ravdess": [240] * 6,
        "emodb": [107] * 5,
        "savee": [120] * 4,
        "tess": [700],
        "crema-d": [1856],
    }


def emodb_items(clips):
    return [Utterance(f"/{clip}.wav", speaker=clip[:2], corpus="emodb") for clip in clips]


def test_emobox_refuses_what_is_incomplete_unless_told():
    clips = [clip for fold in emobox_tests("emodb").values() for clip in fold]
    with pytest.raises(ManifestError, match=f"1 test clips .* such as {clips[0]}"):
        folds(emodb_items(clips[1:]), "emobox")
    assert len(folds(emodb_items(clips[1:]), "emobox", incomplete=True)[0].test) == 106


def test_emobox_puts_all_copies_of_a_test_clip_on_the_test_side():
    clips = [clip for fold in emobox_tests("emodb").values() for clip in fold]
    items = [*emodb_items(clips), Utterance(f"/copy/{clips[0]}.flac", speaker="03", corpus="emodb")]
    for fold in folds(items, "emobox"):
        assert not {emobox_clip(items[i]) for i in fold.train} & {emobox_clip(items[i]) for i in fold.test}


def test_the_official_split_and_whether_it_is_speaker_independent():
    items = [
        Utterance(f"/{place}", speaker=speaker, split=split)
        for place, (speaker, split) in enumerate([("a", "train"), ("b", "validation"), ("c", "test"), ("a", "train")])
    ]
    (fold,) = folds(items, "official")
    assert (list(fold.train), list(fold.validation), list(fold.test)) == ([0, 3], [1], [2])
    assert fold.speaker_independent
    (dependent,) = folds([*items, Utterance("/4", speaker="b", split="test")], "official")
    (unknown,) = folds([*items, Utterance("/4", split="test")], "official")
    assert not dependent.speaker_independent
    assert not unknown.speaker_independent


@pytest.mark.parametrize(
    ("protocol", "items", "words"),
    [
        ("losso", [], "Did you mean 'loso'"),
        ("loso", [Utterance("/a")], "needs the speaker"),
        ("loso", [Utterance("/a", speaker="1")], "two or more speakers, got 1"),
        ("loco", [Utterance("/a")], "needs the column 'corpus'"),
        ("official", [Utterance("/a")], "needs the column 'split'"),
        ("official", [Utterance("/a", split="test")], "empty train side"),
        ("emobox", [Utterance("/a", corpus="nemo")], "no folds of EmoBox for 'nemo'"),
        ("emobox", [Utterance("/a", corpus="tess"), Utterance("/b", corpus="emodb")], "got emodb, tess"),
        ("kfold-speaker", [Utterance("/a", speaker="1")], "the number of speakers, 1, got 5"),
        ("random", [Utterance("/a")], "the number of utterances, 1, got 5"),
    ],
)
def test_impossible_folds(protocol, items, words):
    with pytest.raises(ManifestError, match=words):
        folds(items, protocol)


def test_a_fold_has_no_utterance_on_two_sides():
    with pytest.raises(ManifestError, match="on two sides"):
        Fold("x", np.array([0, 1]), np.array([1]), True)


def test_every_protocol_is_named_in_the_documentation():
    assert all(name in folds.__doc__ for name in PROTOCOLS)


def test_the_same_name_in_two_corpora_is_two_speakers():
    one, other = Utterance("/a", speaker="1", corpus="a"), Utterance("/b", speaker="1", corpus="b")
    assert find_leaks([one], [other]) == []
    assert len(find_leaks([one], [one, one])) == 1
    with pytest.raises(ManifestError, match="share 1 by speaker"):
        check_leaks([one, other], [one])


def test_leaks_by_bytes(tmp_path):
    for name, content in {"a": b"same", "b": b"same", "c": b"othr", "d": b"longer"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (Utterance(str(tmp_path / name)) for name in "abcd")
    assert find_leaks([a, d], [c], by="bytes") == []
    (leak,) = find_leaks([c, a], [d, b], by="bytes")
    assert (leak.train, leak.test) == (a.path, b.path)
    with pytest.raises(ManifestError, match="the same bytes"):
        check_leaks([a], [b], by="bytes")
    with pytest.raises(ManifestError, match="'speaker' or by 'bytes'"):
        find_leaks([a], [b], by="name")


def test_parts_of_one_recording_leak_only_where_they_overlap(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    path = str(tmp_path / "a")
    first, second, across = Utterance(path, start=0.0, end=1.0), Utterance(path, start=1.0), Utterance(path, start=0.5)
    assert find_leaks([first], [second], by="bytes") == []
    assert len(find_leaks([first], [across], by="bytes")) == 1


def test_the_twins_of_ravdess_stay_on_one_side(corpora):
    items = prepare("ravdess", corpora / "ravdess").utterances
    for fold in folds(items, "emobox"):
        assert find_leaks([items[i] for i in fold.train], [items[i] for i in fold.test], by="bytes") == []
    by_clip = {emobox_clip(item): item for item in items}
    twins = [by_clip[f"03-01-03-01-02-0{take}-07"] for take in (1, 2)]
    assert len(find_leaks(twins[:1], twins[1:], by="bytes")) == 1


def test_held_out_speakers_are_drawn_from_both_genders():
    items = [Utterance(f"/{n}", speaker=str(n), gender=("female", "male")[n % 2]) for n in range(8)]
    genders = set()
    for seed in range(20):
        (index,) = validation_split(items, 0.1, seed)[1]
        genders.add(items[index].gender)
    assert genders == {"female", "male"}, "one speaker is held out, whose gender must depend on the seed"
