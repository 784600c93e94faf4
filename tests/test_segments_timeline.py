"""Recordings over time: speech, windows, turns, merging, memory."""

import tracemalloc
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voices import LABELS, PITCHES, RATE, PitchRecognizer, babble, hush

from genser.errors import AudioError, ConfigError
from genser.segments.chunking import make_cutter
from genser.segments.options import SegmentOptions
from genser.segments.segment import Segment
from genser.segments.timeline import FINEST, MOST_BINS, Envelope, recognize_timeline
from genser.segments.turns import Turn
from genser.segments.vad import FRAME, RegionTracker, SpeechDetector


@pytest.fixture(scope="module")
def talk():
    """Three voices with pauses: their labels and times, and the sound."""
    parts, truth, at = [hush(1.0)], [], 1.0
    for label, pitch in zip(LABELS, PITCHES, strict=True):
        truth.append((label, at, at + 2.0))
        parts += [babble(2.0, pitch), hush(1.0)]
        at += 3.0
    return np.concatenate(parts), truth


def timeline(sound, turns=None, **options):
    return recognize_timeline(PitchRecognizer(), (sound, RATE), SegmentOptions(**options), turns=turns)


def test_every_voice_is_found_where_it_is(talk):
    sound, truth = talk
    segments = timeline(sound).segments
    assert [segment.label for segment in segments] == [label for label, _, _ in truth]
    for segment, (_, start, end) in zip(segments, truth, strict=True):
        assert abs(segment.start - start) < 0.15
        assert abs(segment.end - end) < 0.15
        assert sum(segment.scores.values()) == pytest.approx(1)
        assert segment.confident == (segment.scores[segment.label] >= 0.5)


def test_silence_has_no_segments():
    assert timeline(hush(3.0)).segments == ()


def test_the_detector_does_not_care_about_chunks(talk):
    sound, _ = talk
    whole = SpeechDetector().push(sound)
    for size in (7, 160, 511, 513, 16_000):
        detector = SpeechDetector()
        parts = [detector.push(sound[i : i + size]) for i in range(0, min(len(sound), 40_000), size)]
        scores = np.concatenate(parts)
        np.testing.assert_array_equal(scores, whole[: len(scores)])


def test_the_bundled_detector_is_the_one_that_was_measured():
    """Scores of the stock model of silero-vad 6.2.3, run frame by frame with 64 samples of context."""
    scores = SpeechDetector().push(np.concatenate([hush(0.5), babble(1.0)]))
    assert len(scores) == 46
    expected = [0.088, 0.004, 0.914, 0.393, 0.942, 0.967]
    np.testing.assert_allclose(scores[[0, 10, 17, 22, 33, 45]], expected, atol=6e-4)


@given(st.lists(st.floats(0, 1), max_size=400), st.floats(1.0, 4.0))
def test_regions_are_disjoint_long_enough_and_never_too_long(probabilities, longest):
    options = SegmentOptions(max_duration=longest)
    tracker = RegionTracker(options)
    found = [region for p in probabilities if (region := tracker.step(p))]
    found += [last] if (last := tracker.close()) else []
    for region in found:
        assert options.min_speech * RATE <= region.end - region.start <= (longest + 0.5) * RATE
        assert region.end <= region.decided <= len(probabilities) * FRAME
        assert region.decided - region.end <= 0.464 * RATE
    for one, two in pairwise(found):
        assert one.end <= two.start
        assert two.follows_cut is False or one.is_cut


def test_speech_without_a_pause_is_cut_within_its_longest_duration():
    tracker = RegionTracker(SegmentOptions(max_duration=2.0))
    found = [region for _ in range(300) if (region := tracker.step(0.9))]
    assert len(found) >= 4
    assert all(region.is_cut for region in found)
    assert all(one.end == two.start for one, two in pairwise(found))


@settings(max_examples=25)
@given(st.integers(1_000, 60_000), st.floats(0.1, 1.5), st.floats(0.3, 1.0))
def test_windows_partition_the_recording(samples, window, share):
    sound = hush(samples / RATE)
    segments = timeline(sound, window=window, hop=max(window * share, 0.05)).segments
    assert segments[0].start == 0
    assert segments[-1].end == pytest.approx(len(sound) / RATE)
    assert all(one.end == two.start for one, two in pairwise(segments))


def test_windows_hear_their_whole_length(talk):
    recognizer = PitchRecognizer()
    recognize_timeline(recognizer, (talk[0], RATE), SegmentOptions(window=2.0, hop=1.0))
    assert set(recognizer.heard) == {2 * RATE}
    assert len(recognizer.heard) in (9, 10)


def test_turns_give_one_segment_each_with_its_speaker(talk):
    sound, truth = talk
    turns = [Turn(start, end, f"speaker {i}") for i, (_, start, end) in enumerate(truth)]
    segments = timeline(sound, turns=turns, max_duration=1.0).segments
    assert [(s.start, s.end, s.speaker) for s in segments] == [(t.start, t.end, t.speaker) for t in turns]
    assert [segment.label for segment in segments] == [label for label, _, _ in truth]


def test_turns_may_overlap_and_run_past_the_end(talk):
    sound, _ = talk
    turns = [Turn(1.0, 3.0, "a"), Turn(1.5, 2.5, "b"), Turn(9.5, 60.0, "a")]
    segments = timeline(sound, turns=turns).segments
    assert [(s.start, s.end) for s in segments] == [(1.0, 3.0), (1.5, 2.5), (9.5, 10.0)]


