"""The feature store: readable with NumPy alone, many writers and readers, nothing lost but unwritten rows."""

import hashlib
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

from genser.cli import app
from genser.data import store as store_module
from genser.data.file_hasher import FileHasher
from genser.data.store import ABANDONED, FeatureStore, feature_key, leftovers
from genser.data.store_upkeep import check, merge_stores, stores
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
        store.add_many(
            [key(number) for number in numbers], np.reshape([row(number) for number in numbers], (-1, *SHAPE))
        )


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


READER = """
import json, pathlib, sys
import numpy as np

assert not any(name.startswith("genser") for name in sys.modules)
(folder,) = (path.parent for path in pathlib.Path(sys.argv[1]).glob("*/settings.json"))
print((folder / "settings.json").read_text())
for path in folder.glob("keys-*.npy"):
    keys = np.load(path)
    rows = np.load(path.with_name(path.name.replace("keys", "rows")), mmap_mode="r")
    for key, row in zip(keys, rows):
        print(bytes(key).hex(), json.dumps(row.tolist()))
"""


def test_another_program_reads_a_store_with_numpy_alone(tmp_path):
    store = open_at(tmp_path, settings={"bf16": False})
    add(store, 0, 1)
    add(store, 2)
    output = subprocess.run([sys.executable, "-c", READER, tmp_path], capture_output=True, text=True, check=True).stdout
    about, _, lines = output.rpartition("}\n")
    assert json.loads(about + "}") == {
        "format": 3,
        "encoder": "encoder",
        "settings": {"bf16": False},
        "shape": [2, 3],
        "dtype": "float32",
    }
    found = dict(line.split(" ", 1) for line in lines.splitlines())
    assert {name: json.loads(value) for name, value in found.items()} == {key(n): row(n).tolist() for n in range(3)}


@given(data=st.data())
def test_a_file_cut_at_any_byte_is_refused_and_its_rows_come_back_once_it_is_deleted(tmp_path_factory, data):
    store = filled(tmp_path_factory.mktemp("store"), 2, 2)
    path = data.draw(st.sampled_from(sorted(store.folder.glob("*.npy"))))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(StoreError, match=f"{path.name} is damaged.*Delete this file"):
        assert_rows(open_at(store.path), range(4))
    (problem,) = check(store)
    assert path.name in problem
    path.unlink()
    again = open_at(store.path)
    assert len(again) == 2
    add(again, *range(4))
    assert_rows(open_at(store.path), range(4))


@pytest.mark.parametrize("array", [np.zeros((2, 2, 4), np.float32), np.zeros((2, *SHAPE)), np.float32(1)])
def test_rows_of_another_kind_are_refused(tmp_path, array):
    (path,) = filled(tmp_path, 2).folder.glob("rows-*.npy")
    np.save(path, array)
    with pytest.raises(StoreError, match=r"is damaged: .*Delete this file"):
        assert_rows(open_at(tmp_path), range(2))


def test_rows_without_keys_and_keys_without_rows_do_not_count_and_are_removed_after_a_day(tmp_path):
    store = filled(tmp_path, 1, 1, 1)
    keys, rows = sorted(store.folder.glob("keys-*"))[0], sorted(store.folder.glob("rows-*"))[1]
    keys.unlink()
    rows.unlink()
    again = open_at(tmp_path)
    assert len(again) == 1
    lone = {keys.with_name(keys.name.replace("keys", "rows")), rows.with_name(rows.name.replace("rows", "keys"))}
    add(again)
    assert all(path.exists() for path in lone), "another program may be about to write the other file"
    for path in lone:
        os.utime(path, (0, time.time() - ABANDONED - 60))
    add(again)
    assert not any(path.exists() for path in lone)
    assert len(open_at(tmp_path)) == 1


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
    for path in store.folder.glob(".genser-*"):
        os.utime(path, (0, time.time() - ABANDONED - 60))
    with store.writing():
        assert list(store.folder.glob(".genser-*")) == [], "the files of an interrupted writer are removed"


def add_slowly(path, numbers) -> None:
    store = open_at(path)
    with store.writing():
        for number in numbers:
            store.add_many([key(number)], row(number)[None])
            store.flush()


def test_programs_that_add_rows_at_the_same_time_lose_none(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_slowly, args=(tmp_path, range(n, 40 + n))) for n in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = open_at(tmp_path)
    assert len(store) == 60
    assert_rows(store, range(60))
    assert check(store) == []


def test_rows_that_another_program_has_added_since_are_not_written_again(tmp_path):
    one, other = open_at(tmp_path), open_at(tmp_path)
    with one.writing(), other.writing():
        one.add_many([key(0)], row(0)[None])
        other.add_many([key(0), key(1)], np.stack([row(0), row(1)]))
        one.flush()
        assert len(one) == 1
    assert sum(len(np.load(path)) for path in one.folder.glob("keys-*.npy")) == 2


