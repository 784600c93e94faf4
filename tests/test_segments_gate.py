"""The speech gate over time: what holds no speech becomes no segment and tells its neighbours nothing."""

import io
import os
import shutil
import subprocess
import threading
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from voices import LABELS, PITCHES, RATE, PitchRecognizer, babble, hush

import genser
from genser import cli
from genser.audio import load_audio
from genser.audio.synthetic_noise import synthetic_noise
from genser.export.check import BATCH_DIFFERENCE
from genser.inference.prediction import NO_SPEECH
from genser.inference.recognizer import Recognizer
from genser.segments.chunking import Chunk, SpeechCutter
from genser.segments.decide import SpeechFilter, decide
from genser.segments.options import LIVE, SegmentOptions
from genser.segments.stream import Stream
from genser.segments.timeline import recognize_timeline
from genser.segments.turns import Turn

EXAMPLE = Path(__file__).resolve().parent.parent / "examples/synthetic.flac"
CLIP = load_audio(EXAMPLE)
WINDOWS = SegmentOptions(window=4.0, hop=1.0)
TALK = np.concatenate([part for pitch in PITCHES for part in (hush(0.7), babble(2.0, pitch))] + [hush(0.6)])
DECODED = load_audio((TALK, RATE))  # without sound below the voice
TEXT = "Good morning. I really did not expect you to come back so soon! Yes. No. What on earth are you doing here?"


@pytest.fixture(scope="module")
def base():
    return genser.load("base")


@pytest.fixture(scope="module")
def ungated(base):
    """The bundled model without its gate."""

    class Ungated:
        labels, metadata = base.labels, {**base.metadata, "speech_threshold": None}

        def outputs(self, windows, batch_samples, shift=None):
            for positions, output in base._backend.outputs(windows, batch_samples, shift):
                yield positions, replace(output, speech=None)

    return Recognizer(Ungated())


def noise(family, duration, seed=7):
    """A made sound without speech, repeated to a duration in seconds."""
    return np.resize(synthetic_noise(family, 1, seed=seed), round(duration * RATE))


def times(segments):
    return [(segment.start, segment.end) for segment in segments]


@pytest.mark.parametrize("family", ["white-noise", "music", "hum", "silence"])
def test_windows_without_speech_give_no_segment(base, ungated, family):
    sound = (noise(family, 7.0), RATE)
    assert base.segments(sound, WINDOWS) == []
    covered = ungated.segments(sound, WINDOWS)
    assert (covered[0].start, covered[-1].end) == (0, 7.0)


def test_windows_of_speech_between_music_are_kept(base):
    music = noise("music", 8.0)
    sound = np.concatenate([music, CLIP, music])
    segments = base.segments((sound, RATE), SegmentOptions(window=2.0, hop=0.5))
    assert 8.0 - 2.0 <= segments[0].start <= 8.5
    assert len(sound) / RATE - 8.5 <= segments[-1].end <= len(sound) / RATE - 8.0 + 2.0
    assert sum(segment.duration for segment in segments) >= len(CLIP) / RATE - 0.5


def test_what_the_detector_takes_for_speech_and_the_gate_does_not_gives_no_segment(base, ungated):
    """The detector lets the beginning of some of the made sounds pass."""
    sound = np.concatenate([synthetic_noise("bell-melody", number, seed=9) for number in range(12)])
    cutter = SpeechCutter(SegmentOptions())
    assert [*cutter.push(sound.astype(np.float32)), *cutter.close()]
    assert ungated.segments((sound, RATE))
    assert base.segments((sound, RATE)) == []


def test_without_a_gate_every_piece_counts(ungated):
    scores, spoken, _ = ungated.gated_scores([CLIP, noise("white-noise", 2.0)])
    np.testing.assert_array_equal(scores, ungated.scores([CLIP, noise("white-noise", 2.0)]))
    assert spoken.tolist() == [True, True]


