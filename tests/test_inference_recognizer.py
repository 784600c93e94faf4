import gc
import io
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import wave
import weakref
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import toy_folder
from voices import babble

import genser
from genser.audio import SAMPLE_RATE, AudioLimits, load_audio
from genser.encoders.batches import batches_of, padded
from genser.errors import AudioError, ConfigError, MissingExtraError, ModelError
from genser.export.check import BATCH_DIFFERENCE
from genser.inference import decode_ahead
from genser.inference.backend import ModelOutput
from genser.inference.decode_ahead import GROUP_CLIPS, Decoder
from genser.inference.load import found_device
from genser.inference.onnx_backend import OnnxBackend
from genser.inference.onnx_file import sealed
from genser.inference.prediction import NO_SPEECH, Prediction
from genser.inference.recognizer import Recognizer
from genser.inference.torch_backend import TorchBackend, load_backend
from genser.transport import Sampler
from genser.transport.codes import probabilities


class LevelBackend:
    """Scores a window by its mean level: class "high" has it as its probability; P(speech) is twice the level."""

    labels = ("low", "high")

    def __init__(self, threshold=0.01):
        self.metadata = {"speech_threshold": threshold}

    def outputs(self, windows, batch_samples, shift=None):
        for batch in batches_of([len(window) for window in windows], batch_samples or 60 * SAMPLE_RATE):
            waveforms, lengths = padded([windows[index] for index in batch])
            high = np.abs(waveforms).sum(1) / lengths
            scores = np.column_stack([1 - high, high])
            yield batch, ModelOutput(scores, scores[:, None], scores[:, None], np.clip(2 * high, 0, 1))


def level(value, seconds):
    """A tone of 8 kHz, whose samples are ± the value."""
    return (value * (-1.0) ** np.arange(round(seconds * SAMPLE_RATE))).astype(np.float32)


def sound(*lengths, seed=0):
    random = np.random.default_rng(seed)
    return [(0.1 * random.standard_normal(length)).astype(np.float32) for length in lengths]


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(1, 300))
def test_batches_hold_everything_once_within_their_size(lengths, size):
    batches = batches_of(lengths, size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= size for batch in batches)


def test_windows_of_a_long_clip_are_averaged_by_their_expected_speech():
    recognizer = Recognizer(LevelBackend())
    waveform = np.concatenate([level(0.2, 30), level(0.8, 40)])  # P(speech) 0.4 and 1
    expected = (0.4 * 0.2 * 30 + 1.0 * 0.8 * 40) / (0.4 * 30 + 1.0 * 40)
    assert recognizer.scores([waveform])[0, 1] == pytest.approx(expected, abs=1e-5)
    prediction = recognizer.predict((waveform, SAMPLE_RATE))
    assert prediction.scores["high"] == pytest.approx(expected, abs=1e-5)
    assert prediction.speech == 1.0
    assert recognizer.trajectory(waveform)[-1, 1] == pytest.approx(expected, abs=1e-5)


def test_pauses_of_a_long_clip_change_neither_label_nor_scores():
    recognizer = Recognizer(LevelBackend(threshold=0.5))
    speech = level(0.7, 20)
    for sound in (speech, np.concatenate([level(0.0, 60), speech, level(0.1, 40)])):
        prediction = recognizer.predict((sound, SAMPLE_RATE))
        assert (prediction.label, prediction.speech) == ("high", 1.0)
        assert prediction.scores["high"] == pytest.approx(0.7, abs=1e-6)
    silence = recognizer.predict((level(0.1, 120), SAMPLE_RATE))
    assert (silence.label, silence.speech, silence.score) == (NO_SPEECH, pytest.approx(0.2), pytest.approx(0.8))


@given(st.floats(0.02, 0.98), st.floats(0.01, 0.49), st.sampled_from([1, 40]))
@settings(max_examples=25)
def test_the_threshold_of_the_model_decides_what_is_speech(threshold, mean, seconds):
    recognizer = Recognizer(LevelBackend(threshold))
    waveform = level(mean, seconds)
    prediction = recognizer.predict((waveform, SAMPLE_RATE))
    assert (prediction.label != NO_SPEECH) == (prediction.speech >= threshold)
    assert recognizer.gated_scores([load_audio((waveform, SAMPLE_RATE))])[1].tolist() == [
        prediction.speech >= threshold
    ]


