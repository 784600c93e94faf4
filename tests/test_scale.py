"""Bulk runs on one machine: rows, shards, and what happens to files that hang or crash."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile
from toys import toy_weights
from watched import processes_below, wait_for_shards

import genser
from genser.audio import load_audio
from genser.cli import app
from genser.data.tables import write_table
from genser.encoders import encode, load_encoder
from genser.errors import ConfigError, ManifestError, ModelError, StorageError
from genser.scale import process
from genser.scale.blocks import read_blocks, read_rows
from genser.scale.child import Limits
from genser.scale.commit import JOB, Shards
from genser.scale.job import Job, Setup
from genser.segments.options import SegmentOptions

parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="bulk runs need Linux or macOS")
POISON = Path(__file__).parent / "poison"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Six clips of noise, one of 45 s, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for number, seconds in enumerate((1.0, 2.5, 45.0, 0.7, 3.0, 1.2)):
        rate = (16_000, 44_100)[number % 2]
        soundfile.write(folder / f"{number}.wav", 0.1 * random.standard_normal((round(seconds * rate), 2)), rate)
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


def job_of(toys, kind="predict", **given):
    return Job(kind, model=str(toys.float32), shard_rows=3, **given)


def table_of(folder):
    from pyarrow import dataset

    return dataset.dataset(folder, format="parquet").to_table().sort_by("row")


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_predictions_are_those_of_predict_many(clips, toys, tmp_path):
    report = process(job_of(toys), clips, tmp_path / "out")
    table = table_of(tmp_path / "out")
    paths = sorted(map(str, clips.iterdir()))
    expected = list(genser.load(toys.float32).predict_many(paths))
    assert (report.rows, report.shards, report.computed, report.failed) == (7, 3, 3, 1)
    assert table["row"].to_pylist() == list(range(7))
    assert table["path"].to_pylist() == paths
    assert table["label"].to_pylist() == [one.label for one in expected]
    assert table["error"].to_pylist() == [one.error for one in expected]
    assert table["remark"].to_pylist() == [one.remark for one in expected]
    for label in expected[0].scores:
        np.testing.assert_allclose(
            np.array(table[label].to_pylist(), float), [one.scores.get(label, np.nan) for one in expected], atol=1e-5
        )


def test_parts_and_channels_of_files_are_recognised(clips, toys, tmp_path):
    write_table(
        tmp_path / "parts.csv",
        ("path", "start", "end"),
        [{"path": str(clips / "2.wav"), "start": 10, "end": 11.5}, {"path": str(clips / "2.wav"), "start": 50}],
    )
    process(job_of(toys, channel="each"), tmp_path / "parts.csv", tmp_path / "out")
    rows = table_of(tmp_path / "out").to_pylist()
    assert [(row["row"], row["channel"]) for row in rows] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    part = load_audio(clips / "2.wav", start=10, end=11.5, channel=2)
    scores = genser.load(toys.float32).scores([part])[0]
    np.testing.assert_allclose([rows[1][label] for label in ("anger", "happiness", "sadness")], scores, atol=1e-5)
    assert (rows[1]["start"], rows[1]["end"]) == (10.0, 11.5)
    assert "cannot start at 50.000 s" in rows[2]["error"]


@pytest.mark.parametrize("channel", ["mix", "each"])
def test_segments_are_those_of_the_recordings(clips, toys, tmp_path, channel):
    options = SegmentOptions(window=4.0)
    process(job_of(toys, "segments", segments=options, channel=channel), clips, tmp_path / "out")
    table = table_of(tmp_path / "out")
    recognizer = genser.load(toys.float32)
    for number in range(6):
        rows = [row for row in table.to_pylist() if row["row"] == number]
        expected = recognizer.segments(clips / f"{number}.wav", options, channel=channel)
        assert [(row["start"], row["end"], row["label"], row["channel"]) for row in rows] == [
            (round(one.start, 3), round(one.end, 3), one.label, one.channel) for one in expected
        ]
    assert table["error"].to_pylist()[-1]


def test_segments_of_a_part_have_the_times_of_the_file(clips, toys, tmp_path):
    write_table(tmp_path / "parts.jsonl", ("path", "start"), [{"path": str(clips / "2.wav"), "start": 37}])
    process(job_of(toys, "segments", segments=SegmentOptions(window=4.0)), tmp_path / "parts.jsonl", tmp_path / "out")
    assert table_of(tmp_path / "out")["start"].to_pylist() == [37.0, 41.0]


def test_a_part_without_speech_has_the_times_of_the_file(toys, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(64_000), 16_000)
    write_table(tmp_path / "parts.csv", ("path", "start", "end"), [{"path": "silence.wav", "start": 2, "end": 3.5}])
    process(job_of(toys, "segments", segments=SegmentOptions()), tmp_path / "parts.csv", tmp_path / "out")
    rows = table_of(tmp_path / "out").to_pylist()
    assert [(row["start"], row["end"], row["label"]) for row in rows] == [(2.0, 3.5, "no speech")]


def test_features_are_those_of_the_encoder(clips, tmp_path):
    config = toy_weights(tmp_path / "toy.safetensors")
    process(Job("features", encoder=config, shard_rows=4), clips, tmp_path / "out")
    table = table_of(tmp_path / "out")
    encoder = load_encoder(config)
    shape = encoder.states, encoder.dim
    expected = encode(encoder, [load_audio(clips / f"{number}.wav") for number in range(6)])
    assert table.schema.metadata[b"encoder"].decode() == encoder.fingerprint
    found = np.array(table["features"].to_pylist()[:6], np.float32).reshape(6, *shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert table["features"].to_pylist()[6] is None
    assert table["error"].to_pylist()[6]


def test_all_manifests_give_the_same_rows(tmp_path):
    records = [{"path": f"deep/{number}.wav", "start": number / 2, "label": "x,y"} for number in range(7)]
    found = []
    for ending in (".csv", ".tsv", ".jsonl", ".parquet"):
        write_table(tmp_path / f"rows{ending}", ("path", "start", "label"), records)
        found.append(list(read_rows([str(tmp_path / f"rows{ending}")])))
    assert found[0] == found[1] == found[2] == found[3]
    assert [row.number for row in found[0]] == list(range(7))
    assert found[0][3].path == str(tmp_path / "deep/3.wav")
    assert found[0][3].start == 1.5
    assert [len(block.rows) for block in read_blocks([str(tmp_path / "rows.csv")], 3)] == [3, 3, 1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_a_manifest_has_the_encodings_of_a_table(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("path;start\nGespräch 1.wav;1,5\n".encode(encoding))
    (row,) = read_rows([str(tmp_path / "a.csv")])
    assert (row.path, row.start) == (str(tmp_path / "Gespräch 1.wav"), 1.5)


def test_a_manifest_on_storage_names_files_beside_it():
    system = fsspec.filesystem("memory")
    system.pipe_file("/lists/a.csv", b"path\nb.wav\ns3://other/c.wav\n")
    assert [row.path for row in read_rows(["memory://lists/a.csv"])] == ["memory://lists/b.wav", "s3://other/c.wav"]
    system.rm("/lists", recursive=True)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.csv", "path,start\nb.wav,soon\n", "start"),
        ("a.csv", "path,start\n,1\n", "names no audio file"),
        ("a.csv", "path,start\nb.wav\n", "Line 2 of .* has 1 fields"),
        ("a.jsonl", '{"path": "b.wav"}\nnonsense\n', "Line 2 of .* is no JSON object"),
        ("a.jsonl", '{"path": "b.wav"}\n{"label": "x"}\n', "no column 'path'"),
    ],
)
def test_a_row_that_cannot_be_used_has_an_error(tmp_path, name, content, error):
    (tmp_path / name).write_text(content)
    *_, row = read_rows([str(tmp_path / name)])
    assert row.error
    assert re.search(error, row.error)


def test_a_pattern_enters_each_folder_once(tmp_path):
    (tmp_path / "calls/deep").mkdir(parents=True)
    (tmp_path / "calls/deep/a.wav").touch()
    (tmp_path / "calls/deep/loop").symlink_to(tmp_path / "calls", target_is_directory=True)
    rows = list(read_rows([str(tmp_path / "calls/**/*.wav")]))
    assert [row.path for row in rows] == [str(tmp_path / "calls/deep/a.wav")]


def test_a_manifest_without_paths_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("label\nx\n")
    with pytest.raises(ManifestError, match="no column 'path'"):
        list(read_rows([str(tmp_path / "a.csv")]))
    with pytest.raises(ConfigError, match="does not exist"):
        list(read_rows([str(tmp_path / "gone")]))


def test_a_run_continues_and_ends_in_the_same_shards(clips, toys, tmp_path):
    out = tmp_path / "out"
    process(job_of(toys), clips, out)
    whole = contents(out)
    again = process(job_of(toys), clips, out)
    assert (again.computed, again.failed) == (0, 1)
    names = sorted(whole)
    (out / names[2]).unlink()
    (out / ".genser-0.part").write_bytes(b"half")  # what a kill leaves behind
    assert process(job_of(toys), clips, out).computed == 1
    (out / ".genser-0.part").unlink()
    assert contents(out) == whole


@pytest.mark.parametrize("kind", ["predict", "segments", "features"])
def test_failed_rows_of_earlier_shards_are_counted_by_the_footers_alone(clips, toys, tmp_path, kind):
    out, options = tmp_path / "out", {"segments": SegmentOptions(window=4.0)} if kind == "segments" else {}
    job = job_of(toys, kind, **options)
    if kind == "features":
        job = Job("features", encoder=toy_weights(tmp_path / "toy.safetensors"), shard_rows=3)
    process(job, clips, out)
    for path in out.glob("part-*"):
        shard = parquet.ParquetFile(path)
        errors = {one["row"] for one in shard.read(["row", "error"]).to_pylist() if one["error"]}
        assert int(shard.metadata.metadata[b"failed"]) == len(errors)
        size = 8 + int.from_bytes(path.read_bytes()[-8:-4], "little")  # the footer, its length and the magic bytes
        path.write_bytes(bytes(path.stat().st_size - size) + path.read_bytes()[-size:])
    for place in (out, f"local://{out}"):
        report = process(job, clips, place)
        assert (report.failed, report.mixed) == (1, 0 if kind == "features" else 6), (
            "each file has two different channels"
        )


def test_failed_rows_of_shards_without_a_count_are_read(clips, toys, tmp_path):
    process(job_of(toys), clips, tmp_path)
    for path in tmp_path.glob("part-*"):
        parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)
    assert process(job_of(toys), clips, tmp_path).failed == 1
    path.write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="Delete it, and run again"):
        process(job_of(toys), clips, tmp_path)


def test_another_run_is_refused_in_the_same_folder(clips, toys, tmp_path):
    out = tmp_path / "out"
    process(job_of(toys), [str(clips / "0.wav")], out)
    before = contents(out)
    with pytest.raises(ConfigError, match=r"input\.rows \(1 then, 2 now\)"):
        process(job_of(toys), [str(clips / "0.wav"), str(clips / "1.wav")], out)
    with pytest.raises(ConfigError, match=r"job\.classes \(None then, anger,sadness now\)"):
        process(job_of(toys, classes="anger,sadness"), [str(clips / "0.wav")], out)
    with pytest.raises(ConfigError, match=r"job\.shard_rows"):
        process(replace(job_of(toys), shard_rows=4), [str(clips / "0.wav")], out)
    assert contents(out) == before
    with pytest.raises(ConfigError, match="holds other files"):
        process(job_of(toys), [str(clips / "0.wav")], clips)


def places(folder):
    return str(folder / "shards"), f"local://{folder}/shards"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b"[" * 9999])
def test_a_damaged_description_of_a_folder_is_named(tmp_path, damage):
    for place in places(tmp_path):
        (tmp_path / "shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / JOB).write_bytes(damage)
        with pytest.raises(ConfigError, match=f"{JOB} is damaged"):
            Shards(place, "x").check({"a": 1})


def test_unfinished_files_of_a_killed_run_do_not_stop_the_next(tmp_path):
    for number, place in enumerate(places(tmp_path)):
        (tmp_path / "shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / f".part-{number}").write_bytes(b"half")
        Shards(place, "x").check({"a": 1})
        with pytest.raises(ConfigError, match=r"a \(1 then, 2 now\)"):
            Shards(place, "x").check({"a": 2})
        (tmp_path / "shards" / JOB).unlink()
        (tmp_path / "shards" / "other").touch()
        with pytest.raises(ConfigError, match="holds other files, such as other"):
            Shards(place, "x").check({"a": 1})
        (tmp_path / "shards" / "other").unlink()


def test_errors_of_a_worker_have_their_type(clips, toys, tmp_path):
    with pytest.raises(ConfigError, match="boredom"):
        process(job_of(toys, classes="anger,boredom"), clips, tmp_path / "out")
    with pytest.raises(ModelError):
        process(Job(model=str(tmp_path / "gone.onnx")), clips, tmp_path / "out")


def test_poisoned_files_get_rows_that_say_so(clips, toys, tmp_path, monkeypatch):
    """The worker dies only in the second shard, so the files of the first, such as the slow one, are read once."""
    folder = tmp_path / "clips"
    folder.mkdir()
    paths = [str(folder / f"{name}.wav") for name in ("a", "fifo", "memory", "crash", "deadly", "z")]
    os.mkfifo(paths[1])  # opening it never returns
    for path in (paths[0], *paths[2:]):
        Path(path).write_bytes((clips / "0.wav").read_bytes())
    monkeypatch.syspath_prepend(str(POISON))
    setup = Setup(threads=1, decoding=Limits(seconds=3.0, memory=1 << 30))
    (tmp_path / "list.csv").write_text("\n".join(["path", *paths]))
    report = process(job_of(toys), tmp_path / "list.csv", tmp_path / "out", setup=setup)
    errors = table_of(tmp_path / "out")["error"].to_pylist()
    assert report.failed == 4
    assert errors[0] is errors[5] is None
    assert "it took more than 3 s" in errors[1]
    assert "more memory than is allowed" in errors[2]
    assert "the process was ended by SIGSEGV" in errors[3]
    assert "cannot be recognised: the process was ended by SIGSEGV" in errors[4]


def test_the_command_line_runs_in_bulk(clips, toys, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["predict", str(clips), "--model", str(toys.float32), "--engine", "local", "--shard-rows", "4"]
    assert app([*words, "-o", "out"]) == 1
    assert "7 rows in 2 shards" in capsys.readouterr().err
    assert table_of("out").num_rows == 7
    assert app([*words, "--segments", "--window", "4", "-o", "segments/"]) == 1
    assert table_of("segments").num_rows > 7
    assert app(["features", str(clips), "--encoder", "fbank", "--engine", "local", "-o", "features"]) == 1
    assert table_of("features").num_rows == 7
    for more, message in (
        (["-o", "-"], "Name their folder"),
        (["--resume", "-o", "out"], "does not take --resume"),
        (["--address", "auto", "-o", "out"], "takes no address"),
    ):
        with pytest.raises(ConfigError, match=message):
            app([*words, *more])
    with pytest.raises(ConfigError, match="--workers without --engine"):
        app(["predict", str(clips), "--workers", "2"])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_kills_at_any_moment_change_nothing(clips, toys, tmp_path):
    """A decoder, the worker and the driver are killed while shards appear; the same run then continues."""
    listed, out = tmp_path / "list.csv", tmp_path / "out"
    listed.write_text("path\n" + f"{clips / '1.wav'}\n{clips / '3.wav'}\n" * 30)
    job, setup = Job(model=str(toys.float32), shard_rows=2), Setup(threads=1)
    process(job, listed, tmp_path / "whole", setup=setup)
    words = ["predict", str(listed), "--model", str(toys.float32), "--threads", "1", "--engine", "local"]
    command = [sys.executable, "-m", "genser", *words, "--shard-rows", "2", "-o", str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        wait_for_shards(out, 1)
        os.kill(processes_below(driver.pid)[-1], signal.SIGKILL)
        wait_for_shards(out, 4)
        os.kill(processes_below(driver.pid)[0], signal.SIGKILL)
        wait_for_shards(out, 7)
        driver.kill()
    assert 0 < process(job, listed, out, setup=setup).computed < 30
    found = {name: content for name, content in contents(out).items() if not name.startswith(".")}
    assert found == contents(tmp_path / "whole")
