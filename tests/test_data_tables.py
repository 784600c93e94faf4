"""Tables as people and their programs write them: encodings, delimiters, quotes, comments, index columns."""

import json

import pytest

from genser.data.manifest import read_manifest
from genser.data.tables import read_table
from genser.errors import ManifestError

WANTED = [
    {"path": "für.wav", "label": "joy", "text": 'so, "she" said\nthat'},
    {"path": "b.wav", "label": "fear", "text": "-"},
]


def rows(path):
    table = read_table(path)
    assert table.problems == ()
    return [row for _, row in table.rows]


def csv_text(delimiter, space=""):
    field = '"so, ""she"" said\nthat"'
    lines = ["path|label|text", f'für.wav|"joy"|{field}', "b.wav|fear|-"]
    return "\n".join(lines).replace("|", delimiter + space) + "\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_every_encoding_and_delimiter_is_read(tmp_path, encoding, delimiter, ending):
    path = tmp_path / f"t{ending}"
    path.write_bytes(csv_text(delimiter).encode(encoding))
    assert rows(path) == WANTED


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "sep=,\n" + text,
        lambda text: '"sep=,"\n' + text,
        lambda text: "# made by hand, it's \"fine\n\n" + text,
        lambda text: text.replace("b.wav", "\n   \n,,\nb.wav"),
        lambda text: text + "# the end\n\n",
        lambda text: text.replace("text\n", "text,\n").replace('that"', 'that",').replace("-\n", "-,\n"),
        lambda text: text.replace('that"', 'that",').replace("-\n", "-,\n"),
        lambda text: text.replace("für", "1,für").replace("b.wav", "2,b.wav"),
    ],
    ids=["plain", "sep", "quoted-sep", "comment", "empty", "end", "trailing", "trailing-rows", "r-row-names"],
)
def test_what_surrounds_the_rows_is_no_row(tmp_path, line_end, change):
    path = tmp_path / "t.csv"
    path.write_bytes(change(csv_text(",", " ")).replace("\n", line_end).encode())
    wanted = [row | {"text": row["text"].replace("\n", line_end)} for row in WANTED]
    assert rows(path) == wanted


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "  "])
def test_the_index_of_pandas_is_one_more_column(tmp_path, name):
    path = tmp_path / "t.csv"
    path.write_text(f"{name},path,label\n0,a.wav,joy\n1,b.wav,fear\n")
    assert rows(path)[1] == {"Unnamed: 0": "1", "path": "b.wav", "label": "fear"}


def test_separators_that_excel_names(tmp_path):
    for delimiter in ";\t|":
        (tmp_path / "t.csv").write_text(f"sep={delimiter}\npath{delimiter}label\na,b.wav{delimiter}joy\n")
        assert rows(tmp_path / "t.csv") == [{"path": "a,b.wav", "label": "joy"}]


def test_the_delimiter_is_the_one_that_header_and_rows_share(tmp_path):
    (tmp_path / "t.csv").write_text("path;label;text, as said, by hand\na.wav;joy;hm\n")
    assert rows(tmp_path / "t.csv") == [{"path": "a.wav", "label": "joy", "text, as said, by hand": "hm"}]


@pytest.mark.parametrize("header", ["path,label", "'path','label'"])
def test_single_quotes_are_quotes_where_rows_begin_with_them(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n'a,b.wav', 'joy'\n")
    assert rows(tmp_path / "t.csv") == [{"path": "a,b.wav", "label": "joy"}]


def test_rows_keep_the_numbers_of_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("# x\nsep=;\npath;label\n\na.wav\nb.wav;joy\n#1.wav;joy\n")
    table = read_table(path)
    assert table.problems == ((5, "has 1 field, but the header has 2."),)
    assert [number for number, _ in table.rows] == [6, 7]


@pytest.mark.parametrize(
    "content",
    ["путь,метка\na.wav,радость\n".encode("cp1251"), "path,label\na.wav,喜び\n".encode("shift-jis"), b"\xff\xfe\x00"],
)
def test_other_encodings_are_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ManifestError, match="Save it as UTF-8"):
        read_table(tmp_path / "t.csv")


def test_utf_16_without_a_mark_and_without_latin_letters(tmp_path):
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "t.csv").write_bytes("путь,метка\r\nа,喜び一\r\n".encode(encoding))
        assert rows(tmp_path / "t.csv") == [{"путь": "а", "метка": "喜び一"}]


def test_a_json_array_is_a_table(tmp_path):
    (tmp_path / "t.json").write_text('[{"path": "a.wav", "label": "joy"}, 3]')
    table = read_table(tmp_path / "t.json")
    assert table.rows == ((1, {"path": "a.wav", "label": "joy"}),)
    assert table.problems == ((2, "is a JSON int; each row must be an object."),)
    (tmp_path / "t.json").write_text('{"path": "a.wav"}')
    with pytest.raises(ManifestError, match="array with one object per row"):
        read_table(tmp_path / "t.json")