def test_a_store_in_the_previous_format_is_moved_to_the_present_one(tmp_path):
    """Format 2 had numbered shards and an index of JSON lines, of which the last of a key counts."""
    about = {"dtype": "float32", "encoder": "encoder", "format": 2, "settings": {}, "shape": list(SHAPE)}
    content = json.dumps(about, sort_keys=True, indent=1).encode()
    old = tmp_path / hashlib.sha256(content).hexdigest()[:24]
    old.mkdir()
    (old / "settings.json").write_bytes(content)
    np.save(old / "rows-000001.npy", np.stack([row(7), row(1)]))
    np.save(old / "rows-000002.npy", row(0)[None])
    lines = [{"key": key(n), "shard": f"rows-{shard:06d}.npy", "row": place} for n, shard, place in MOVED]
    (old / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"key": "torn')
    store = open_at(tmp_path)
    assert len(store) == 2
    assert_rows(store, range(2))
    assert not old.exists()
    assert_rows(open_at(tmp_path), range(2))


MOVED = [(0, 1, 0), (1, 1, 1), (0, 2, 0), (5, 3, 0)]
"""Number of the row, its shard and its place: row 0 was written again, and shard 3 was deleted."""


def test_merged_stores_have_the_rows_of_both(tmp_path):
    add(open_at(tmp_path / "a"), 0, 1)
    add(open_at(tmp_path / "b"), 1, 2)
    add(open_at(tmp_path / "b", "another encoder"), 5)
    assert merge_stores(tmp_path / "a", tmp_path / "b") == 2
    assert merge_stores(tmp_path / "a", tmp_path / "b") == 0
    first, second = sorted(stores(tmp_path / "a"), key=len)
    assert second.about == open_at(tmp_path / "a").about
    assert_rows(second, range(3))
    assert_rows(first, [5])
    assert len(open_at(tmp_path / "b")) == 2
    assert all(check(store) == [] for store in (first, second))


def test_a_changed_byte_is_found_and_is_not_merged(tmp_path):
    store = filled(tmp_path / "a", 2, 2)
    path = sorted(store.folder.glob("rows-*"))[1]
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    (problem,) = check(open_at(tmp_path / "a"))
    assert path.name.removeprefix("rows-") in problem
    with pytest.raises(StoreError, match="checksum"):
        merge_stores(tmp_path / "b", tmp_path / "a")


def test_the_verb_merges_checks_and_counts(tmp_path, capsys):
    add(open_at(tmp_path / "a"), 0, 1)
    filled(tmp_path / "b", 2, 2)
    assert app(["store", str(tmp_path / "a"), "--merge", str(tmp_path / "b")]) == 0
    output = capsys.readouterr()
    assert "4 rows of 2 x 3 in 2 shards" in output.out
    assert output.err == f"2 rows from {tmp_path / 'b'} are new.\n"
    (path, *_) = open_at(tmp_path / "a").folder.glob("keys-*")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert app(["store", str(tmp_path / "a")]) == 1
    assert "does not have the checksum" in capsys.readouterr().err
    for words in (["nowhere"], ["a", "--merge", "nowhere"]):
        with pytest.raises(StoreError, match="nowhere is not a feature store"):
            app(["store", *(str(tmp_path / word) if word[0] != "-" else word for word in words)])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 4, "encoder": "e", "settings": {}, "shape": [1]}'])
def test_a_subfolder_with_other_settings_is_named(tmp_path, content):
    filled(tmp_path, 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "settings.json").write_text(content)
    with pytest.raises(StoreError, match=r"other.settings\.json"):
        stores(tmp_path)


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
    audio, memory = tmp_path / 'a", "ä\\.wav', tmp_path / "hashes.jsonl"  # a name that looks like JSON
    audio.write_bytes(b"one")
    hasher = FileHasher(memory, [])
    first = hasher(audio)
    hasher.save()
    with memory.open("ab") as file:
        file.write(b'\n["torn", 1, 2, "ab')
    hasher(__file__)
    hasher.save()
    assert json.loads(memory.read_bytes().split(b"\n")[-1])[0] == str(Path(__file__).absolute())
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)
        remembered = FileHasher(memory, [str(audio), __file__])
        assert remembered(audio) == first
        assert remembered(__file__) == hasher(__file__)
    audio.write_bytes(b"two!")
    assert FileHasher(memory, [audio])(audio) != first


@pytest.mark.parametrize("looks", [0, 1])
def test_an_unfinished_file_may_vanish_while_it_is_looked_at(tmp_path, monkeypatch, looks):
    """Another program renames it, after this one has looked at it so many times."""
    (tmp_path / ".genser-0.part").touch()
    seen, stat = [], Path.stat

    def vanishing(path, **options):
        if path.name == ".genser-0.part":
            seen.append(path)
            if len(seen) > looks:
                raise FileNotFoundError(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    assert leftovers(tmp_path) == []
    assert seen
