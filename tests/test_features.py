"""The feature store loses nothing but what was torn, and features are computed once and belong to their encoder."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import genser.encoders
from genser.data import decode_ahead as decoding
from genser.data import store as store_module
from genser.data.features import FeatureStore, compute_features, extract_features, feature_key, open_store
from genser.data.hashing import FileHasher
from genser.data.shards import ALIGNMENT
from genser.data.utterance import Utterance
from genser.errors import ConfigError, StoreError

SHAPE = (2, 3)


def key(number: int) -> str:
    return feature_key("encoder", {}, f"sound {number}")


def row(number: int) -> np.ndarray:
    return np.arange(6, dtype=np.float32).reshape(SHAPE) + 10 * number


def open_at(path, fingerprint="encoder", **options) -> FeatureStore:
    return FeatureStore(path, fingerprint, SHAPE, **options)


def filled(path, *blocks: int) -> FeatureStore:
    """A store with blocks of so many rows, numbered from 0."""
    store = open_at(path)
    for size in blocks:
        for number in range(len(store), len(store) + size):
            store.add(key(number), row(number))
        store.flush()
    return store


def shard(store: FeatureStore) -> Path:
    (found,) = store.folder.glob("shard-*.rows")
    return found


def assert_rows(store: FeatureStore, numbers) -> None:
    numbers = list(numbers)
    np.testing.assert_array_equal(store.rows(map(key, numbers)), np.reshape([row(n) for n in numbers], (-1, *SHAPE)))


@settings(max_examples=30)
@given(
    actions=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["add", "flush", "open", "pickle"])), max_size=20),
    dtype=st.sampled_from(["float32", "float16"]),
)
def test_a_store_is_a_dictionary(tmp_path_factory, actions, dtype):
    path = tmp_path_factory.mktemp("store")
    store, known = open_at(path, dtype=dtype), {}
    for number, action in actions:
        if action == "add":
            store.add(key(number), row(number))
            known[number] = row(number)
        else:
            store.flush()
            store = {"flush": store, "open": open_at(path, dtype=dtype), "pickle": pickle.loads(pickle.dumps(store))}[
                action
            ]
        assert len(store) == len(known)
        assert [number for number in range(13) if key(number) in store] == sorted(known)
    assert_rows(store, [*known, *known])
    assert store.missing(map(key, [*range(13), *range(13)])) == [key(n) for n in range(13) if n not in known]
    assert store.damage == ()


@pytest.mark.parametrize("sizes", [(1,), (3,), (2, 3)])
def test_a_file_cut_at_any_byte_loses_only_what_was_cut(tmp_path, sizes):
    store = filled(tmp_path, *sizes)
    path = shard(store)
    content = path.read_bytes()
    rows_before = 0
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        cut = open_at(tmp_path)
        there = [number for number in range(sum(sizes)) if key(number) in cut]
        assert there == list(range(len(there)))
        assert len(there) >= rows_before, "a longer file holds no fewer rows"
        rows_before = len(there)
        assert_rows(cut, there)
        assert bool(cut.damage) or len(there) in (0, sizes[0], sum(sizes)), "what is lost is said"
    assert rows_before == sum(sizes)


def test_a_cut_store_goes_on(tmp_path):
    path = shard(filled(tmp_path, 2, 3))
    os.truncate(path, path.stat().st_size - ALIGNMENT - 1)
    store = open_at(tmp_path)
    lost = [number for number in range(5) if key(number) not in store]
    assert lost
    assert store.damage
    for number in lost:
        store.add(key(number), row(number))
    store.flush()
    assert_rows(open_at(tmp_path), range(5))


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 300, b"GNSRBLK1", b"GNSRBLK1" + b"\xff" * 8, os.urandom(1000)])
def test_rubbish_behind_the_last_block_is_left_out(tmp_path, tail):
    path = shard(filled(tmp_path, 2))
    with path.open("ab") as file:
        file.write(tail)
    store = open_at(tmp_path)
    assert_rows(store, range(2))
    assert len(store) == 2
    assert "torn block" in store.damage[0]


def test_numbers_that_a_power_cut_left_blank_are_found_at_opening(tmp_path):
    path = shard(filled(tmp_path, 3))
    content = bytearray(path.read_bytes())
    content[content.index(row(1).tobytes()) : len(content)] = bytes(len(content) - content.index(row(1).tobytes()))
    path.write_bytes(content)
    store = open_at(tmp_path)
    assert [number for number in range(3) if key(number) in store] == [0]
    assert "2 torn rows" in store.damage[0]


def test_verify_drops_what_a_disk_has_changed(tmp_path):
    path = shard(filled(tmp_path, 3, 2))
    content = bytearray(path.read_bytes())
    content[content.index(row(1).tobytes())] ^= 1
    path.write_bytes(content)
    store = open_at(tmp_path)
    assert len(store) == 5
    assert store.verify() == [key(1)]
    assert store.missing([key(1), key(2)]) == [key(1)]
    store.add(key(1), row(1))
    store.flush()
    again = open_at(tmp_path)
    assert_rows(again, range(5))


WRITER = """
import sys, numpy as np
from genser.data import store as module
from genser.data.features import FeatureStore, feature_key
module.FLUSH_BYTES = 4096
store = FeatureStore(sys.argv[1], "encoder", (8, 32))
for number in range(10**9):
    store.add(feature_key("encoder", {}, f"sound {number}"), np.full((8, 32), number % 1000))
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