def test_a_turn_behind_the_end_does_not_cost_the_others(talk):
    found = timeline(talk[0], turns=[Turn(1.0, 2.0), Turn(9.0, 10.01), Turn(12.0, 13.0)])
    assert [(one.start, one.end) for one in found.segments] == [(1.0, 2.0), (9.0, 10.0)]
    assert found.problems == ("A turn begins at 12.00 s, after the end of the recording at 10.00 s.",)
    assert found.remark is None
    found = timeline(talk[0], turns=[Turn(1.0, 2.0), Turn(9.0, 11.5)])
    assert [(one.start, one.end) for one in found.segments] == [(1.0, 2.0), (9.0, 10.0)]
    assert found.remark == "1 turn reaches up to 1.50 s past the end, and ends there."


def test_turns_of_another_recording_are_refused(talk):
    with pytest.raises(AudioError, match=r"All turns begin after the end .* 10\.00 s, the first at 12\.00 s"):
        timeline(talk[0], turns=[Turn(12.0, 13.0), Turn(14.0, 15.0)])


def test_a_turn_of_any_length_takes_no_memory(talk):
    tracemalloc.start()
    cutter = make_cutter(SegmentOptions(max_duration=1.0), [Turn(0.0, 9.9e6, str(number)) for number in range(9)])
    chunks = [*cutter.push(talk[0]), *cutter.close()]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20e6
    assert len(chunks) == 9 * 10
    assert cutter.remarks == [f"9 turns reach up to {9.9e6 - 10:.2f} s past the end, and end there."]


@given(st.lists(st.tuples(st.floats(0, 12), st.floats(0.01, 9)), max_size=6), st.sampled_from([1.0, 1.7, 30.0]))
@settings(max_examples=30)
def test_parts_of_a_turn_have_equal_lengths_and_no_gap(times, longest):
    turns = [Turn(start, start + length) for start, length in times]
    cutter, sound = make_cutter(SegmentOptions(max_duration=longest), turns), np.zeros(10 * RATE, np.float32)
    chunks = [chunk for block in np.split(sound, 10) for chunk in cutter.push(block)] + list(cutter.close())
    for index, turn in enumerate(turns):
        parts = sorted((one for one in chunks if one.turn == index), key=lambda one: one.start)
        edges = np.linspace(turn.start * RATE, turn.end * RATE, ceil((turn.end - turn.start) / longest) + 1).round()
        expected = [(start, min(end, len(sound))) for start, end in pairwise(edges) if start < len(sound)]
        assert [(round(one.start * RATE), round(one.end * RATE)) for one in parts] == expected
    assert len(cutter.problems) == sum(round(turn.start * RATE) >= len(sound) for turn in turns)


def test_speakers_are_smoothed_apart():
    """What a second voice says between must not pull the first one's uncertain turns."""
    quiet = babble(6.0, PITCHES[0])
    alone = timeline(quiet, turns=[Turn(0, 2, "a"), Turn(4, 6, "a")]).segments
    among = timeline(quiet, turns=[Turn(0, 2, "a"), Turn(2, 4, "b"), Turn(4, 6, "a")]).segments
    assert [s for s in among if s.speaker == "a"] == list(alone)


def test_neighbours_of_one_label_are_merged(talk):
    sound, _ = talk
    apart = timeline(sound, window=0.5).segments
    joined = timeline(sound, window=0.5, merge=0.0).segments
    assert len(joined) < len(apart)
    assert all(one.label != two.label for one, two in pairwise(joined))
    assert (joined[0].start, joined[-1].end) == (apart[0].start, apart[-1].end)
    spoken = timeline(np.concatenate([sound[: 3 * RATE], sound[: 3 * RATE]]), merge=5.0).segments
    assert len(spoken) == 1


def test_the_memory_does_not_grow_with_the_recording(tmp_path, talk):
    import soundfile

    def peak(repeats):
        path = tmp_path / f"{repeats}.wav"
        soundfile.write(path, np.tile(talk[0], repeats), RATE)
        tracemalloc.start()
        segments = recognize_timeline(PitchRecognizer(), path).segments
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(segments) == 3 * repeats
        return most

    peak(1)
    assert peak(24) < 1.3 * peak(8)


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=20)
def test_the_envelope_bounds_the_sound(sizes, seed):
    sound = np.random.default_rng(seed).uniform(-1, 1, sum(sizes)).astype(np.float32)
    envelope = Envelope()
    for part in np.split(sound, np.cumsum(sizes)[:-1]):
        envelope.push(part)
    peaks, size = envelope.peaks(), FINEST
    while len(sound) // size > MOST_BINS:
        size *= 2
    assert len(peaks) == -(-len(sound) // size)
    for i in (0, len(peaks) // 2, len(peaks) - 1):
        part = sound[i * size : (i + 1) * size]
        np.testing.assert_array_equal(peaks[i], [part.min(), part.max()])
    assert envelope.duration == len(sound) / RATE


def test_a_faulty_option_names_its_value():
    for options in ({"hop": 1.0}, {"window": 0.0}, {"window": 1.0, "hop": 2.0}, {"smoothing": "median"}, {"merge": -1}):
        with pytest.raises(ConfigError, match=str(next(reversed(options.values())))):
            SegmentOptions(**options)
    with pytest.raises(ConfigError, match="empty"):
        Segment(2.0, 2.0, "low", {"low": 1.0}, True)
