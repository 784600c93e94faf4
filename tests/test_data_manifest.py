"""Manifests: what is written is read again, and all problems are reported by row."""

import csv
import dataclasses
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.data.columns import COLUMNS, find_columns
from genser.data.labels import NO_SPEECH
from genser.data.manifest import INVISIBLE, read_manifest, write_manifest
from genser.data.tables import read_table
from genser.data.utterance import GENDERS, SPLITS, Utterance
from genser.errors import ManifestError, MissingExtraError

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")
LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
NAMES = (
    st.text(LETTERS, min_size=1, max_size=8)
    .map(lambda name: " ".join(unicodedata.normalize("NFC", name.translate(INVISIBLE)).split()))
    .filter(bool)
)
FILE_NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(lambda name: "/" not in name and name not in (".", ".."))
TIMES = st.floats(min_value=0, max_value=1e6, allow_nan=False)


@st.composite
def utterances(draw):
    start, end = sorted([draw(TIMES), draw(TIMES)])
    return Utterance(
        path="/sounds/" + "/".join(draw(st.lists(FILE_NAMES, min_size=1, max_size=3))),
        label=draw(st.none() | NAMES),
        speaker=draw(st.none() | NAMES),
        gender=draw(st.none() | st.sampled_from(GENDERS)),
        split=draw(st.none() | st.sampled_from(SPLITS)),
        start=draw(st.sampled_from([None, start])),
        end=draw(st.sampled_from([None, end])) if end > start else None,
        corpus=draw(st.none() | NAMES),
        text=draw(st.none() | st.text(LETTERS, min_size=1, max_size=20)),
        intensity=draw(st.none() | NAMES),
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("relative", [True, False])
@settings(deadline=None, max_examples=60)
@given(
    items=st.lists(
        utterances(), min_size=1, max_size=5, unique_by=lambda item: (item.path, item.start or 0.0, item.end)
    )
)
def test_what_is_written_is_read_again(tmp_path_factory, ending, relative, items):
    path = tmp_path_factory.getbasetemp() / f"round{relative}{ending}"
    write_manifest(items, path, relative=relative)
    assert read_manifest(path, check_files=False) == items


def sounds(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"sound")


def test_relative_paths_move_with_the_manifest(tmp_path):
    for home in ("here", "there"):
        (tmp_path / home).mkdir()
        sounds(tmp_path / home, "a.wav")
    write_manifest([Utterance(str(tmp_path / "here/a.wav"))], tmp_path / "here/m.csv")
    (tmp_path / "here/m.csv").replace(tmp_path / "there/m.csv")
    assert read_manifest(tmp_path / "there/m.csv") == [Utterance(str(tmp_path / "there/a.wav"))]


def test_every_bad_row_is_named_with_its_reason(tmp_path):
    sounds(tmp_path, "a.wav", "b.wav")
    path = tmp_path / "m.csv"
    path.write_text(
        "path,label,gender,split,start,end\n"
        "a.wav,anger,F,dev,0,1\n"
        "a.wav,anger,,,0,1\n"
        "b.wav,angr,,,,\n"
        "b.wav,,,,3,2\n"
        "c.wav,fear,,,,\n"
        "b.wav,fear,robot,trian,one,-2\n"
        ",fear,,,,\n"
        "b.wav,fear\n"
        ".,fear,,,,\n" + "n" * 5000 + ",fear,,,,\n"
    )
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, labels=["anger", "fear"])
    lines = str(caught.value).splitlines()
    assert "9 rows cannot be used" in lines[0]
    for row, words in [
        (3, ["repeats row 2"]),
        (4, ["'angr'", "Did you mean 'anger'?"]),
        (5, ["end 2 s is not after start 3 s"]),
        (6, ["c.wav does not exist"]),
        (7, ["'one'", "such as 1.5"]),
        (7, ["end is -2", "'robot'", "'trian'"]),
        (8, ["path is empty"]),
        (9, ["2 fields", "header has 6"]),
        (10, ["is a folder"]),
        (11, ["nnn does not exist"]),
    ]:
        assert any(line.startswith(f"  row {row}:") and all(word in line for word in words) for line in lines), (
            row,
            words,
        )