def write_some(path, first: int, ready) -> None:
    store = open_at(path)
    ready.wait()
    for number in range(first, first + 200):
        store.add(key(number), row(number))
        if number % 7 == 0:
            store.flush()
    store.flush()


def test_two_processes_write_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(2)
    writers = [context.Process(target=write_some, args=(tmp_path, first, ready)) for first in (0, 100)]
    reader = open_at(tmp_path)
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(reader) == 0
    reader.refresh()
    assert_rows(reader, range(300))
    assert len(list(reader.folder.glob("shard-*.rows"))) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_never_writes_into_its_parents_shard(tmp_path):
    store = filled(tmp_path, 2)
    child = os.fork()
    if child == 0:
        store.add(key(7), row(7))
        store.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.add(key(8), row(8))
    store.flush()
    assert len(list(store.folder.glob("shard-*.rows"))) == 2
    assert_rows(open_at(tmp_path), [0, 1, 7, 8])


def test_threads_may_share_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "FLUSH_BYTES", 100)
    store = open_at(tmp_path)

    def write(first):
        for number in range(first, first + 50):
            store.add(key(number), row(number))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 25, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_rows(store, range(100))
    store.flush()
    assert_rows(open_at(tmp_path), range(100))


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "another"},
        {"dtype": "float16"},
        {"settings": {"bf16": True}},
    ],
)
def test_another_encoder_format_or_setting_has_a_store_of_its_own(tmp_path, other):
    filled(tmp_path, 2)
    store = open_at(tmp_path, **other)
    assert len(store) == 0
    store.add(key(0), row(9))
    store.flush()
    assert_rows(open_at(tmp_path), range(2))


def test_an_altered_header_is_refused(tmp_path):
    store = filled(tmp_path, 2)
    header = store.folder / "store.json"
    header.write_text(header.read_text().replace("encoder", "encoding"))
    with pytest.raises(StoreError, match="was altered"):
        open_at(tmp_path)


def test_a_shard_of_another_store_is_refused(tmp_path):
    mine, other = filled(tmp_path, 2), open_at(tmp_path, "another")
    other.add(key(0), row(0))
    other.flush()
    (mine.folder / "shard-zz.rows").write_bytes(shard(other).read_bytes())
    with pytest.raises(StoreError, match="of this encoder"):
        open_at(tmp_path)


def test_every_changed_byte_of_a_shards_head_is_refused(tmp_path):
    store = filled(tmp_path, 1)
    path = shard(store)
    content = path.read_bytes()
    for place in range(0, content.index(b"GNSRBLK1")):
        altered = bytearray(content)
        altered[place] ^= 0x40
        path.write_bytes(altered)
        with pytest.raises(StoreError):
            open_at(tmp_path)