def test_the_order_is_kept_and_a_bad_input_does_not_affect_the_others(tmp_path):
    values = np.random.default_rng(0).uniform(0.1, 0.9, 300)
    sources = [(level(value, 0.1 + value), SAMPLE_RATE) for value in values]
    (tmp_path / "bad.wav").write_bytes(b"RIFF no sound")
    sources[7], sources[299] = tmp_path / "bad.wav", b""
    answers = list(Recognizer(LevelBackend()).predict_many(iter(sources), batch_seconds=5))
    assert [index for index, answer in enumerate(answers) if answer.error] == [7, 299]
    assert answers[7].path == str(tmp_path / "bad.wav")
    assert (answers[7].label, answers[7].scores, answers[7].duration) == (None, {}, None)
    for value, answer in zip(values, answers, strict=True):
        assert answer.error or answer.scores["high"] == pytest.approx(value, abs=1e-4)


def test_damage_behind_the_beginning_of_a_long_clip_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr(decode_ahead, "BUFFER_SECONDS", 1.0)
    long = np.concatenate([level(0.5, 70), np.full(5, np.nan, np.float32)])
    good = (level(0.5, 1), SAMPLE_RATE)
    answers = list(Recognizer(LevelBackend()).predict_many([good, (long, SAMPLE_RATE), good]))
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert "NaN" in answers[1].error


def test_the_size_of_the_buffer_does_not_change_scores(monkeypatch):
    sources = [(waveform, SAMPLE_RATE) for waveform in (level(0.3, 100), level(0.6, 1), level(0.9, 65))]
    whole = [answer.scores["high"] for answer in Recognizer(LevelBackend()).predict_many(sources)]
    monkeypatch.setattr(decode_ahead, "BUFFER_SECONDS", 0.0)
    rest = [answer.scores["high"] for answer in Recognizer(LevelBackend()).predict_many(sources)]
    np.testing.assert_allclose(whole, rest, atol=1e-6)
    np.testing.assert_allclose(whole, [0.3, 0.6, 0.9], atol=1e-4)


@pytest.mark.parametrize("source", ["speech.wav", b"RIFF", Path("speech.wav"), (level(0.5, 1), SAMPLE_RATE)])
@pytest.mark.parametrize("method", ["predict_many", "adapted", "learn_profile"])
def test_a_single_source_in_place_of_a_list_is_refused(source, method):
    with pytest.raises(ConfigError, match="takes a list of sources"):
        getattr(Recognizer(LevelBackend()), method)(source)


def test_any_error_of_a_decoder_is_the_error_of_its_clip(monkeypatch):
    def fails(source, **_):
        raise ZeroDivisionError("a bug in a decoder")

    monkeypatch.setattr(decode_ahead, "stream_audio", fails)
    assert "a bug in a decoder" in next(Recognizer(LevelBackend()).predict_many([b"x"])).error
    monkeypatch.setattr(decode_ahead, "stream_audio", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        next(Recognizer(LevelBackend()).predict_many([b"x"]))


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("channel", ["mix", 2, "each"])
def test_processes_decode_what_threads_decode(processes, channel, tmp_path):
    names = []
    for number, seconds in enumerate([0.5, 3.0, 35.0, 30.0, 1.0, 2.0, 0.01, 1.5, 2.5]):
        names.append(tmp_path / f"{number}.wav")
        stereo = np.column_stack([level(0.1, seconds), level(0.01 * number, seconds)])
        soundfile.write(names[-1], stereo, SAMPLE_RATE)
    (tmp_path / "bad.wav").write_text("no sound")
    names[3:3] = [tmp_path / "bad.wav", tmp_path / "missing.wav"]
    sources = [*map(str, names), names[0].read_bytes(), names[1]]
    recognizer = Recognizer(LevelBackend())
    wanted = list(recognizer.predict_many(sources, channel=channel))
    found = list(recognizer.predict_many(sources, channel=channel, pool=processes))
    assert found == wanted
    assert sum(one.error is not None for one in wanted) >= 2


def test_a_killed_process_costs_no_clip(tmp_path):
    soundfile.write(tmp_path / "a.wav", level(0.3, 1), SAMPLE_RATE)
    recognizer, sources = Recognizer(LevelBackend()), [tmp_path / "a.wav"] * 9
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os._exit, 1)
        found = list(recognizer.predict_many(sources, pool=pool))
    assert found == list(recognizer.predict_many(sources))