def test_aliases_of_gender_and_split(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path,gender,split\na.wav,F,dev\nb.wav,male,test\n")
    first, second = read_manifest(path, check_files=False)
    assert (first.gender, first.split, second.gender, second.split) == ("female", "validation", "male", "test")


def test_a_clip_that_begins_with_its_file_is_named_once(tmp_path):
    sounds(tmp_path, "a.wav")
    (tmp_path / "m.csv").write_text("path,start\na.wav,\na.wav,0\n")
    with pytest.raises(ManifestError, match="row 3: repeats row 2"):
        read_manifest(tmp_path / "m.csv")


def test_no_speech_is_known_in_any_case(tmp_path):
    sounds(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav")
    (tmp_path / "m.csv").write_text("path,label\na.wav,No speech\nb.wav,NO_SPEECH\nc.wav,no speech\nd.wav,No one\n")
    labels = [item.label for item in read_manifest(tmp_path / "m.csv")]
    assert labels == [NO_SPEECH, NO_SPEECH, NO_SPEECH, "No one"]


def test_a_long_list_of_problems_is_capped(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path\n" + "".join(f"{row}.wav\n" for row in range(100)))
    with pytest.raises(ManifestError, match="100 rows cannot be used") as caught:
        read_manifest(path)
    assert "and 80 more" in str(caught.value)
    *lines, last = str(caught.value).splitlines()
    assert len(lines) == 22
    assert last == f"Relative paths start at the folder of the table, {tmp_path}."


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("file,emotion", {"label": "x"}),
        ("Path, Label ", {"label": "x"}),
        ("FileName,Speaker ID", {"speaker": "x"}),
        ("audio_path,SEX", {"gender": "x"}),
        ("path,fold", {}),
        ("path,offset", {"start": "x"}),
    ],
)
def test_usual_names_of_columns_are_known(header, fields):
    found = find_columns(next(csv.reader([header])), [{"fold": "1"}, {"fold": "2"}])
    assert set(found) == {"path", *fields}


def test_a_fold_that_names_splits_is_the_split(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path,fold\na.wav,Train\nb.wav,dev\nc.wav,\n")
    assert [item.split for item in read_manifest(path, check_files=False)] == ["train", "validation", None]


def test_onset_and_offset_are_start_and_end():
    found = find_columns(["file", "onset", "offset"])
    assert (found["start"].name, found["end"].name) == ("onset", "offset")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("path,lable", r"no column 'label', but a column 'lable'\. Rename it"),
        ("path,speeker", r"no column 'speaker', but a column 'speeker'\. Rename it"),
        ("pth,label", r"no column 'path', but a column 'pth'\. Rename it"),
        ("wav,file", r"no column 'path', but 'wav' and 'file'\. Rename the one"),
        ("path,emotion,category", r"no column 'label', but 'emotion' and 'category'"),
        (
            "Datei,Gefühl,Sprecher",
            r"no column 'path'; its columns are Datei, Gefühl, Sprecher\. .*"
            r"Path: path, file, .* Label: label, emotion, .* Speaker: speaker, speaker_id, ",
        ),
        (
            "pth,lable,speeker",
            r"no column 'path', but .*'pth'.* no column 'label', but .*'lable'.* no column 'speaker', but .*'speeker'",
        ),
        (
            "emotion,category,Datei",
            r"no column 'label', but 'emotion' and 'category'.* no column 'path'; its columns are emotion, category, D",
        ),
    ],
)
def test_a_column_that_may_be_a_missing_one_is_refused(tmp_path, header, words):
    path = tmp_path / "m.csv"
    path.write_text(f"{header}\n{','.join('a' * (header.count(',') + 1))}\n")
    with pytest.raises(ManifestError, match=words):
        read_manifest(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_other_columns_are_kept(tmp_path, ending):
    path = tmp_path / "m.csv"
    path.write_text("take,path,label,emotion,source\n7,a.wav,fear,Angst,x\n8,b.wav,joy,,\n")
    items = read_manifest(path, check_files=False)
    assert [item.extra for item in items] == [{"take": "7", "emotion": "Angst", "source": "x"}, {"take": "8"}]
    write_manifest(items, tmp_path / f"n{ending}")
    again = read_manifest(tmp_path / f"n{ending}", check_files=False)
    assert again == items
    assert [item.extra for item in again] == [item.extra for item in items]


def test_files_are_found_in_any_unicode_form_and_labels_have_one(tmp_path):
    on_disk, in_table = unicodedata.normalize("NFD", "für.wav"), unicodedata.normalize("NFC", "für.wav")
    sounds(tmp_path, on_disk, "b.wav")
    labels = [unicodedata.normalize(form, "fröhlich") for form in ("NFC", "NFD")]
    path = tmp_path / "m.csv"
    path.write_text(f"path,label\n{in_table}, {labels[0]} \nb.wav,{labels[1]}\n")
    first, second = read_manifest(path)
    assert Path(first.path).is_file()
    assert first.label == second.label == labels[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"path,label\n", "has no rows"),
        (b"label,speaker\nx,y\n", "no column 'path'"),
        (b"path,path\na,b\n", "two columns 'path'"),
        (b"path,label\na.wav,\x81\xe9\n", "not utf-8 text .byte 0x81 at position 17"),
        (b'path,label\n"a.wav,x\n', "2 fields|1 field,|unexpected end"),
    ],
)
def test_broken_files(tmp_path, content, words):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=words):
        read_manifest(path, check_files=False)


