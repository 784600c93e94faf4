"""Synthetic sounds without speech."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genser.audio.synthetic_noise import FAMILIES, synthetic_noise
from genser.errors import ConfigError

family = pytest.mark.parametrize("family", FAMILIES)


def spectrum(sound):
    """Frequencies in Hz and the power at each, summing to 1."""
    power = np.abs(np.fft.rfft(sound.astype(np.float64) * np.hanning(len(sound)))) ** 2
    return np.fft.rfftfreq(len(sound), 1 / 16000), power / power.sum()


def share(sound, low, high):
    """Share of the power between two frequencies."""
    frequencies, power = spectrum(sound)
    return power[(frequencies >= low) & (frequencies <= high)].sum()


@settings(max_examples=60)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 10**6), st.integers(0, 10**6))
def test_sounds_are_finite_in_range_and_of_one_to_five_seconds(family, number, seed):
    sound = synthetic_noise(family, number, seed)
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert 16000 <= len(sound) <= 80000
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1


@family
def test_a_sound_follows_from_its_arguments_and_each_of_them_matters(family):
    sound = synthetic_noise(family, 3, 7)
    np.testing.assert_array_equal(sound, synthetic_noise(family, 3, 7))
    for number, seed in ((4, 7), (3, 8), (7, 3)):
        assert not np.array_equal(sound, synthetic_noise(family, number, seed))


def test_a_sound_is_the_same_in_another_process():
    code = (
        "from genser.audio.synthetic_noise import synthetic_noise; print(float(abs(synthetic_noise('drums', 1)).sum()))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(answer.stdout) == float(abs(synthetic_noise("drums", 1)).sum())


def test_families_differ_although_they_draw_alike():
    sounds = [synthetic_noise(family, 0)[:16000].tobytes() for family in FAMILIES]
    assert len(set(sounds)) == len(FAMILIES) >= 20


@family
def test_only_silence_is_silent(family):
    peaks = np.array([np.abs(synthetic_noise(family, number)).max() for number in range(12)])
    if family == "silence":
        assert peaks.max() < 0.003
        assert (peaks == 0).any()
        assert (peaks > 0).any()
    else:
        assert peaks.min() > 0.009
        assert peaks.max() > 4 * peaks.min()


def test_silence_has_the_steps_of_a_16_bit_recording():
    for number in range(5):
        steps = synthetic_noise("silence", number) * 32768
        np.testing.assert_array_equal(steps, np.round(steps))


def test_the_colour_of_noise_decides_the_band_of_its_power():
    colours = ("brown-noise", "pink-noise", "white-noise", "violet-noise")
    low = [np.median([share(synthetic_noise(colour, number), 0, 2000) for number in range(5)]) for colour in colours]
    assert low[0] > 0.95 > low[1] > 0.5 > low[2] > 0.2 > 0.1 > low[3]


@pytest.mark.parametrize(("family", "low", "high"), [("band-noise", 80, 7800), ("siren", 300, 1300), ("hum", 0, 1200)])
def test_sounds_keep_to_their_band(family, low, high):
    assert min(share(synthetic_noise(family, number), low, high) for number in range(5)) > 0.95


def test_a_tone_is_one_line_and_a_sweep_is_not():
    widest = {"sine": [], "sweep": []}
    for family, shares in widest.items():
        for number in range(5):
            sound = synthetic_noise(family, number)
            frequencies, power = spectrum(sound)
            peak = frequencies[power.argmax()]
            shares.append(share(sound, peak - 5, peak + 5))
    assert min(widest["sine"]) > 0.95
    assert max(widest["sweep"]) < 0.5


def test_dialling_plays_a_low_and_a_high_tone_together():
    for number in range(5):
        sound = synthetic_noise("dialling", number)[: int(0.12 * 16000)]
        assert share(sound, 660, 980) > 0.3
        assert share(sound, 1160, 1520) > 0.3


def test_regular_clicks_come_at_one_distance_and_irregular_ones_do_not():
    def spread(family, number):
        loud = np.flatnonzero(
            np.abs(synthetic_noise(family, number)) > 0.25 * np.abs(synthetic_noise(family, number)).max()
        )
        gaps = np.diff(loud)
        gaps = gaps[gaps > 200]
        return gaps.std() / gaps.mean()

    assert np.median([spread("regular-clicks", number) for number in range(9)]) < 0.1
    assert np.median([spread("irregular-clicks", number) for number in range(9)]) > 0.3


def test_an_unknown_family_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(ConfigError, match=r"'opera'.*siren"):
        synthetic_noise("opera", 0)