def test_sources_are_read_as_needed():
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield level(0.5, 0.1), SAMPLE_RATE

    answers = Recognizer(LevelBackend()).predict_many(endless())
    for _ in range(3 * GROUP_CLIPS):
        next(answers)
    assert taken <= 6 * GROUP_CLIPS


def test_no_more_is_decoded_ahead_than_the_buffer_holds(monkeypatch):
    monkeypatch.setattr(decode_ahead, "BUFFER_SECONDS", 20.0)
    decoder = Decoder(workers=3, group_seconds=10.0)
    for group in decoder.groups((level(0.5, 4), SAMPLE_RATE) for _ in range(100)):
        time.sleep(0.001)
        assert decoder._buffered <= (20 + 3 * 4) * SAMPLE_RATE
        assert group
    assert decoder._buffered == 0


def test_an_abandoned_iterator_leaves_no_thread():
    before = set(threading.enumerate())
    answers = Recognizer(LevelBackend()).predict_many((level(0.5, 0.1), SAMPLE_RATE) for _ in range(1000))
    next(answers)
    started = set(threading.enumerate()) - before
    assert started
    del answers
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()


def test_an_abandoned_iterator_waits_for_no_thread():
    """The garbage collector may close it while `threading` holds a lock that the end of a thread needs."""
    release = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size=-1):
            release.wait(30)
            return super().read(size)

    sources = [(level(0.7, 1), SAMPLE_RATE), Slow(b"no audio")]
    answers = [Recognizer(LevelBackend()).predict_many(sources, batch_seconds=0.1, workers=2)]
    assert next(answers[0]).label == "high"
    closing = threading.Thread(target=answers.clear)
    closing.start()
    closing.join(20)
    is_waiting = closing.is_alive()
    release.set()
    assert not is_waiting


