"""The feature store: readable with NumPy and json alone, one writer, many readers, nothing lost but unwritten rows."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.data import store as store_module
from genser.data.store import FeatureStore, FileHasher, feature_key
from genser.errors import StoreError

SHAPE = (2, 3)


def key(number: int) -> str:
    return feature_key("encoder", {}, f"audio {number}")


def row(number: int) -> np.ndarray:
    return np.arange(6, dtype=np.float32).reshape(SHAPE) + 10 * number


def open_at(path, fingerprint="encoder", **options) -> FeatureStore:
    return FeatureStore(path, fingerprint, SHAPE, **options)


def add(store: FeatureStore, *numbers: int) -> None:
    with store.writing():
        store.add_many([key(number) for number in numbers], np.stack([row(number) for number in numbers]))


def filled(path, *sizes: int) -> FeatureStore:
    """A store with shards of these sizes, rows numbered from 0."""
    store = open_at(path)
    for size in sizes:
        add(store, *range(len(store), len(store) + size))
    return store


def assert_rows(store: FeatureStore, numbers) -> None:
    numbers = list(numbers)
    np.testing.assert_array_equal(store.rows(map(key, numbers)), np.reshape([row(n) for n in numbers], (-1, *SHAPE)))


def held(store: FeatureStore, count: int) -> list[int]:
    return [number for number in range(count) if key(number) in store]


@settings(max_examples=30)
@given(actions=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["add", "flush", "open"])), max_size=20))
def test_a_store_is_a_dictionary(tmp_path_factory, actions):
    path = tmp_path_factory.mktemp("store")
    store, known = open_at(path), set()
    for number, action in actions:
        if action == "open":
            store = open_at(path)
        else:
            with store.writing():
                store.add_many([key(number)], row(number)[None])
                if action == "flush":
                    store.flush()
                known.add(number)
                assert_rows(store, known)  # rows can be read before they are written
        assert len(store) == len(known)
        assert held(store, 13) == sorted(known)
    assert_rows(store, [*known, *known])
    assert store.missing(map(key, [*range(13), *range(13)])) == [key(n) for n in range(13) if n not in known]


def test_another_program_reads_a_store_with_numpy_and_json_alone(tmp_path):
    store = open_at(tmp_path, settings={"bf16": False})
    add(store, 0, 1)
    add(store, 2)
    (folder,) = (path.parent for path in tmp_path.glob("*/settings.json"))
    about = json.loads((folder / "settings.json").read_text())
    assert about == {
        "format": 2,
        "encoder": "encoder",
        "settings": {"bf16": False},
        "shape": [2, 3],
        "dtype": "float32",
    }
    shards = {path.name: np.load(path, mmap_mode="r") for path in folder.glob("rows-*.npy")}
    lines = (folder / "index.jsonl").read_text().split("\n")[:-1]
    rows = {entry["key"]: shards[entry["shard"]][entry["row"]] for entry in map(json.loads, lines)}
    assert rows.keys() == {key(0), key(1), key(2)}
    for number in range(3):
        np.testing.assert_array_equal(rows[key(number)], row(number))


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), data=st.data())
def test_an_index_cut_at_any_byte_loses_only_the_rows_behind_the_cut(tmp_path_factory, sizes, data):
    store = filled(tmp_path_factory.mktemp("store"), *sizes)
    index = store.folder / "index.jsonl"
    content = index.read_bytes()
    size = data.draw(st.integers(0, len(content)))
    index.write_bytes(content[:size])
    cut = open_at(store.path)
    there = held(cut, sum(sizes))
    assert there == list(range(content[:size].count(b"\n")))
    assert_rows(cut, there)
    add(cut, *range(sum(sizes)))
    assert_rows(open_at(store.path), range(sum(sizes)))
    assert index.read_bytes().count(b"\n") == sum(sizes)
    named = {json.loads(line)["shard"] for line in index.read_text().splitlines()}
    assert {path.name for path in store.folder.glob("rows-*")} == named, "shards without an index line are removed"


@given(data=st.data())
def test_a_shard_cut_at_any_byte_is_refused_and_its_rows_come_back_once_it_is_deleted(tmp_path_factory, data):
    store = filled(tmp_path_factory.mktemp("store"), 2, 2)
    shard = data.draw(st.sampled_from(sorted(store.folder.glob("rows-*.npy"))))
    content = shard.read_bytes()
    shard.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(StoreError, match=f"{shard.name} is damaged.*Delete this file"):
        open_at(store.path)
    shard.unlink()
    again = open_at(store.path)
    assert len(again) == 2
    add(again, *range(4))
    assert_rows(open_at(store.path), range(4))


@pytest.mark.parametrize("content", ["[]\n", "{}\n", "x\n", '{"key": "a", "shard": "../x.npy", "row": 0}\n'])
def test_a_damaged_index_is_refused(tmp_path, content):
    index = filled(tmp_path, 2).folder / "index.jsonl"
    index.write_text(content + index.read_text())
    with pytest.raises(StoreError, match=r"is damaged .*Delete"):
        open_at(tmp_path)


def test_an_index_that_names_a_row_behind_the_end_is_refused(tmp_path):
    index = filled(tmp_path, 2).folder / "index.jsonl"
    index.write_text(index.read_text().replace('"row": 1', '"row": 7'))
    with pytest.raises(StoreError, match="has no row 7"):
        open_at(tmp_path)


def test_altered_settings_are_refused(tmp_path):
    header = filled(tmp_path, 2).folder / "settings.json"
    header.write_text(header.read_text().replace("encoder", "encoding"))
    with pytest.raises(StoreError, match=r"was changed\. Delete"):
        open_at(tmp_path)


def test_a_store_of_an_older_genser_is_named_as_such(tmp_path):
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "store.json").write_text("{}")
    with pytest.raises(StoreError, match=r"older genser.*Delete that folder"):
        open_at(tmp_path)


WRITER = """
import sys, numpy as np
from genser.data import store as module
from genser.data.store import FeatureStore, feature_key
module.FLUSH_BYTES = 4096
store = FeatureStore(sys.argv[1], "encoder", (8, 32))
with store.writing():
    for number in range(10**9):
        store.add_many([feature_key("encoder", {}, f"audio {number}")], np.full((1, 8, 32), number % 1000))
        if number == 64:
            print("going", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_writer_loses_only_its_last_rows(tmp_path):
    for delay in (0.0, 0.013, 0.041):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"going\n"
        time.sleep(delay)
        process.kill()
        process.wait()
        process.stdout.close()
        store = FeatureStore(tmp_path, "encoder", (8, 32))
        assert len(store) >= 60
        keys = [key(number) for number in range(len(store))]
        assert store.missing(keys) == []
        expected = np.arange(len(store), dtype=np.float32) % 1000
        np.testing.assert_array_equal(store.rows(keys), np.broadcast_to(expected[:, None, None], (len(store), 8, 32)))
    with store.writing():
        assert list(store.folder.glob(".genser-*")) == [], "the files of an interrupted writer are removed"


def hold_lock(path, ready, done) -> None:
    with open_at(path).writing():
        ready.set()
        done.wait()


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path):
    filled(tmp_path, 2)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    writer = context.Process(target=hold_lock, args=(tmp_path, ready, done))
    writer.start()
    ready.wait()
    try:
        store = open_at(tmp_path)
        assert_rows(store, range(2))
        with pytest.raises(StoreError, match="Another program is adding"), store.writing():
            pass
        add(open_at(tmp_path, "another encoder"), 0)
    finally:
        done.set()
        writer.join()
    add(store, 2)
    assert_rows(open_at(tmp_path), range(3))


