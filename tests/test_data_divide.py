"""Divisions into sides: no speaker, recording or copy on two sides, and equal shares of every class."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from genser.data.divide import divide
from genser.data.leaks import find_leaks
from genser.data.utterance import Utterance
from genser.errors import ManifestError

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """40 files, of which every seventh is a copy of the first."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(40):
        content = 0 if number % 7 == 0 else number
        (folder / f"{number:02d}.wav").write_bytes(bytes([content, 1, 2]))
    return [str(path) for path in sorted(folder.iterdir())]


def quickly(items, **options):
    """Divide with a tenth of the tries: what the properties say holds for any number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genser.data.divide.TRIES", 500)
        return divide(items, SHARES, **options)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 3), by=st.sampled_from(["speaker", "file"]))
def test_nothing_is_on_two_sides_and_order_makes_no_difference(files, data, seed, by):
    rows = data.draw(
        st.lists(
            st.tuples(st.sampled_from(files), st.integers(0, 9), st.sampled_from("xyz"), st.integers(0, 3)),
            min_size=12,
            max_size=60,
            unique_by=lambda row: (row[0], row[3]),
        )
    )
    items = [
        Utterance(path, label, f"s{speaker}", start=float(part), end=part + 1.0) for path, speaker, label, part in rows
    ]
    try:
        division = quickly(items, by=by, seed=seed)
    except ManifestError:
        reject()  # copies joined too many speakers
    sides = {name: [item for item, side in zip(items, division.sides, strict=True) if side == name] for name in SHARES}
    assert all(sides.values())
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        whole = [[Utterance(item.path) for item in sides[name]] for name in (one, other)]
        assert find_leaks(*whole, by="bytes") == []
        assert by == "file" or find_leaks(sides[one], sides[other]) == []
    order = data.draw(st.permutations(range(len(items))))
    again = quickly([items[index] for index in order], by=by, seed=seed)
    assert list(again.sides) == [division.sides[index] for index in order]
    assert again.remarks == division.remarks


def clips(folder, speakers, corpus="c"):
    """Speakers with clips of three classes in different proportions."""
    generator = np.random.default_rng(0)
    items = []
    for speaker in range(speakers):
        for label, count in zip(("joy", "fear", "rare"), (*generator.integers(5, 30, 2), 3), strict=True):
            for take in range(count):
                path = folder / f"{corpus}_{speaker}_{label}_{take}.wav"
                path.write_bytes(path.name.encode())
                gender = ("female", "male")[speaker % 2]
                items.append(Utterance(str(path), label, str(speaker), gender=gender, corpus=corpus))
    return items


def test_classes_genders_and_corpora_have_their_shares(tmp_path):
    items = clips(tmp_path, 30) + clips(tmp_path, 20, "d")
    division = divide(items, SHARES)
    assert division.remarks == ()
    for field in ("label", "gender", "corpus"):
        total = Counter(getattr(item, field) for item in items)
        for name, share in SHARES.items():
            inside = Counter(
                getattr(item, field) for item, side in zip(items, division.sides, strict=True) if side == name
            )
            assert all(abs(inside[value] / total[value] - share) < 0.05 for value in total), (field, name, inside)


def test_other_seeds_divide_otherwise(tmp_path):
    items = clips(tmp_path, 12)
    assert len({divide(items, SHARES, seed=seed).sides for seed in range(4)}) > 1
    assert divide(items, SHARES, seed=1).sides == divide(items, SHARES, seed=1).sides


def test_what_cannot_be_divided_is_said(tmp_path):
    items = clips(tmp_path, 4)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "c_0_joy_0.wav").read_bytes())
    items.append(Utterance(str(tmp_path / "copy.wav"), "joy", "1", corpus="c"))
    (tmp_path / "only.wav").write_bytes(b"x")
    items.append(Utterance(str(tmp_path / "only.wav"), "unique", "2", corpus="c"))
    together, absent = divide(items, SHARES).remarks
    assert together == "The speakers c/0, c/1 share files, so they are on one side."
    assert "no clip of the class 'unique'" in absent
    assert absent.endswith(": it has clips of 1 speaker, and a speaker is not divided.")


@pytest.mark.parametrize("backgrounds", [1, 2, 3, 40])
def test_rows_without_speech_need_no_speaker_and_are_divided_by_recording(tmp_path, backgrounds):
    items = clips(tmp_path, 12)
    for number in range(backgrounds):
        path = tmp_path / f"street_{number}.wav"
        path.write_bytes(b"street %d" % number)
        items += [Utterance(str(path), "no speech", start=float(part), end=part + 1.0) for part in range(2)]
    (tmp_path / "copy.wav").write_bytes(b"street 0")
    items.append(Utterance(str(tmp_path / "copy.wav"), "no speech"))
    sides = divide(items, SHARES).sides
    speech = [side for item, side in zip(items, sides, strict=True) if item.speaker]
    assert list(divide([item for item in items if item.speaker], SHARES).sides) == speech, "they change nothing else"
    silent = {}
    for item, side in zip(items, sides, strict=True):
        if item.label == "no speech":
            assert silent.setdefault(item.path, side) == side
    assert silent[str(tmp_path / "copy.wav")] == silent[str(tmp_path / "street_0.wav")]
    assert set(silent.values()) == set(list(SHARES)[:backgrounds])
    if backgrounds == 40:
        assert sum(side == "test" for side in silent.values()) == pytest.approx(8, abs=1)


def test_rows_without_speech_do_not_replace_speakers(tmp_path):
    items = clips(tmp_path, 2)
    for number in range(5):
        (tmp_path / f"{number}.wav").write_bytes(bytes([number]))
        items.append(Utterance(str(tmp_path / f"{number}.wav"), "no speech"))
    with pytest.raises(ManifestError, match="need 3 or more speakers that share no files, got 2"):
        divide(items, SHARES)
    remarks = divide(items[:-4], {"train": 0.8, "test": 0.2}).remarks
    absent = [remark for remark in remarks if "no speech" in remark]
    assert absent == [
        "There is no clip of the class 'no speech' on the side test: it has clips of 1 file, and a file is not divided."
    ]


def test_a_recording_without_speech_that_belongs_to_a_speaker_stays_with_that_speaker(tmp_path):
    items = clips(tmp_path, 6)
    items += [Utterance(items[0].path, "no speech", start=1.0, end=2.0), Utterance(items[9].path, "no speech", "0")]
    sides = divide(items, SHARES).sides
    assert sides[-2] == sides[0]


@pytest.mark.parametrize(
    ("speakers", "shares", "words"),
    [
        (2, SHARES, "3 sides need 3 or more speakers that share no files, got 2"),
        (4, {"train": 0.7, "test": 0.7}, "add up to 1"),
        (4, {"train": 1.2, "test": -0.2}, "between 0 and 1"),
    ],
)
def test_impossible_divisions(tmp_path, speakers, shares, words):
    with pytest.raises(ManifestError, match=words):
        divide(clips(tmp_path, speakers), shares)


def test_speakers_must_be_known(tmp_path):
    items = [Utterance(item.path, item.label) for item in clips(tmp_path, 3)]
    with pytest.raises(ManifestError, match="Dividing by speaker needs the speaker of every utterance"):
        divide(items, SHARES)
    assert set(divide(items, SHARES, by="file").sides) == set(SHARES)