def test_gated_scores_are_those_of_predictions(base):
    sounds = [CLIP, noise("music", 2.0)]
    scores, spoken, familiar = base.gated_scores([load_audio((sound, RATE)) for sound in sounds])
    predictions = list(base.predict_many([(sound, RATE) for sound in sounds]))
    np.testing.assert_allclose(scores, [list(one.scores.values()) for one in predictions], atol=1e-6)
    assert spoken.tolist() == [one.label != NO_SPEECH for one in predictions] == [True, False]
    np.testing.assert_allclose(familiar, [one.familiar for one in predictions], atol=1e-6)
    assert [array.shape for array in base.gated_scores([])] == [(0, 7), (0,), (0,)]


@pytest.mark.parametrize("level", [-30, -40, -60])
def test_a_quiet_speaker_is_found_as_in_a_clip(base, level):
    """The detector misses quiet voices; the speech gate accepts them at any level."""
    quiet = CLIP * np.float32(10 ** (level / 20))
    assert base.predict((quiet, RATE)).label != NO_SPEECH
    loud, found = base.segments((CLIP, RATE)), base.segments((quiet, RATE))
    assert found
    assert found[0].start == pytest.approx(loud[0].start, abs=0.5)
    assert found[-1].end == pytest.approx(loud[-1].end, abs=0.5)
    assert base.segments((noise("white-noise", 3.0) * np.float32(1e-3), RATE)) == []


def test_a_quiet_speaker_in_a_file_and_in_a_pipe(base, tmp_path):
    """A file is read twice; a pipe cannot be, and must not be waited for."""
    soundfile.write(tmp_path / "quiet.flac", CLIP * np.float32(1e-3), RATE, subtype="PCM_24")
    content = (tmp_path / "quiet.flac").read_bytes()
    assert base.segments(tmp_path / "quiet.flac") == base.segments(content) == base.segments(io.BytesIO(content)) != []
    assert base.segments((tmp_path / "quiet.flac").as_uri()) == base.segments(content)
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, content), os.close(writer))).start()
    with os.fdopen(reader, "rb") as pipe:
        assert base.segments(pipe) == []
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(content)).start()
        assert base.segments(tmp_path / "fifo") == []


@pytest.mark.parametrize("voice", ["synthetic.flac", "en", "de+f3", "pl+m3", "en+whisper"])
def test_synthetic_speech_keeps_its_segments(base, ungated, voice):
    if voice == "synthetic.flac":
        speech, rate = soundfile.read(EXAMPLE, dtype="float32")
    elif shutil.which("espeak-ng"):
        done = subprocess.run(["espeak-ng", "-v", voice, "--stdout", TEXT], capture_output=True, check=True)
        speech, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    else:
        pytest.skip("espeak-ng is not installed")
    sound = (np.concatenate([hush(0.5), speech, hush(0.5, seed=1)]), rate)
    segments = base.segments(sound)
    assert segments
    assert segments == ungated.segments(sound)


def test_a_stream_of_the_bundled_model_drops_what_a_file_drops(base):
    """Where music plays around the clip, the recogniser of a file and that of a stream agree on what is speech."""
    sound = np.concatenate([noise("music", 3.0), CLIP, noise("bell-melody", 3.0)])
    for options in (LIVE, SegmentOptions(window=2.0, hop=1.0, smoothing="none")):
        stream = base.stream(options=options)
        live = [one for at in range(0, len(sound), 5_000) for one in stream.push(sound[at : at + 5_000])]
        live += stream.close()
        file = base.segments((sound, RATE), options)
        assert times(live) == times(file)
        for one, other in zip(live, file, strict=True):
            assert one.scores == pytest.approx(dict(other.scores), abs=BATCH_DIFFERENCE["int8"])


@pytest.mark.parametrize("options", [LIVE, SegmentOptions(smoothing="causal", window=1.0, hop=0.25)])
@given(sizes=st.lists(st.integers(0, 20_000), max_size=20))
@settings(max_examples=10)
def test_chunks_of_any_size_give_the_segments_of_the_file(options, sizes):
    expected = recognize_timeline(PitchRecognizer("middle"), (TALK, RATE), options).segments
    assert {segment.label for segment in expected} == {"low", "high"}
    stream, found, at = Stream(PitchRecognizer("middle"), options), [], 0
    for size in sizes:
        found += stream.push(TALK[at : at + size])
        at += size
    found += stream.push(TALK[at:]) + stream.close()
    assert [astuple(one) for one in found] == [astuple(one) for one in expected]