@pytest.mark.parametrize("ending", [".parquet", ".pq", ".feather"])
def test_tables_of_audformat_with_timedeltas(tmp_path, ending):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    second = 1_000_000_000
    table = pyarrow.table(
        {
            "file": ["a.wav", "b.wav"],
            "start": pyarrow.array([second // 2 + 1, 0], pyarrow.duration("ns")),
            "end": pyarrow.array([3 * second, None], pyarrow.duration("ns")),
            "emotion": pyarrow.array(["anger", "sadness"]).dictionary_encode(),
            "speaker": [7.0, float("nan")],
            "rating": [0.5, float("nan")],
        }
    )
    path = tmp_path / f"t{ending}"
    (feather.write_feather if ending == ".feather" else parquet.write_table)(table, path)
    first, second = read_manifest(path, check_files=False)
    assert (first.start, first.end, first.label, first.speaker) == (pytest.approx(0.5), 3.0, "anger", "7")
    assert (second.start, second.end, second.speaker, second.extra) == (0.0, None, None, {})
    assert first.extra == {"rating": 0.5}


def manifest(tmp_path, text):
    path = tmp_path / "m.csv"
    path.write_text(text)
    return read_manifest(path, check_files=False)


@pytest.mark.parametrize(
    ("header", "row", "times"),
    [
        ("path,start,end", "a.wav,0 days 00:00:00.500000,0 days 00:00:03", (0.5, 3.0)),
        ("path,start,end", "a.wav,0 days,NaT", (0.0, None)),
        ("path;start;end", "a.wav;0,5;1,234", (0.5, 1.234)),
        ("path,start,end", 'a.wav,"0,5","3,0"', (0.5, 3.0)),
        ("path,start_ms,end_ms", "a.wav,500,3000", (0.5, 3.0)),
        ("path,Start (ms),End (ms)", "a.wav,500,00:00:03", (0.5, 3.0)),
        ("path,Start [s],End [s]", "a.wav,0.5,3", (0.5, 3.0)),
        ("path,start,duration", "a.wav,0.5,2.5", (0.5, 3.0)),
        ("path,offset,duration", "a.wav,0.5,2.5", (0.5, 3.0)),
        ("path,duration", "a.wav,2.5", (None, None)),
        ("path,start,end,duration", "a.wav,0.5,3,9", (0.5, 3.0)),
    ],
)
def test_times_of_manifests(tmp_path, header, row, times):
    (item,) = manifest(tmp_path, f"{header}\n{row}\n")
    assert (item.start, item.end) == times


def test_a_comma_that_may_be_thousands_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"end '1,234' may be 1\.234 or 1234"):
        manifest(tmp_path, 'path,end\na.wav,"1,234"\n')


def test_times_of_json_lines_may_be_null(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav", "start": null, "end": NaN}\n')
    (item,) = read_manifest(tmp_path / "m.jsonl", check_files=False)
    assert (item.start, item.end) == (None, None)


def test_files_are_found_as_other_systems_name_them(tmp_path):
    (tmp_path / "d e").mkdir()
    (tmp_path / "d e/s.wav").write_bytes(b"sound")
    for name in (r"d e\s.wav", r".\d e\s.wav", " d e/s.wav ", (tmp_path / "d e/s.wav").as_uri()):
        (tmp_path / "m.jsonl").write_text(json.dumps({"path": name}))
        (item,) = read_manifest(tmp_path / "m.jsonl")
        assert item.path == str(tmp_path / "d e/s.wav")


def test_labels_differ_only_in_what_one_sees(tmp_path):
    items = manifest(tmp_path, "path,label\na.wav,high\u00a0 arousal\u200b\nb.wav, high arousal \n")
    assert {item.label for item in items} == {"high arousal"}


def test_json_lines_of_any_ending_and_a_nul_byte_in_utf_8_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"path": "a.wav"}\n{"path": "b.wav"}\n')
    assert [row["path"] for _, row in read_table(tmp_path / "a.json").rows] == ["a.wav", "b.wav"]
    (tmp_path / "a.csv").write_bytes("path,label\na\0.wav,joy\nü.wav,joy\n".encode())
    assert read_table(tmp_path / "a.csv").columns == ("path", "label")
    for text in ("path,label\na.wav,joy\n", "文件,标签\n一二三四五六七八九十.wav,快乐\n"):
        (tmp_path / "b.csv").write_bytes(text.encode("utf-16-le"))
        assert len(read_table(tmp_path / "b.csv").rows) == 1
