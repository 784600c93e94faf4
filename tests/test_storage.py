"""Inputs and outputs on other storage, by the URLs of fsspec."""

import csv
import io
import shutil
import sys

import fsspec
import numpy as np
import pytest
import soundfile

from genser.audio import AudioLimits, load_audio
from genser.cli._inputs import find_inputs
from genser.cli._outputs import open_output, output_path
from genser.cli.predict import predict
from genser.errors import AudioError, ConfigError, MissingExtraError, StorageError
from genser.scale.blocks import read_rows
from genser.scale.commit import JOB, Shards
from genser.storage import StoredFile, ending_of, is_url, open_stored, put_stored, walk_stored


@pytest.fixture
def bucket():
    """A folder in memory: two sounds, one deeper, one that is damaged, and what does not count."""
    system = fsspec.filesystem("memory")
    random = np.random.default_rng(0)
    for name in ("b.wav", "a.flac", "deep/er/d.WAV", ".trash/x.wav", "deep/.hidden.wav", "__MACOSX/b.wav"):
        file = io.BytesIO()
        kind = name.rpartition(".")[2].upper()
        soundfile.write(file, 0.1 * random.standard_normal(8_000), 16_000, format=kind)
        system.pipe_file(f"/bucket/{name}", file.getvalue())
    system.pipe_file("/bucket/notes.txt", b"no sound")
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def names(*parts):
    return [f"memory:///bucket/{part}" for part in parts]


def read(url):
    with fsspec.open(url, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "expected"), [("s3://b/x", True), ("gs+x://b", True), ("C://x", False), ("a.wav", False)]
)
def test_a_url_is_known_by_its_scheme(name, expected):
    assert is_url(name) is expected
    assert not is_url(b"s3://b/x")


def test_folders_and_patterns_are_searched(bucket):
    assert find_inputs([bucket]) == names("a.flac", "b.wav", "deep/er/d.WAV")
    assert find_inputs([f"{bucket}/**"]) == names("a.flac", "b.wav", "deep/er/d.WAV")
    assert find_inputs([f"{bucket}/notes.txt"]) == [f"{bucket}/notes.txt"]
    assert find_inputs([f"{bucket}/*.wav", f"{bucket}/a.flac"]) == [*names("b.wav"), f"{bucket}/a.flac"]
    assert find_inputs([f"{bucket}/**/d.*"]) == names("deep/er/d.WAV")
    assert find_inputs([f"{bucket}/gone.wav"]) == [f"{bucket}/gone.wav"]
    with pytest.raises(ConfigError, match="holds no audio files"):
        find_inputs([f"{bucket}/*.txt"])


def test_a_file_is_decoded_as_a_local_one(bucket, tmp_path):
    local = tmp_path / "b.wav"
    local.write_bytes(fsspec.filesystem("memory").cat_file("/bucket/b.wav"))
    np.testing.assert_array_equal(load_audio(f"{bucket}/b.wav"), load_audio(local))
    np.testing.assert_array_equal(load_audio(local.as_uri()), load_audio(local))
    with pytest.raises(AudioError, match="the limit is 100"):
        load_audio(f"{bucket}/b.wav", limits=AudioLimits(max_bytes=100))


def test_results_go_to_storage_and_name_their_urls(bucket, toys):
    code = predict(bucket, f"{bucket}/gone.wav", model=str(toys.float32), output=f"{bucket}/new/out.csv")
    rows = read(f"{bucket}/new/out.csv")
    assert code == 1
    assert [row["path"] for row in rows] == [*names("a.flac", "b.wav", "deep/er/d.WAV"), f"{bucket}/gone.wav"]
    assert [bool(row["label"]) for row in rows] == [True, True, True, False]
    assert rows[-1]["error"] == f"{bucket}/gone.wav does not exist. Check the URL."


def test_segments_go_to_storage(bucket, tmp_path, toys):
    from genser.cli._over_time import OverTime

    local = tmp_path / "out.csv"
    for output in (f"{bucket}/out.csv", str(local)):
        predict(f"{bucket}/b.wav", model=str(toys.float32), over_time=OverTime(segments=True), output=output)
    assert read(f"{bucket}/out.csv") == read(local.as_uri())