@pytest.mark.parametrize("smoothing", ["posterior", "viterbi", "causal", "none"])
def test_smoothing_does_not_hear_what_was_turned_away(smoothing):
    """The segments of the voices are those of a recording in which the machine was never cut out."""
    options = SegmentOptions(smoothing=smoothing, emotion_duration=20.0)
    cutter = SpeechCutter(options)
    pieces = [*cutter.push(DECODED), *cutter.close()]
    rows = PitchRecognizer().scores([piece.waveform for piece in pieces])
    speech_filter = SpeechFilter()
    seen = [speech_filter.take(piece, row, True) for piece, row in zip(pieces, rows, strict=True)]
    assert [LABELS[scored.scores.argmax()] for scored in seen] == list(LABELS)
    found = recognize_timeline(PitchRecognizer("middle"), (TALK, RATE), options).segments
    assert list(found) == decide([seen[0], seen[2]], LABELS, PitchRecognizer.prior, options)


def test_sound_of_a_window_that_was_turned_away_counts_in_the_next():
    def taken(*spoken):
        speech_filter = SpeechFilter()
        pieces = [Chunk(i, i + 1, np.empty(0, np.float32), 1.0 if i == 0 else 0.25) for i in range(len(spoken))]
        return [scored and scored.evidence for scored in map(speech_filter.take, pieces, np.eye(len(spoken)), spoken)]

    assert taken(True, True, True) == [1.0, 0.25, 0.25]
    assert taken(True, False, True, True) == [1.0, None, 0.5, 0.25]
    assert taken(False, False, True, True) == [None, None, 1.0, 0.25]
    assert taken(True, False, False, False, False, True) == [1.0, None, None, None, None, 1.0]


def test_a_turn_in_which_nobody_speaks_is_kept_but_never_confident_and_tells_nothing():
    _, middle, high = turns = [Turn(start, start + 2.0, "anna") for start in (0.6875, 3.375, 6.125)]
    options = SegmentOptions(confidence=0.0, merge=0.0)
    found = recognize_timeline(PitchRecognizer("middle"), (TALK, RATE), options, turns=turns).segments
    assert times(found) == times(turns)
    assert [(one.label, one.confident) for one in found] == [("low", True), ("middle", False), ("high", True)]
    np.testing.assert_allclose(
        list(found[1].scores.values()),
        PitchRecognizer().scores([DECODED[round(middle.start * RATE) : round(middle.end * RATE)]])[0],
    )
    without = recognize_timeline(PitchRecognizer(), (TALK, RATE), options, turns=[turns[0], high]).segments
    assert [found[0], found[2]] == list(without)


def test_of_a_long_turn_the_parts_with_speech_count():
    sound = np.concatenate([babble(2.0, PITCHES[1]), babble(2.0, PITCHES[0])])
    options = SegmentOptions(max_duration=2.0, smoothing="none")
    (found,) = recognize_timeline(PitchRecognizer("middle"), (sound, RATE), options, turns=[Turn(0, 4)]).segments
    assert (found.start, found.end, found.label, found.confident) == (0, 4, "low", True)
    second = load_audio((sound, RATE))[2 * RATE :]
    np.testing.assert_allclose(list(found.scores.values()), PitchRecognizer().scores([second])[0])


@pytest.mark.parametrize("options", [["--window", "4", "--hop", "1"], []])
def test_the_command_line_has_a_row_without_speech_for_noise(options, tmp_path, capsys):
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise("pink-noise", 9.0), RATE)
    assert cli.app(["predict", "--segments", str(path), *options], exit_on_error=False) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert row.startswith(f"{path},0.0,9.0,no speech,")
    assert header.startswith("path,start,end,label")
