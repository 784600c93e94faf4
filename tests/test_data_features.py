"""Features are computed once per clip and encoder, aligned with the utterances, and survive bad clips and kills."""

from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import soundfile

import genser.encoders
from genser.data import features as module
from genser.data.features import compute_features, decoders, decoding_pool, extract_features, open_store
from genser.data.utterance import Utterance
from genser.errors import ConfigError, GenserError


class FakeEncoder:
    """The attributes of an encoder that a store uses."""

    name, fingerprint, states, dim, device = "fake", "fake-1", 2, 3, "cpu"


class Encode:
    """Replaces genser.encoders.encode: gives the length of every clip, counts the clips, fails for chosen lengths."""

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
    monkeypatch.setattr(module, "decoders", lambda: module.MANY_CORES)
    items = clips(tmp_path, 20)
    (tmp_path / "bad.wav").write_text("no sound")
    items[2:2] = [Utterance(str(tmp_path / "bad.wav"))]
    stores = [open_store(tmp_path / name, FakeEncoder()) for name in ("threads", "processes")]
    with decoding_pool() as pool:
        assert isinstance(pool, ProcessPoolExecutor)
        done = compute_features(items, FakeEncoder(), stores[1], pool=pool)
    expected = compute_features(items, FakeEncoder(), stores[0])
    assert [problem.row for problem in done.problems] == [2]
    assert [str(problem) for problem in done.problems] == [str(problem) for problem in expected.problems]
    keys = [key for key in done.keys if key]
    np.testing.assert_array_equal(stores[1].rows(keys), stores[0].rows(key for key in expected.keys if key))


@pytest.mark.parametrize("at", ["result", "submit"])
def test_a_killed_process_stops_the_run_and_is_the_fault_of_no_clip(tmp_path, encode, monkeypatch, at):
    class Broken(ThreadPoolExecutor):
        def __init__(self, workers, **_):
            super().__init__(workers)

        def submit(self, *_):
            failed = Future()
            failed.set_exception(BrokenProcessPool("A child process terminated abruptly."))
            return failed if at == "result" else failed.result()

    monkeypatch.setattr(module, "decoders", lambda: module.MANY_CORES)
    monkeypatch.setattr(module, "ProcessPoolExecutor", Broken)
    store = open_store(tmp_path / "store", FakeEncoder())
    with pytest.raises(GenserError, match="A process that decodes was killed"), decoding_pool() as pool:
        compute_features(clips(tmp_path, 2), FakeEncoder(), store, pool=pool)


def test_features_are_computed_in_bfloat16_on_a_gpu_by_default(tmp_path, encode):
    class OnGpu(FakeEncoder):
        device = "cuda:0"

    assert [open_store(tmp_path, kind()).settings["bf16"] for kind in (FakeEncoder, OnGpu)] == [False, True]
    assert open_store(tmp_path, OnGpu(), bf16=False).settings["bf16"] is False


def test_a_changed_file_is_encoded_again(tmp_path, encode):
    (item,) = clips(tmp_path, 1)
    store = open_store(tmp_path / "store", FakeEncoder())
    extract_features([item], FakeEncoder(), store)
    soundfile.write(item.path, np.full(4000, 0.1), 16_000)
    features, _ = extract_features([item], FakeEncoder(), store)
    assert lengths(features) == [4000]


def test_a_clip_that_breaks_the_encoder_does_not_affect_others(tmp_path, encode):
    encode.refuse, encode.infinite = (1800,), (1900,)
    items = clips(tmp_path, 5)
    extraction = compute_features(items, FakeEncoder(), open_store(tmp_path / "store", FakeEncoder()))
    assert [key is None for key in extraction.keys] == [False, False, True, True, False]
    assert [problem.reason for problem in extraction.problems] == [
        "RuntimeError: a kernel failed",
        "The encoder gave numbers that are not finite.",
    ]
    assert extraction.computed == 3


def test_progress_ends_at_all_and_never_falls(tmp_path, encode):
    (tmp_path / "bad.wav").write_text("no sound")
    seen = []
    items = [*clips(tmp_path, 9), Utterance(str(tmp_path / "bad.wav"))]
    store = open_store(tmp_path / "store", FakeEncoder())
    compute_features(items, FakeEncoder(), store, batch_seconds=0.05, progress=lambda *step: seen.append(step))
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (10, 10)


def test_rows_computed_before_an_interruption_are_kept(tmp_path, encode, monkeypatch):
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


def test_a_batch_of_0_seconds_is_refused(tmp_path, encode):
    with pytest.raises(ConfigError, match="batch_seconds must be a number above 0"):
        compute_features([], FakeEncoder(), open_store(tmp_path, FakeEncoder()), batch_seconds=0)


def test_processes_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(module, "usable_cores", lambda: 12)
    assert decoders() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert decoders() == 3
    for other in ("", "0", "four"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", other)
        assert decoders() == 12