def test_a_model_that_cannot_be_loaded_keeps_nothing_of_its_callers(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(sealed(b"no graph", {"labels": ["a", "b"]}))
    backend = OnnxBackend(path, 1)
    messages = []
    for _ in range(3):
        with pytest.raises(ModelError) as caught:
            list(backend.outputs([level(0.5, 1)]))
        messages.append(str(caught.value))
        del caught
    assert set(messages) == {messages[0]}
    kept = weakref.ref(backend)
    gc.disable()
    try:
        del backend
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("options", [{"batch_seconds": 0}, {"batch_seconds": float("nan")}, {"workers": 0}])
def test_arguments_out_of_range_are_refused_at_once(options):
    with pytest.raises(ConfigError):
        Recognizer(LevelBackend()).predict_many([], **options)


def test_a_clip_without_speech_is_labelled_so():
    recognizer = Recognizer(LevelBackend())
    silent, loud = recognizer.predict_many([(level(0.0, 1), SAMPLE_RATE), (level(0.7, 1), SAMPLE_RATE)])
    assert (silent.label, silent.speech, silent.error) == (NO_SPEECH, 0.0, None)
    assert sum(silent.scores.values()) == pytest.approx(1)
    assert (loud.label, loud.speech, loud.score) == ("high", 1.0, pytest.approx(0.7))


def test_scores_that_are_not_finite_are_an_error():
    class Nonsense(LevelBackend):
        def outputs(self, windows, batch_samples, shift=None):
            for batch, output in super().outputs(windows, batch_samples, shift):
                yield batch, ModelOutput(output.scores * np.nan, output.trajectory, output.states, None)

    (answer,) = Recognizer(Nonsense()).predict_many([(level(0.5, 1), SAMPLE_RATE)])
    assert (answer.label, answer.scores) == (None, {})
    assert "not finite" in answer.error


@pytest.mark.parametrize(
    "waveform",
    [np.zeros((2, 100), np.float32), np.zeros(0, np.float32), np.array([0.0, np.nan]), np.zeros(100, np.int16)],
)
def test_arrays_that_are_no_waveform_are_refused(waveform):
    with pytest.raises(AudioError, match="Waveform 0"):
        Recognizer(LevelBackend()).scores([waveform])


def test_no_waveforms_give_no_rows():
    assert Recognizer(LevelBackend()).scores([]).shape == (0, 2)


def test_a_prediction_as_a_dictionary():
    answer = Prediction("a.wav", "high", {"low": 0.25, "high": 0.75}, duration=1.0)
    assert answer.score == 0.75
    assert answer.to_dict() == {
        "path": "a.wav",
        "channel": None,
        "label": "high",
        "score": 0.75,
        "scores": {"low": 0.25, "high": 0.75},
        "error": None,
        "duration": 1.0,
        "heard": None,
        "speech": None,
        "familiar": None,
        "remark": None,
    }
    assert Prediction("b.wav", None, error="gone").score is None
    assert Prediction("c.wav", NO_SPEECH, answer.scores, speech=0.125).score == 0.875


def test_importing_is_light():
    code = (
        "import sys, genser; genser.Prediction; "
        "print([name for name in ('numpy', 'soundfile', 'onnxruntime', 'torch', 'rich') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_public_names_of_the_package():
    assert genser.Recognizer is Recognizer
    assert {"load", "Recognizer", "Prediction", "Segment", "Stream", "__version__"} <= set(dir(genser))
    with pytest.raises(AttributeError):
        genser.nothing  # noqa: B018


@pytest.mark.parametrize("kind", ["float32", "int8", "folder"])
def test_alone_in_a_batch_as_path_bytes_file_or_array(toys, kind, tmp_path):
    recognizer = genser.load(getattr(toys, kind))
    waveforms = sound(400, 5_000, 16_000, 40_001, 16_000, 700)
    batch = recognizer.scores(waveforms)
    alone = np.concatenate([recognizer.scores([waveform]) for waveform in waveforms])
    decoded = recognizer.scores([load_audio((waveforms[2], SAMPLE_RATE))])[0]
    allowed = BATCH_DIFFERENCE.get(kind, 1e-4)
    np.testing.assert_allclose(batch, alone, atol=allowed)
    np.testing.assert_allclose(batch.sum(1), 1, atol=1e-5)
    path = tmp_path / "a.wav"
    soundfile.write(path, waveforms[2], SAMPLE_RATE, subtype="FLOAT")
    forms = (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), (waveforms[2], SAMPLE_RATE))
    for answer in recognizer.predict_many(forms):
        np.testing.assert_allclose(list(answer.scores.values()), decoded, atol=allowed)
        assert answer.duration == 1.0
        assert answer.label in (*recognizer.labels, NO_SPEECH)


def test_onnx_and_torch_agree(toys):
    waveforms = sound(400, 8_000, 33_333, 17 * SAMPLE_RATE, 40 * SAMPLE_RATE)
    torch, onnx = genser.load(toys.folder), genser.load(toys.float32)
    assert torch.labels == onnx.labels
    np.testing.assert_allclose(torch.scores(waveforms), onnx.scores(waveforms), atol=1e-4)
    np.testing.assert_allclose(torch.trajectory(waveforms[1]), onnx.trajectory(waveforms[1]), atol=1e-4)
    np.testing.assert_allclose(torch.states(waveforms[1]), onnx.states(waveforms[1]), atol=1e-3, rtol=1e-3)


def test_states_are_shown_along_the_codes(tmp_path):
    """Their coordinates at the end are the scores of a model that reads the state."""
    folder = toy_folder(tmp_path / "toy", sampler=Sampler(steps=3, readout="state"))
    recognizer, waveform = genser.load(folder), babble(1.5)
    found = recognizer.state_coordinates(waveform)
    assert found.shape == (4, 3)
    np.testing.assert_allclose(probabilities(found[-1]), recognizer.scores([waveform])[0], atol=1e-5)
    chosen = recognizer.restricted(recognizer.labels[1:]).state_coordinates(waveform)
    np.testing.assert_array_equal(chosen, found[:, 1:])
    assert genser.load(toy_folder(tmp_path / "mlp", kind="mlp")).state_coordinates(waveform) is None


def test_the_trajectory_ends_at_the_scores(toys):
    recognizer = genser.load(toys.float32)
    (waveform,) = sound(16_000)
    trajectory = recognizer.trajectory(waveform)
    assert trajectory.shape == (3, len(recognizer.labels))
    np.testing.assert_allclose(trajectory[-1], recognizer.scores([waveform])[0], atol=1e-6)


def test_the_speech_gate_of_a_model_is_used(toys):
    recognizer = genser.load(toys.float32)
    noise, silence = recognizer.predict_many([(sound(16_000)[0], SAMPLE_RATE), (np.zeros(16_000), SAMPLE_RATE)])
    assert noise.speech > 0.9
    assert (silence.label, silence.speech < 0.1) == (NO_SPEECH, True)


def test_many_windows_and_few_get_the_same_scores(toys):
    recognizer = Recognizer(OnnxBackend(toys.int8, threads=2))
    waveforms = sound(*[8_000 + 100 * index for index in range(10)], 13 * SAMPLE_RATE, 400)
    few = np.concatenate([recognizer.scores(waveforms[index : index + 2]) for index in range(0, 12, 2)])
    np.testing.assert_allclose(recognizer.scores(waveforms), few, atol=1e-4)


def test_a_recognizer_serves_several_threads(toys):
    recognizer = genser.load(toys.float32)
    waveforms = sound(*[9_000] * 4)
    wanted, found = recognizer.scores(waveforms), [None] * 4

    def work(index):
        found[index] = recognizer.scores([waveforms[index]])[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.stack(found), wanted, atol=1e-5)


def test_predict_raises_the_error_that_predict_many_reports(toys):
    with pytest.raises(AudioError, match="does not exist"):
        genser.load(toys.float32).predict("nowhere.wav")


def test_segments_and_streams_come_from_the_recognizer(toys):
    recognizer = genser.load(toys.float32)
    (waveform,) = sound(3 * SAMPLE_RATE)
    from genser.segments.options import SegmentOptions

    segments = recognizer.segments((waveform, SAMPLE_RATE), SegmentOptions(window=1.0, smoothing="none"))
    assert [round(segment.end - segment.start, 3) for segment in segments] == [1.0, 1.0, 1.0]
    stream = recognizer.stream(SAMPLE_RATE, SegmentOptions(window=1.0, smoothing="none"))
    streamed = stream.push(waveform) + stream.close()
    assert [segment.label for segment in streamed] == [segment.label for segment in segments]


def test_onnx_needs_no_torch(toys, tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes((1000 * np.random.default_rng(0).standard_normal(8_000)).astype("<i2").tobytes())
    code = (
        f"import sys, genser; genser.load({str(toys.int8)!r}).predict({str(tmp_path / 'a.wav')!r}); "
        "print([name for name in ('torch', 'transformers', 'rich', 'scipy', 'pandas') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["nothing", "no/such.onnx"])
def test_an_unknown_model_names_the_known_ones(name):
    with pytest.raises(ModelError, match="base, tiny"):
        genser.load(name)


@pytest.mark.parametrize("name", ["~no such user/model.onnx", "x" * 5000, "a\0b"])
def test_a_name_that_no_file_can_have_is_no_model(name):
    with pytest.raises(ModelError, match="There is no model"):
        genser.load(name)


def test_true_is_no_number_of_threads():
    with pytest.raises(ConfigError, match="threads must lie in"):
        genser.load("tiny", threads=True)


def test_a_bundled_model_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("genser.inference.load.MODELS", tmp_path)
    with pytest.raises(ModelError, match="not part of this installation"):
        genser.load()


def test_a_changed_file_is_refused_when_it_is_loaded(toys, tmp_path):
    content = bytearray(toys.int8.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="was changed"):
        genser.load(tmp_path / "m.onnx")


def test_a_graph_that_cannot_run_is_named(tmp_path):
    from genser.inference.onnx_file import sealed

    (tmp_path / "m.onnx").write_bytes(sealed(b"\x08\x0a", {"labels": ["a", "b"], "speech_threshold": None}))
    with pytest.raises(ModelError, match=r"m\.onnx cannot be loaded by onnxruntime"):
        genser.load(tmp_path / "m.onnx").scores(sound(800))


def test_a_folder_without_torch_names_the_extra(toys, monkeypatch):
    monkeypatch.delitem(sys.modules, "genser.inference.torch_backend", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="train"):
        genser.load(toys.folder)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(toys, threads):
    for model in (toys.float32, toys.folder):
        with pytest.raises(ConfigError, match="threads"):
            genser.load(model, threads=threads)


@pytest.mark.parametrize("kind", ["float32", "folder"])
@pytest.mark.parametrize("device", ["cuda:77", "quantum"])
def test_a_device_that_does_not_exist_is_named(toys, kind, device):
    with pytest.raises(ConfigError, match=f"The device '{device}' cannot be used"):
        genser.load(getattr(toys, kind), device=device)


def test_another_device_without_torch_names_the_extra(toys, monkeypatch):
    monkeypatch.delitem(sys.modules, "genser.inference.torch_backend", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"Running .*float32\.onnx on cuda needs the extra \[train\]"):
        genser.load(toys.float32, device="cuda")


def test_auto_is_the_gpu_if_there_is_one(monkeypatch):
    for is_available, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=is_available: found)
        assert found_device("auto") == device
    assert found_device("cuda:1") == "cuda:1"


def test_auto_is_the_cpu_without_torch(toys):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"import genser; print(type(genser.load({str(toys.float32)!r}, device='auto')._backend).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "OnnxBackend"


def test_a_file_and_its_folder_score_alike_with_torch(toys):
    clips = sound(800, 30_000, 16_000)
    file, folder = (Recognizer(load_backend(path)) for path in (toys.float32, toys.folder))
    np.testing.assert_allclose(file.scores(clips), folder.scores(clips), atol=1e-5)
    np.testing.assert_allclose(file.scores(clips), genser.load(toys.float32).scores(clips), atol=1e-5)
    assert file.labels == folder.labels


def test_a_profile_acts_alike_with_torch(toys):
    clips = sound(*range(16_000, 22_000, 1_000))
    here, there = Recognizer(load_backend(toys.float32)), genser.load(toys.float32)
    profile = there.learn_profile([(clip, SAMPLE_RATE) for clip in clips])
    np.testing.assert_allclose(here.adapted(profile).scores(clips), there.adapted(profile).scores(clips), atol=1e-4)


def test_too_little_memory_of_a_gpu_names_the_option(toys):
    def run(**inputs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    backend = TorchBackend(run, {"labels": ["a", "b"]}, "cpu")
    with pytest.raises(ModelError, match=r"for a batch of 60 s\. Choose a shorter --batch-seconds"):
        Recognizer(backend).scores(sound(16_000))


@pytest.mark.parametrize("use", ["each", "segments", "adapt"])
def test_a_pipe_is_read_no_further_than_the_limit(monkeypatch, use):
    read = 0

    header = io.BytesIO()
    soundfile.write(header, np.zeros(160), 16_000, format="WAV")

    class Endless(io.RawIOBase):
        """A WAV file whose sound does not end."""

        def readinto(self, buffer):
            nonlocal read
            first = header.getvalue()[read : read + len(buffer)]
            buffer[: len(first)] = first
            read += len(buffer)
            assert read < 4 << 20
            return len(buffer)

        def readable(self):
            return True

    limits = AudioLimits(max_bytes=1 << 20)
    recognizer = Recognizer(SimpleNamespace(info={}, labels=("a", "b"), tasks=()), limits=limits)
    for piped in (True, False):
        read = 0
        source = "-" if piped else Endless()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless(), isatty=lambda: False))
        if use == "each":
            ((clip,),) = Decoder(1, limits, channel="each").groups([source])
            assert "the limit is 1048576" in clip.error
            continue
        with pytest.raises(AudioError, match="the limit is 1048576"):
            recognizer.segments(source, channel="each" if use == "segments" else "mix", adapt=use == "adapt")