def test_wanted_labels_need_their_column(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path\na.wav\n")
    with pytest.raises(ManifestError, match="no column 'label'"):
        read_manifest(path, labels=["x"], check_files=False)
    path.write_text("Datei,Gefühl\na.wav,x\n")
    with pytest.raises(ManifestError, match="no column 'path' and no column 'label'"):
        read_manifest(path, labels=["x"], check_files=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_spreadsheets_write(tmp_path, encoding, delimiter, line_end):
    rows = [["path", "label", "text"], ["ä.wav", "anger", f'"so{delimiter} said"'], [], ["b.wav", "fear", ""]]
    path = tmp_path / "m.csv"
    path.write_bytes("".join(delimiter.join(row) + line_end for row in rows).encode(encoding))
    first, second = read_manifest(path, check_files=False)
    assert (Path(first.path).name, first.text, second.text) == ("ä.wav", f"so{delimiter} said", None)


def test_json_lines_name_the_line(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"path": "a.wav", "speaker": 7, "start": 1}\n\n[1]\n{"path": \n{"path": "b.wav", "start": true}\n')
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, check_files=False)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == ["row 3", "row 4", "row 5"]
    path.write_text('{"path": "a.wav", "speaker": 7, "start": 1}\n')
    assert read_manifest(path, check_files=False) == [Utterance(str(tmp_path / "a.wav"), speaker="7", start=1.0)]


@pytest.mark.parametrize("name", ["m.xlsx", "m", "none.csv"])
def test_tables_that_cannot_be_read(tmp_path, name):
    (tmp_path / "m").write_text("x")
    with pytest.raises(ManifestError):
        read_table(tmp_path / name)


def test_parquet_that_is_none(tmp_path):
    (tmp_path / "m.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ManifestError, match="cannot be read as Parquet"):
        read_manifest(tmp_path / "m.parquet")


def test_parquet_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        write_manifest([Utterance("/a.wav")], tmp_path / "m.parquet")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.csv"
    write_manifest([Utterance("/a.wav")], path)
    before = path.read_bytes()
    with pytest.raises(ManifestError, match="UTF-8"):
        write_manifest([Utterance("/\udcff.wav")], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.csv"]


@pytest.mark.parametrize(
    ("items", "name", "words"),
    [
        ([], "m.csv", "no utterances to write"),
        ([Utterance("/a")], "no/m.csv", "does not exist"),
        ([Utterance("/a")], "m.txt", "end in"),
    ],
)
def test_manifests_that_cannot_be_written(tmp_path, items, name, words):
    with pytest.raises(ManifestError, match=words):
        write_manifest(items, tmp_path / name)


@pytest.mark.parametrize(
    "fields",
    [{"path": ""}, {"start": -1.0}, {"end": float("inf")}, {"start": 2.0, "end": 2.0}, {"gender": "f"}, {"split": "x"}],
)
def test_impossible_utterances(fields):
    with pytest.raises(ManifestError):
        Utterance(**{"path": "/a.wav"} | fields)


def test_columns_are_the_fields_of_an_utterance():
    assert {field.name for field in dataclasses.fields(Utterance)} == {*COLUMNS, "extra"}


@given(one=utterances(), other=utterances())
def test_different_clips_have_different_keys(one, other):
    same = (one.path, one.start or 0.0, one.end) == (other.path, other.start or 0.0, other.end)
    assert same or one.key != other.key or "#" in one.path + other.path


@pytest.mark.parametrize("column", ["length", "dur", "duration"])
def test_a_duration_without_a_start_is_another_column(tmp_path, column):
    (tmp_path / "a.csv").write_text(f"path,label,{column}\na.wav,joy,12 words\n")
    (row,) = read_manifest(tmp_path / "a.csv", check_files=False)
    assert (row.end, row.extra) == (None, {column: "12 words"})


def test_a_name_that_genser_has_escaped_is_found(tmp_path):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    (tmp_path / "a.csv").write_text("path\ncaf\\udce9.wav\n")
    assert read_manifest(tmp_path / "a.csv")[0].path == str(tmp_path / name)
