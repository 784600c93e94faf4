"""A constant offset, drift and hum are removed, without a click, and the same in files, parts and blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voices import RATE, babble

from genser.audio import load_audio
from genser.audio.high_pass import CUTOFF, HighPass

VOICE = babble(3.0)


def filtered(samples: np.ndarray, rate: float = RATE, sizes: tuple[int, ...] = ()) -> np.ndarray:
    high_pass, at, parts = HighPass(rate), 0, []
    for size in sizes:
        parts.append(high_pass.push(samples[at : at + size]))
        at += size
    return np.concatenate([*parts, high_pass.push(samples[at:]), high_pass.close()])


def tone(frequency: float, rate: float, seconds: float = 2.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("offset", [0.001, -0.02, 0.5])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_constant_offset_leaves_nothing_not_even_a_click(offset, rate):
    assert np.abs(load_audio((np.full(rate, offset), rate))).max() < 1e-6
    with_offset, without = (load_audio((VOICE + shift, rate)) for shift in (offset, 0.0))
    np.testing.assert_allclose(with_offset, without, atol=1e-5)


@pytest.mark.parametrize("rate", [1_000, 8_000, 16_000, 48_000, 768_000])
def test_the_gain_is_that_of_a_butterworth_filter_of_second_order(rate):
    for frequency in (10.0, 50.0, CUTOFF, 200.0, 400.0):
        found = filtered(tone(frequency, rate), rate)[-rate // 2 :]
        gain = np.sqrt(2 * np.mean(np.square(found.astype(float))))
        warped = np.tan(np.pi * CUTOFF / rate) / np.tan(np.pi * frequency / rate)
        assert gain == pytest.approx(1 / np.sqrt(1 + warped**4), abs=0.01)


@given(st.lists(st.integers(0, 3000), max_size=12), st.sampled_from([1_000, 16_000, 48_000]))
@settings(max_examples=25, deadline=None)
def test_blocks_of_any_size_change_no_bit(sizes, rate):
    np.testing.assert_array_equal(filtered(VOICE, rate, tuple(sizes)), filtered(VOICE, rate))


@pytest.mark.parametrize("samples", [0, 1, 2, 100, 1599, 1600, 1601])
def test_short_audio_keeps_its_length(samples):
    assert filtered(VOICE[:samples]).shape == (samples,)


@pytest.mark.parametrize("start", [0.05, 0.61, 1.7])
def test_a_part_is_filtered_as_the_whole(start):
    sound = VOICE + 0.1
    whole, part = load_audio((sound, RATE)), load_audio((sound, RATE), start=start)
    np.testing.assert_allclose(part, whole[round(start * RATE) :], atol=1e-4)


def test_what_lies_before_a_part_cannot_spoil_it():
    sound = VOICE.copy()
    sound[: RATE // 2] = np.nan
    assert np.isfinite(load_audio((sound, RATE), start=0.5)).all()
