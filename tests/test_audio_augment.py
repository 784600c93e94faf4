"""Altered copies of clips."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genser.audio.augment import (
    Augmentation,
    add_noise,
    add_room,
    band_limited,
    change_speed,
    cropped,
    root_mean_square,
    tilted,
)
from genser.errors import ConfigError


def tone(frequency, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(16000 * seconds)) / 16000).astype(np.float32)


def peak(waveform):
    return np.abs(np.fft.rfft(waveform)).argmax() * 16000 / len(waveform)


def draw(seed=0):
    return np.random.default_rng(seed)


@given(speed=st.floats(0.8, 1.25))
def test_speed_moves_length_and_pitch_together(speed):
    faster = change_speed(tone(400), speed)
    assert len(faster) == pytest.approx(16000 / speed, abs=2)
    assert peak(faster) == pytest.approx(400 * speed, abs=2)


@given(snr=st.floats(-5, 40), colour=st.floats(0, 2))
def test_noise_has_the_level_it_is_asked_for(snr, colour):
    clean = tone(300)
    noise = add_noise(clean, snr, draw(), colour) - clean
    assert 20 * np.log10(root_mean_square(clean) / root_mean_square(noise)) == pytest.approx(snr, abs=0.1)


def test_colour_moves_noise_to_low_frequencies():
    quiet = np.full(16000, 1e-3, np.float32)
    low = [np.abs(np.fft.rfft(add_noise(quiet, -40, draw(), c) - quiet))[10:200].mean() for c in (0, 1, 2)]
    high = [np.abs(np.fft.rfft(add_noise(quiet, -40, draw(), c) - quiet))[4000:].mean() for c in (0, 1, 2)]
    ratios = np.array(low) / high
    assert ratios[0] < 2 < ratios[1] < ratios[2]


@pytest.mark.parametrize(("frequency", "passes"), [(100, False), (1000, True), (3000, True), (5000, False)])
def test_a_telephone_keeps_its_band(frequency, passes):
    kept = root_mean_square(band_limited(tone(frequency), 300, 3400)) / root_mean_square(tone(frequency))
    assert kept > 0.99 if passes else kept < 0.02


def test_tilt_lifts_one_end_of_the_spectrum():
    for coefficient, lifted, lowered in ((-0.4, 6000, 200), (0.4, 200, 6000)):
        gains = [root_mean_square(tilted(tone(f), coefficient)) / root_mean_square(tone(f)) for f in (lifted, lowered)]
        assert gains[0] > 1.2 > 0.8 > gains[1]


def test_a_room_rings_on_after_the_sound():
    click = np.zeros(16000, np.float32)
    click[100] = 1
    wet = add_room(click, 0.5, 6, draw())
    assert len(wet) == len(click)
    assert wet[100] == pytest.approx(1, abs=1e-3)
    assert np.abs(wet[:100]).max() < 1e-6
    early, late = (root_mean_square(wet[a : a + 800]) for a in (200, 6000))
    assert early > 10 * late > 0


@given(share=st.floats(0.05, 1.0), seed=st.integers(0, 100))
def test_a_crop_is_a_part_of_what_is_spoken(share, seed):
    spoken = np.concatenate([np.zeros(8000, np.float32), 1000 + np.arange(32000, dtype=np.float32), np.zeros(4800)])
    part = cropped(spoken.astype(np.float32), share, draw(seed))
    assert abs(len(part) - max(share * 32000, 16000)) <= 640
    assert part.min() > 0
    np.testing.assert_allclose(np.diff(part[1:]), 1.0)


@pytest.mark.parametrize("length", [1, 319, 320, 5000])
def test_a_crop_leaves_what_is_short_or_silent(length):
    np.testing.assert_array_equal(cropped(np.zeros(length, np.float32), 0.5, draw())[:320], np.zeros(min(length, 320)))


@given(seed=st.integers(0, 1000))
def test_an_alteration_follows_from_its_seed(seed):
    everything = Augmentation(telephone_chance=0.5, room_chance=0.5, noise_chance=0.5, crop_chance=0.5)
    one, two = (everything(tone(220, 0.3), draw(seed)) for _ in range(2))
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, two)


def test_exclusive_alterations_never_meet():
    alone = Augmentation((1.0, 1.0), (0.0, 0.0), tilt=0.0, noise_chance=0.3, telephone_chance=0.3, crop_chance=0.3)
    alone = replace(alone, exclusive=True, crop=(0.5, 0.5), noise=(0.0, 0.0))
    sound = tone(1000, 4.0) + tone(6000, 4.0)
    seen = set()
    for seed in range(40):
        altered = alone(sound, draw(seed))
        spectrum = np.abs(np.fft.rfft(altered)) / len(altered)
        is_cropped = len(altered) < len(sound)
        is_limited = spectrum[len(spectrum) * 3 // 4] < 0.01
        is_noisy = np.median(spectrum) > 1e-4
        assert is_cropped + is_limited + is_noisy <= 1
        seen.add((is_cropped, bool(is_limited), bool(is_noisy)))
    assert len(seen) == 4


def test_nothing_asked_for_changes_nothing():
    idle = Augmentation(speed=(1.0, 1.0), gain=(0.0, 0.0), noise_chance=0.0, tilt=0.0)
    np.testing.assert_allclose(idle(tone(220), draw()), tone(220), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"speed": (1.2, 0.8)},
        {"speed": (0.0, 1.0)},
        {"noise_chance": 1.5},
        {"tilt": 1.0},
        {"gain": (3.0, -3.0)},
        {"crop": (0.0, 1.0)},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        Augmentation(**settings)