@pytest.mark.parametrize(
    ("keys", "rows", "words"),
    [
        ([key(0)], np.zeros((1, 3, 2)), r"holds \(2, 3\)"),
        ([key(0), key(1)], np.zeros((1, 2, 3)), "holds"),
        ([key(0)], np.full((1, 2, 3), np.nan), "not finite"),
        ([key(0)], np.full((1, 2, 3), 7e4), "not finite as float16"),
        (["abc"], np.zeros((1, 2, 3)), "not a key"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, keys, rows, words):
    store = open_at(tmp_path, dtype="float16")
    with pytest.raises(StoreError, match=words):
        store.add_many(keys, rows)
    assert len(store) == 0


@pytest.mark.parametrize(("shape", "dtype"), [((), "float32"), ((0, 3), "float32"), ((2, 3), "int8")])
def test_impossible_stores(tmp_path, shape, dtype):
    with pytest.raises(StoreError):
        FeatureStore(tmp_path, "x", shape, dtype)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "store").write_text("x")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_at(tmp_path / "store")


def test_missing_rows_are_named(tmp_path):
    with pytest.raises(StoreError, match=f"1 of 2 rows are not in .* such as {key(9)}"):
        filled(tmp_path, 1).rows([key(0), key(9)])


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    store = filled(tmp_path, 2)

    def refuse(_):
        raise OSError(28, "No space left on device")

    store.add(key(2), row(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StoreError, match="No space left"):
            store.flush()
    assert open_at(tmp_path).damage == ()
    store.flush()
    assert_rows(open_at(tmp_path), range(3))


def test_rows_are_written_after_a_while_without_being_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", 0.0)
    store = open_at(tmp_path)
    store.add(key(0), row(0))
    assert len(open_at(tmp_path)) == 1


def test_shards_are_closed_at_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 600)
    store = filled(tmp_path, *[1] * 6)
    assert len(list(store.folder.glob("shard-*.rows"))) > 1
    assert_rows(open_at(tmp_path), range(6))


@given(a=st.tuples(*[st.text(max_size=3)] * 2), b=st.tuples(*[st.text(max_size=3)] * 2))
def test_keys_differ_where_anything_does(a, b):
    assert (feature_key(*a[:1], {}, a[1]) == feature_key(*b[:1], {}, b[1])) == (a == b)
    assert feature_key(a[0], {}, a[1]) != feature_key(a[0], {"x": 1}, a[1])
    assert feature_key(a[0], {}, a[1], 1, None) == feature_key(a[0], {}, a[1], 1.0)
    assert feature_key(a[0], {}, a[1], 1.0) != feature_key(a[0], {}, a[1], None, 1.0)


class FakeEncoder:
    """What a store asks of an encoder."""

    name, fingerprint, states, dim, device = "fake", "fake-1", 2, 3, "cpu"


class Encode:
    """Stands for genser.encoders.encode: mean and length of every clip; counts, and fails where it is told."""

    def __init__(self, refuse=(), infinite=()):
        self.refuse, self.infinite = refuse, infinite
        self.clips = 0

    def __call__(self, encoder, waveforms, *, batch_seconds, bf16):
        if any(len(waveform) in self.refuse for waveform in waveforms):
            raise RuntimeError("a kernel failed")
        self.clips += len(waveforms)
        rows = np.stack([np.full((encoder.states, encoder.dim), len(waveform)) for waveform in waveforms])
        return np.where(np.isin(rows, self.infinite), np.inf, rows).astype(np.float32)


@pytest.fixture
def encode(monkeypatch):
    fake = Encode()
    monkeypatch.setitem(vars(genser.encoders), "encode", fake)  # without loading torch for the real one
    return fake


def clips(folder: Path, count: int) -> list[Utterance]:
    """Noise of 1600, 1700, … samples."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(1600 + 100 * number), 16_000)
        items.append(Utterance(str(path)))
    return items


def lengths(features: np.ndarray) -> list[float]:
    return features[:, 0, 0].tolist()


def test_features_are_aligned_computed_once_and_bad_clips_are_named(tmp_path, encode):
    items = clips(tmp_path, 6)
    (tmp_path / "bad.wav").write_text("no sound")
    items[2:2] = [Utterance(str(tmp_path / "none.wav")), Utterance(str(tmp_path / "bad.wav"))]
    items += [items[0], Utterance(items[-1].path, start=0.0, end=0.11), Utterance("/nul\0")]
    store = open_store(tmp_path / "store", FakeEncoder())
    features, problems = extract_features(items, FakeEncoder(), store, batch_seconds=0.05)
    assert lengths(np.delete(features, [2, 3, 10], axis=0)) == [1600, 1700, 1800, 1900, 2000, 2100, 1600, 1760]
    assert np.isnan(features[[2, 3, 10]]).all()
    assert [problem.row for problem in problems] == [2, 3, 10]
    assert "No such file" in problems[0].reason
    assert "bad.wav" in str(problems[1])
    assert encode.clips == 7
    again, problems_again = extract_features(items, FakeEncoder(), open_store(tmp_path / "store", FakeEncoder()))
    np.testing.assert_array_equal(again, features)
    assert problems_again == problems
    assert encode.clips == 7


def test_processes_decode_what_threads_decode(tmp_path, encode, monkeypatch):
    monkeypatch.setattr(decoding, "decoders", lambda: decoding.MANY_CORES)
    items = clips(tmp_path, 20)
    (tmp_path / "bad.wav").write_text("no sound")
    items[2:2] = [Utterance(str(tmp_path / "bad.wav"))]
    stores = [open_store(tmp_path / name, FakeEncoder()) for name in ("threads", "processes")]
    with decoding.decoding_pool() as pool:
        assert isinstance(pool, ProcessPoolExecutor)
        done = compute_features(items, FakeEncoder(), stores[1], pool=pool)
    expected = compute_features(items, FakeEncoder(), stores[0])
    assert [problem.row for problem in done.problems] == [2]
    assert [str(problem) for problem in done.problems] == [str(problem) for problem in expected.problems]
    keys = [key for key in done.keys if key]
    np.testing.assert_array_equal(stores[1].rows(keys), stores[0].rows(key for key in expected.keys if key))


def test_features_are_of_bfloat16_on_a_gpu_unless_said_otherwise(tmp_path, encode):
    class OnGpu(FakeEncoder):
        device = "cuda:0"

    assert [open_store(tmp_path, kind()).settings["bf16"] for kind in (FakeEncoder, OnGpu)] == [False, True]
    assert open_store(tmp_path, OnGpu(), bf16=False).settings["bf16"] is False


def test_a_changed_sound_is_computed_anew(tmp_path, encode):
    (item,) = clips(tmp_path, 1)
    store = open_store(tmp_path / "store", FakeEncoder())
    extract_features([item], FakeEncoder(), store)
    soundfile.write(item.path, np.full(4000, 0.1), 16_000)
    features, _ = extract_features([item], FakeEncoder(), store)
    assert lengths(features) == [4000]


def test_a_clip_that_breaks_the_encoder_takes_no_other_with_it(tmp_path, encode):
    encode.refuse, encode.infinite = (1800,), (1900,)
    items = clips(tmp_path, 5)
    extraction = compute_features(items, FakeEncoder(), open_store(tmp_path / "store", FakeEncoder()))
    assert [key is None for key in extraction.keys] == [False, False, True, True, False]
    assert [problem.reason for problem in extraction.problems] == [
        "RuntimeError: a kernel failed",
        "the encoder gave numbers that are not finite as float32",
    ]
    assert extraction.computed == 3


def test_numbers_too_large_for_float16_are_a_problem_of_their_clip(tmp_path, encode):
    items = clips(tmp_path, 1)
    soundfile.write(tmp_path / "long.wav", np.full(70_000, 0.1), 16_000)
    store = open_store(tmp_path / "store", FakeEncoder(), dtype="float16")
    extraction = compute_features([*items, Utterance(str(tmp_path / "long.wav"))], FakeEncoder(), store)
    assert [problem.row for problem in extraction.problems] == [1]


def test_progress_ends_at_all_and_never_falls(tmp_path, encode):
    (tmp_path / "bad.wav").write_text("no sound")
    seen = []
    items = [*clips(tmp_path, 9), Utterance(str(tmp_path / "bad.wav"))]
    store = open_store(tmp_path / "store", FakeEncoder())
    compute_features(items, FakeEncoder(), store, batch_seconds=0.05, progress=lambda *step: seen.append(step))
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (10, 10)


def test_what_was_computed_before_an_interruption_is_kept(tmp_path, encode, monkeypatch):
    items = clips(tmp_path, 9)
    store = open_store(tmp_path / "store", FakeEncoder())

    def interrupt(done, total):
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute_features(items, FakeEncoder(), store, batch_seconds=0.05, progress=interrupt)
    before = encode.clips
    assert 4 <= before < 9
    extraction = compute_features(items, FakeEncoder(), open_store(tmp_path / "store", FakeEncoder()))
    assert extraction.computed == 9 - before


def test_bf16_features_are_kept_apart(tmp_path, encode):
    items = clips(tmp_path, 2)
    for bf16 in (False, True):
        compute_features(items, FakeEncoder(), open_store(tmp_path / "store", FakeEncoder(), bf16=bf16))
    assert encode.clips == 4


def test_a_batch_of_no_sound_is_refused(tmp_path, encode):
    with pytest.raises(ConfigError, match="more than 0"):
        compute_features([], FakeEncoder(), open_store(tmp_path, FakeEncoder()), batch_seconds=0)


def test_hashes_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    sound, memory = tmp_path / "a.wav", tmp_path / "hashes.jsonl"
    sound.write_bytes(b"one")
    hasher = FileHasher(memory)
    first = hasher(sound)
    hasher.save()
    with memory.open("ab") as file:
        file.write(b'\n["torn", 1, 2, "ab')
    hasher(__file__)
    hasher.save()
    assert json.loads(memory.read_bytes().split(b"\n")[-1])[0] == str(Path(__file__).absolute())
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)
        remembered = FileHasher(memory)
        assert remembered(sound) == first
        assert remembered(__file__) == hasher(__file__)
    sound.write_bytes(b"two!")
    assert FileHasher(memory)(sound) != first