def test_a_file_appears_complete_or_not_at_all(bucket):
    def fails() -> None:
        with open_output(StoredFile(f"{bucket}/out.csv")) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not fsspec.filesystem("memory").exists("/bucket/out.csv")


def test_a_local_folder_of_a_url_is_made(tmp_path):
    with StoredFile((tmp_path / "deep/er/out.csv").as_uri()).open() as file:
        file.write(b"whole")
    assert (tmp_path / "deep/er/out.csv").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "memory://bucket/b.wav", "format": "csv"}, "names the input memory://bucket/b.wav"),
        ({"output": "memory://bucket/folder/"}, "is a folder, but other storage gets one file"),
        ({"output": "memory://bucket/out.csv", "resume": True}, "Name a local file or folder"),
    ],
)
def test_outputs_that_cannot_work_are_refused_before_any_work(bucket, options, message):
    with pytest.raises(ConfigError, match=message):
        predict(f"{bucket}/b.wav", **options)


def test_unknown_storage_is_named(toys):
    with pytest.raises(StorageError, match=r"nowhere://b/out\.csv cannot be written: Protocol not known: nowhere"):
        StoredFile("nowhere://b/out.csv").check()
    with pytest.raises(StorageError, match=r"nowhere://b cannot be read: Protocol not known"):
        find_inputs(["nowhere://b"])
    assert output_path("-") is None


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.delitem(sys.modules, "fsspec.core", raising=False)
    with pytest.raises(MissingExtraError, match=r"Using s3://b/x\.wav needs the extra \[s3\]"):
        list(walk_stored("s3://b/x.wav", {".wav"}))


def test_a_failed_write_keeps_the_older_file(tmp_path, monkeypatch):
    url = f"local://{tmp_path}/new/out.csv"
    with StoredFile(url).open() as file:
        file.write(b"old")

    def broken(*_):
        raise OSError("No space left")

    monkeypatch.setattr(shutil, "copyfileobj", broken)
    with pytest.raises(StorageError, match="No space"), StoredFile(url).open() as file:
        file.write(b"new")
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [b"old"]


def test_a_signed_web_address_is_one_file_and_its_query_no_ending():
    url = "https://host/talk.wav?X-Signature=a[b]*&path=a/b.c"
    assert list(walk_stored(url, {".wav"})) == [url]
    assert ending_of(url) == ".wav"
    assert ending_of("s3://b/a?.csv") == ".csv"


def test_storage_that_fails_while_it_is_read_is_named(monkeypatch):
    """Storage has errors of its own, such as those of botocore, which are no OSError."""
    put_stored("memory://late/a.csv", b"path\nb.wav\n")
    put_stored(f"memory://late/run/{JOB}", b"{}")

    def broken(*_):
        raise RuntimeError("The connection was lost")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", broken)
    with pytest.raises(StorageError, match=r"late/a\.csv cannot be read: The connection was lost"):
        list(read_rows(["memory://late/a.csv"]))
    with pytest.raises(StorageError, match=r"late/run/_job\.json cannot be read: The connection was lost"):
        Shards("memory://late/run", "x").check({})
    put_stored("memory://late/run/part", b"PAR1" * 4)
    with pytest.raises(StorageError, match=r"late/run/part cannot be read: The connection was lost"):
        Shards("memory://late/run", "x").counts(["part"])


def test_a_name_like_a_pattern_that_exists_is_that_file():
    put_stored("memory://odd/talk [1].wav", b"")
    assert list(walk_stored("memory://odd/talk [1].wav", {".wav"})) == ["memory://odd/talk [1].wav"]


def test_a_file_url_needs_no_package_and_an_url_without_its_package_costs_itself_only(tmp_path, monkeypatch):
    (tmp_path / "a.wav").touch()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    url = f"file://{tmp_path}/a.wav"
    assert find_inputs([url, "s3://b/c.wav"]) == [str(tmp_path / "a.wav"), "s3://b/c.wav"]
    assert open_stored(url).read() == b""