def test_a_reader_sees_what_a_writer_adds_after_a_refresh(tmp_path):
    writer, reader = open_at(tmp_path), open_at(tmp_path)
    add(writer, 0, 1)
    assert len(reader) == 0
    reader.refresh()
    assert_rows(reader, range(2))
    add(reader, 2)
    writer.refresh()
    assert_rows(writer, range(3))


def test_rows_are_added_while_writing_only(tmp_path):
    with pytest.raises(StoreError, match="writing"):
        open_at(tmp_path).add_many([key(0)], row(0)[None])


@pytest.mark.parametrize("other", [{"fingerprint": "another"}, {"settings": {"bf16": True}}])
def test_another_encoder_or_setting_has_a_subfolder_of_its_own(tmp_path, other):
    filled(tmp_path, 2)
    store = open_at(tmp_path, **other)
    assert len(store) == 0
    with store.writing():
        store.add_many([key(0)], row(9)[None])
    assert_rows(open_at(tmp_path), range(2))


@pytest.mark.parametrize(("keys", "shape"), [([key(0)], (1, 3, 2)), ([key(0), key(1)], (1, 2, 3))])
def test_rows_of_another_shape_are_refused(tmp_path, keys, shape):
    store = open_at(tmp_path)
    with pytest.raises(StoreError, match=r"holds \(2, 3\)"), store.writing():
        store.add_many(keys, np.zeros(shape))
    assert len(open_at(tmp_path)) == 0


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "store").write_text("x")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_at(tmp_path / "store")


