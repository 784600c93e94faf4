"""Corpus readers: the real corpora, and trees with the official names and known traps of the others."""

import csv
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from genser.cli import app
from genser.data.corpora import CORPORA, crema_d, prepare
from genser.data.corpora.report import same_bytes, sound_files
from genser.data.manifest import read_manifest, write_manifest
from genser.data.splits import emobox_tests
from genser.errors import ConfigError, ManifestError

RAVDESS = ("calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")


def tree(root: Path, *names: str) -> Path:
    """Files of these names, no two alike."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(path))
    return root


def reasons(report) -> dict[str, str]:
    return {Path(problem.path).name: problem.reason for problem in report.problems}


@pytest.mark.parametrize(
    ("name", "folder", "clips", "speakers", "female", "labels"),
    [
        ("ravdess", "ravdess", 1440, 24, 12, {"neutral": 96} | dict.fromkeys(RAVDESS, 192)),
        (
            "emodb",
            "emodb",
            535,
            10,
            5,
            {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "sadness": 62, "neutral": 79},
        ),
        (
            "nemo",
            "nemo",
            4481,
            9,
            4,
            {"neutral": 809, "sadness": 769, "happiness": 749, "anger": 749, "fear": 736, "surprise": 669},
        ),
    ],
)
def test_real_corpora_are_whole(corpora, tmp_path, name, folder, clips, speakers, female, labels):
    report = prepare(name, corpora / folder)
    utterances = report.utterances
    genders = {item.speaker: item.gender for item in utterances}
    assert (len(utterances), len(genders), list(genders.values()).count("female")) == (clips, speakers, female)
    assert Counter(item.label for item in utterances) == labels
    assert report.missing == ()
    assert all(item.text and item.corpus == name for item in utterances)
    assert {item.extra["language"] for item in utterances} == {{"ravdess": "en", "emodb": "de", "nemo": "pl"}[name]}
    write_manifest(utterances, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv", labels=labels) == list(utterances)


def test_the_twins_of_ravdess_are_reported(corpora):
    assert reasons(prepare("ravdess", corpora / "ravdess")) == {
        "03-01-03-01-02-02-07.flac": "has the same bytes as Actor_07/03-01-03-01-02-01-07.flac; both are kept"
    }


def test_ravdess_traps(tmp_path):
    root = tree(
        tmp_path,
        "Audio_Speech_Actors_01-24/Actor_02/03-01-05-02-02-01-02.wav",
        "audio_speech_actors_01-24/Actor_02/03-01-05-02-02-01-02.wav",  # the copy inside a popular archive
        "Audio_Song_Actors_01-24/Actor_02/03-02-05-02-02-01-02.wav",
        "Video_Speech_Actor_01/02-01-05-01-01-01-01.mp4",
        "Video_Speech_Actor_01/01-01-05-01-01-01-01.mp4",
        "Actor_01/03-01-01-02-01-01-01.wav",
        "Actor_25/03-01-01-01-01-01-25.wav",
        "Actor_01/hello.wav",
    )
    report = prepare("RAVDESS", root)
    assert [(item.label, item.gender, item.intensity) for item in report.utterances] == [
        ("anger", "female", "strong"),
        ("anger", "male", "normal"),
    ]
    found = reasons(report)
    assert "again" in found["03-01-05-02-02-01-02.wav"]
    assert "song" in found["03-02-05-02-02-01-02.wav"]
    assert "without audio" in found["02-01-05-01-01-01-01.mp4"]
    assert "strong neutral" in found["03-01-01-02-01-01-01.wav"]
    assert len(found) == 6
    assert "Actor_03 (all 60 clips)" in report.missing
    assert "03-01-01-01-01-01-01" in report.missing
    assert len(report.missing) == 22 + 2 * 59


def test_emodb_traps(tmp_path):
    report = prepare("emo-db", tree(tmp_path, "wav/03a01Wa.wav", "wav/03a01Xa.wav", "wav/04a01Wa.wav", "erkennung.txt"))
    assert [(item.label, item.speaker, item.gender) for item in report.utterances] == [("anger", "03", "male")]
    assert set(reasons(report)) == {"03a01Xa.wav", "04a01Wa.wav"}
    assert len(report.missing) == 48 + 9  # the other clips of speaker 03, and nine whole speakers


def test_nemo_without_its_table(tmp_path):
    report = prepare("nemo", tree(tmp_path, "samples/EB0_surprised_1.mp3", "samples/XX0_anger_1.mp3"))
    assert [(item.label, item.gender, item.text) for item in report.utterances] == [("surprise", "female", None)]
    assert len(report.problems) == 1
    assert report.missing[0].startswith("data.tsv")


def test_nemo_lists_what_its_table_has_and_the_folder_has_not(tmp_path):
    tree(tmp_path, "samples/EB0_anger_1.ogg", "samples/EB0_anger_9.ogg")
    table = "file_id\temotion\traw_text\tspeaker_id\n" + "".join(
        f"EB0_anger_{n}.wav\tanger\tTak.\t        EB0\n" for n in (1, 2)
    )
    (tmp_path / "data.tsv").write_text(table)
    report = prepare("nemo", tmp_path)
    assert [(item.speaker, item.text) for item in report.utterances] == [("EB0", "Tak.")]
    assert report.missing == ("EB0_anger_2",)
    assert "not in data.tsv" in reasons(report)["EB0_anger_9.ogg"]


def test_tess_traps(tmp_path):
    root = tree(
        tmp_path,
        *(f"OAF_angry/OAF_{word}_angry.wav" for word in ("back", "bite")),
        "OAF_neutral/OA_bite_neutral.wav",
        "YAF_Pleasant_surprised/YAF_back_ps.wav",
        "TESS again/OAF_angry/OAF_back_angry.wav",
        "OAF_angry/OAF_back_cross.wav",
    )
    report = prepare("TESS", root)
    assert sorted((item.speaker, item.label, item.gender) for item in report.utterances) == [
        ("OAF", "anger", "female"),
        ("OAF", "anger", "female"),
        ("OAF", "neutral", "female"),
        ("YAF", "surprise", "female"),
    ]
    assert {"OAF_back_angry.wav", "OAF_back_cross.wav"} == set(reasons(report))
    assert "YAF_bite_ps" in report.missing
    assert "OAF_back_neutral" in report.missing
    assert "OAF_bite_neutral" not in report.missing
    assert "YAF angry (all 2 clips)" in report.missing
    assert report.missing[-1].startswith("198 of the 200 words")


def savee_clips() -> list[str]:
    return [clip for clips in emobox_tests("savee").values() for clip in clips]


@pytest.mark.parametrize("layout", ["{0}_{1}.wav", "AudioData/{0}/{1}.wav"])
def test_savee_in_both_layouts(tmp_path, layout):
    names = [layout.format(*clip.split("_")) for clip in savee_clips()]
    report = prepare("savee", tree(tmp_path, *names, "AudioData/XX/a01.wav", "AudioData/DC/a16.wav"))
    assert len(report.utterances) == 480
    assert report.missing == ()
    assert Counter(item.speaker for item in report.utterances) == dict.fromkeys(("DC", "JE", "JK", "KL"), 120)
    assert Counter(item.label for item in report.utterances)["neutral"] == 120
    assert all(item.extra == {"language": "en"} for item in report.utterances)
    assert set(reasons(report)) == {"a01.wav", "a16.wav"}


def test_crema_d_against_its_own_tables(corpora):
    with (corpora / "labels/CREMA-D_SentenceFilenames.csv").open() as file:
        clips = {row["Filename"] for row in csv.DictReader(file)}
    assert {clip for clips_of in crema_d.official().values() for clip in clips_of} == clips
    with (corpora / "labels/CREMA-D_VideoDemographics.csv").open() as file:
        assert {row["ActorID"]: row["Sex"].lower() for row in csv.DictReader(file)} == crema_d.GENDERS


def test_crema_d_traps(tmp_path):
    clips = [clip for actor in ("1001", "1076") for clip in crema_d.official()[f"actor {actor}"]]
    root = tree(
        tmp_path, *(f"AudioWAV/{clip}.wav" for clip in clips[1:]), f"AudioMP3/{clips[1]}.mp3", "VideoFlash/x.mp4"
    )
    report = prepare("CREMA-D", root)
    assert len(report.utterances) == 82 + 81 - 1
    assert report.missing[0] == clips[0]
    assert len(report.missing) == 1 + 89
    assert all(item.path.endswith(".wav") for item in report.utterances)
    found = reasons(report)
    assert "silent" in found["1076_MTI_SAD_XX.wav"]
    assert set(found) == {"1076_MTI_SAD_XX.wav", f"{clips[1]}.mp3", "x.mp4"}
    assert Counter(item.intensity for item in report.utterances)["high"] == 10


MELD_FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def meld_tables(corpora: Path, root: Path, *splits: str) -> Path:
    for split in splits:
        (root / f"{split}_sent_emo.csv").write_bytes((corpora / f"labels/MELD_{split}_sent_emo.csv").read_bytes())
    return root


def test_meld_with_its_own_tables(corpora, tmp_path):
    clips = {"train": ("dia0_utt0", "dia125_utt3"), "dev": ("dia0_utt0",), "test": ("dia0_utt0", "dia0_utt1")}
    names = [f"{MELD_FOLDERS[split]}/{clip}.mp4" for split, names in clips.items() for clip in names]
    strangers = [f"{MELD_FOLDERS['test']}/{clip}.mp4" for clip in ("final_videos_testdia93_utt5", "dia9999_utt0")]
    hidden = f"{MELD_FOLDERS['test']}/._dia0_utt0.mp4"
    report = prepare("MELD", tree(meld_tables(corpora, tmp_path, *MELD_FOLDERS), *names, *strangers, hidden))
    assert sorted((item.split, item.label, item.speaker, item.gender) for item in report.utterances) == [
        ("test", "anger", "Rachel", "female"),
        ("test", "surprise", "Mark", None),
        ("train", "neutral", "Chandler", "male"),
        ("validation", "sadness", "Phoebe", "female"),
    ]
    assert report.utterances[0].text == "Oh my God, he’s lost it. He’s totally lost it."
    assert Counter(clip.split("/")[0] for clip in report.missing) == {"train": 9987, "dev": 1107, "test": 2608}
    assert "dev/dia110_utt7" not in report.missing, "it is in the table, but not in the archive"
    found = reasons(report)
    assert "broken" in found.pop("dia125_utt3.mp4")
    assert set(found) == {Path(name).name for name in strangers}


def test_meld_from_extracted_sound_wins_over_films(corpora, tmp_path):
    root = tree(meld_tables(corpora, tmp_path, "dev"), "audio/dev/dia0_utt0.wav", "dev_splits_complete/dia0_utt0.mp4")
    report = prepare("meld", root)
    assert [Path(item.path).name for item in report.utterances] == ["dia0_utt0.wav"]
    assert "again" in reasons(report)["dia0_utt0.mp4"]
    assert [line.split()[0] for line in report.missing[:2]] == ["train_sent_emo.csv", "test_sent_emo.csv"]


def test_meld_without_tables(tmp_path):
    with pytest.raises(ManifestError, match="has none of the tables of MELD"):
        prepare("meld", tree(tmp_path, "train_splits/dia0_utt0.mp4"))


EVALUATION = (
    "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    "[6.2901 - 8.2357]\t{0}_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n\n"
    "[10.0100 - 11.3925]\t{0}_M001\texc\t[2.5000, 2.5000, 2.5000]\n\n"
    "[14.0000 - 15.0000]\t{0}_M002\txxx\t[2.5000, 2.5000, 2.5000]\n\n"
    "[16.0000 - 17.5000]\t{0}_F003\tfru\t[2.5000, 2.5000, 2.5000]\n"
)


def iemocap_tree(root: Path, *sounds: str) -> Path:
    tree(root, *sounds)
    for folder, content in {
        "EmoEvaluation": EVALUATION.format("Ses02F_impro01"),
        "transcriptions": "Ses02F_impro01_F000 [006.2901-008.2357]: Excuse me.\n",
    }.items():
        path = root / f"Session2/dialog/{folder}/Ses02F_impro01.txt"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return root


def test_iemocap_turns(tmp_path):
    turns = "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_"
    stray = "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_MXX0.wav"
    report = prepare(
        "iemocap", iemocap_tree(tmp_path, *(f"{turns}{turn}.wav" for turn in ("F000", "M001", "M002")), stray)
    )
    first, second = report.utterances
    assert (first.label, first.speaker, first.gender, first.text, first.start) == (
        "neutral",
        "Ses02F",
        "female",
        "Excuse me.",
        None,
    )
    assert (second.label, second.speaker, second.gender) == ("excitement", "Ses02M", "male")
    assert "did not agree" in reasons(report)["Ses02F_impro01_M002.wav"]
    assert "no evaluation" in reasons(report)["Ses02F_impro01_MXX0.wav"]
    assert set(report.missing) == {"Session1", "Session3", "Session4", "Session5", "Ses02F_impro01_F003"}


def test_iemocap_from_whole_dialogues(tmp_path):
    report = prepare("iemocap", iemocap_tree(tmp_path, "Session2/dialog/wav/Ses02F_impro01.wav"))
    assert [(item.start, item.end, item.label) for item in report.utterances] == [
        (6.2901, 8.2357, "neutral"),
        (10.01, 11.3925, "excitement"),
        (16.0, 17.5, "frustration"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
@pytest.mark.parametrize("layout", ["{0}/{1}/{2}/{3}.wav", "Emotion Speech Dataset/{0}/{1}/{3}.wav"])
def test_esd_layouts_and_encodings(tmp_path, encoding, layout):
    clips = [
        ("0001", "Neutral", "evaluation", "0001_000020"),
        ("0001", "Angry", "test", "0001_000400"),
        ("0011", "Surprise", "train", "0011_001451"),
        ("0011", "Sad", "train", "0011_000001"),
    ]
    tree(tmp_path, *(layout.format(*clip) for clip in clips), "0001/0001_999999.wav")
    text = tmp_path / "0001/0001.txt"
    text.write_bytes("0001_000020\t打远一看\t中立\n".encode(encoding))
    report = prepare("esd", tmp_path)
    assert {(item.speaker, item.extra["language"]) for item in report.utterances} == {("0001", "zh"), ("0011", "en")}
    assert {(item.label, item.split, item.gender, item.text) for item in report.utterances} == {
        ("anger", "test", "female", None),
        ("neutral", "validation", "female", "打远一看"),
        ("surprise", "train", "male", None),
    }
    assert "in the folder Sad, but its number is of Neutral" in reasons(report)["0011_000001.wav"]
    assert "0001_999999.wav" in reasons(report)
    assert "speaker 0020 (all 1750 clips)" in report.missing
    assert len(report.missing) == 18 + 1748 + 1749


def test_folders_of_labels(tmp_path):
    report = prepare(
        "folder", tree(tmp_path, "happy/a.wav", "happy/deep/b.OPUS", "sad/c.m4a", "loose.wav", "sad/notes.txt")
    )
    assert [(Path(item.path).name, item.label, item.split) for item in report.utterances] == [
        ("a.wav", "happy", None),
        ("b.OPUS", "happy", None),
        ("c.m4a", "sad", None),
    ]
    assert set(reasons(report)) == {"loose.wav"}


def test_folders_of_splits_and_labels(tmp_path):
    report = prepare("folder", tree(tmp_path, "train/happy/a.wav", "dev/sad/b.wav"))
    assert {(item.label, item.split) for item in report.utterances} == {("happy", "train"), ("sad", "validation")}


def test_a_table_with_other_columns(tmp_path):
    tree(tmp_path, "clips/a.flac", "clips/b.wav")
    (tmp_path / "list.csv").write_text(
        "file;emotion;speaker_id;mood;begin;stop\nclips/a.wav;joy;7;x;0;1\nclips/b;fear;8;;;\nclips/c.wav;fear;8;;;\n"
        "clips/b.wav;joy;8;;2;1\n"
    )
    report = prepare("csv", tmp_path)
    assert [(Path(item.path).name, item.label, item.speaker, item.end) for item in report.utterances] == [
        ("a.flac", "joy", "7", 1.0),
        ("b.wav", "fear", "8", None),
    ]
    assert [Path(path).name for path in report.missing] == ["c.wav"]
    assert sorted(problem.reason for problem in report.problems) == [
        "row 5: end 1 s is not after start 2 s. It is omitted.",
    ]
    assert report.utterances[0].extra == {"mood": "x"}
    assert prepare("csv", tmp_path / "list.csv", columns={"label": "mood"}).utterances[0].label == "x"


def test_columns_are_named_on_the_command_line(tmp_path):
    tree(tmp_path, "a.wav")
    (tmp_path / "list.csv").write_text('clip,"mood, in words",person\na.wav,joy,x=y\n')
    named = ["--columns", "label=mood, in words", "--columns", "speaker=person"]
    app(["prepare", "csv", str(tmp_path / "list.csv"), "-o", str(tmp_path / "out.csv"), *named])
    (item,) = read_manifest(tmp_path / "out.csv")
    assert (item.label, item.speaker) == ("joy", "x=y")
    for wrong in ("label", "=mood", "label="):
        with pytest.raises(ConfigError, match="names no two columns"):
            app(["prepare", "csv", str(tmp_path), "-o", str(tmp_path / "out.csv"), "--columns", wrong])


@pytest.mark.parametrize(
    ("name", "columns", "words"),
    [
        ("csv", {"label": "nope"}, "no column 'nope'"),
        ("csv", {"lable": "file"}, "Did you mean 'label'"),
        ("savee", {"label": "file"}, "Only the reader 'csv'"),
        ("ravdes", None, "Did you mean 'ravdess'"),
        ("emodb", None, "has no clip of emodb. Expected: wav/03a01Fa.wav"),
    ],
)
def test_corpora_that_cannot_be_prepared(tmp_path, name, columns, words):
    (tree(tmp_path, "a.wav") / "list.csv").write_text("file\na.wav\n")
    with pytest.raises(ManifestError, match=words):
        prepare(name, tmp_path, columns=columns)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        prepare("tess", tmp_path / "none")


@pytest.mark.parametrize("spelling", ["CREMA-D", "cremad", "Crema_D", "crema d"])
def test_names_in_any_spelling(tmp_path, spelling):
    assert len(prepare(spelling, tree(tmp_path, "1001_DFA_ANG_XX.wav")).utterances) == 1


def test_every_reader_says_what_it_expects():
    assert all(module.LAYOUT and name == module.NAME for name, module in CORPORA.items())


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_are_followed_but_not_for_ever(tmp_path):
    tree(tmp_path / "elsewhere", "a.wav")
    tree(tmp_path / "root", "b.wav")
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "root")
    assert [path.name for path in sound_files(tmp_path / "root")] == ["b.wav", "a.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_does_not_cost_the_others(tmp_path):
    tree(tmp_path, "happy/a.wav", "happy/b\udcff.wav")
    report = prepare("folder", tmp_path)
    assert [Path(item.path).name for item in report.utterances] == ["a.wav"]
    assert [problem.reason for problem in report.problems] == ["has a name that is not UTF-8, omitted; rename it"]
    write_manifest(report.utterances, tmp_path / "m.csv")


def test_same_bytes_are_found_only_where_they_are(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "c": b"1", "d": b"11"}.items():
        (tmp_path / name).write_bytes(content)
    assert list(same_bytes(tmp_path / name for name in "abcda")) == [(tmp_path / "c", tmp_path / "a")]


def test_a_folder_that_cannot_be_read_is_no_silent_loss(tmp_path, monkeypatch):
    tree(tmp_path, "happy/a.wav", "sad/b.wav")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sad"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ManifestError, match="sad cannot be read"):
        prepare("folder", tmp_path)
