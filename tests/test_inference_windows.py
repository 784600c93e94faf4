"""Windows of long clips, and the weights with which their outputs are averaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.inference.windows import LONGEST, STEP, WINDOW, cut, window_weights, windows_of


@given(st.integers(1, 9 * WINDOW + 7))
@settings(max_examples=30)
def test_windows_partition_a_clip_evenly(samples):
    waveform = np.arange(samples, dtype=np.float32)
    windows = cut(waveform)
    assert np.array_equal(np.concatenate(windows), waveform)
    if samples <= WINDOW:
        assert len(windows) == 1
    else:
        assert all(len(window) == WINDOW for window in windows[:-2])
        assert WINDOW // 2 - STEP < len(windows[-1]) <= len(windows[-2]) <= WINDOW
    assert all(len(window) % STEP == 0 for window in windows[:-1])


def test_a_clip_of_at_most_the_given_length_stays_whole():
    assert [len(window) for window in cut(np.zeros(LONGEST, np.float32), LONGEST)] == [LONGEST]
    assert [len(window) for window in cut(np.zeros(LONGEST, np.float32))] == [WINDOW] * 3


def test_no_blocks_give_no_windows():
    assert list(windows_of([])) == []


WINDOWS = st.lists(st.tuples(st.integers(1, WINDOW), st.floats(0, 1)), min_size=1, max_size=8)


@given(WINDOWS, st.floats(0, 1))
def test_weights_are_length_times_speech_over_the_windows_that_hold_speech(windows, threshold):
    lengths, speech = (np.array(column, float) for column in zip(*windows, strict=True))
    weights = window_weights(lengths, speech, threshold)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    spoken = lengths * speech * (speech >= threshold)
    expected = spoken if spoken.any() else lengths
    np.testing.assert_allclose(weights * expected.sum(), expected, atol=1e-6 * expected.max())


@given(WINDOWS)
def test_without_a_speech_gate_windows_count_by_their_length(windows):
    lengths = np.array([length for length, _ in windows], float)
    expected = lengths / lengths.sum()
    np.testing.assert_allclose(window_weights(lengths), expected)
    np.testing.assert_allclose(window_weights(lengths, [np.nan] * len(lengths), None), expected)