def test_missing_rows_are_named(tmp_path):
    with pytest.raises(StoreError, match=f"1 of 2 rows are not in .* such as {key(9)}"):
        filled(tmp_path, 1).rows([key(0), key(9)])


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_full_disk_loses_nothing_that_was_written(tmp_path, monkeypatch, failing):
    store = filled(tmp_path, 2)
    calls, sync = [], os.fsync

    def refuse(handle):
        calls.append(handle)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        sync(handle)

    with store.writing():
        store.add_many([key(2)], row(2)[None])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(StoreError, match="No space left"):
                store.flush()
        assert_rows(store, range(3))
        assert held(open_at(tmp_path), 2) == [0, 1]
    assert_rows(open_at(tmp_path), range(3))


def test_rows_are_written_after_a_while_without_a_flush(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", 0.0)
    store = open_at(tmp_path)
    with store.writing():
        store.add_many([key(0)], row(0)[None])
        assert len(open_at(tmp_path)) == 1


def test_rows_are_written_when_they_fill_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "FLUSH_BYTES", 2 * row(0).nbytes)
    store = open_at(tmp_path)
    with store.writing():
        for number in range(5):
            store.add_many([key(number)], row(number)[None])
        assert len(open_at(tmp_path)) == 4
    assert sorted(len(np.load(path)) for path in store.folder.glob("rows-*.npy")) == [1, 2, 2]


def test_a_store_can_move(tmp_path):
    filled(tmp_path / "a", 2)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert_rows(open_at(tmp_path / "b"), range(2))


@given(a=st.tuples(*[st.text(max_size=3)] * 2), b=st.tuples(*[st.text(max_size=3)] * 2))
def test_keys_differ_if_anything_does(a, b):
    assert (feature_key(*a[:1], {}, a[1]) == feature_key(*b[:1], {}, b[1])) == (a == b)
    assert feature_key(a[0], {}, a[1]) != feature_key(a[0], {"x": 1}, a[1])
    assert feature_key(a[0], {}, a[1], 1, None) == feature_key(a[0], {}, a[1], 1.0)
    assert feature_key(a[0], {}, a[1], 1.0) != feature_key(a[0], {}, a[1], None, 1.0)


def test_hashes_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    audio, memory = tmp_path / "a.wav", tmp_path / "hashes.jsonl"
    audio.write_bytes(b"one")
    hasher = FileHasher(memory)
    first = hasher(audio)
    hasher.save()
    with memory.open("ab") as file:
        file.write(b'\n["torn", 1, 2, "ab')
    hasher(__file__)
    hasher.save()
    assert json.loads(memory.read_bytes().split(b"\n")[-1])[0] == str(Path(__file__).absolute())
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)
        remembered = FileHasher(memory)
        assert remembered(audio) == first
        assert remembered(__file__) == hasher(__file__)
    audio.write_bytes(b"two!")
    assert FileHasher(memory)(audio) != first
