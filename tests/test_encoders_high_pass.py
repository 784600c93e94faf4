"""The high-pass in front of an encoder."""

import numpy as np
import pytest
import torch

from genser.audio import SAMPLE_RATE
from genser.encoders.high_pass import REACH, HighPass, low_pass
from genser.encoders.mel import mirrored


def filtered(*clips):
    longest = max(map(len, clips))
    batch = np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips]).astype(np.float32)
    lengths = torch.tensor([len(clip) for clip in clips])
    return HighPass()(torch.from_numpy(batch), lengths).numpy()


def level(frequency):
    """Gain at a frequency in dB."""
    tone = np.sin(2 * np.pi * frequency * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    return 20 * np.log10(filtered(tone)[0, 2000:-2000].std() / tone.std())


def test_it_is_the_convolution_with_its_response():
    random = np.random.default_rng(0)
    clips = [random.standard_normal(length) for length in (5000, 1601, 400)]
    for clip, found in zip(clips, filtered(*clips), strict=True):
        removed = np.convolve(np.pad(clip, REACH, mode="reflect"), low_pass(), "valid")
        np.testing.assert_allclose(found[: len(clip)], clip - removed, atol=2e-3)
        assert not found[len(clip) :].any()


def test_hum_is_removed_and_voices_are_not():
    assert level(50) < -30
    assert level(60) < -18
    for frequency in (120, 200, 1000, 7000):
        assert level(frequency) == pytest.approx(0, abs=0.2)


def test_an_offset_is_removed_up_to_the_ends():
    speech = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)
    np.testing.assert_allclose(filtered(speech + 0.3)[0], filtered(speech)[0], atol=2e-4)


def test_a_clip_is_filtered_alike_alone_and_in_a_batch():
    random = np.random.default_rng(0)
    short, long = random.standard_normal(3000), random.standard_normal(9000)
    np.testing.assert_allclose(filtered(short, long)[0, :3000], filtered(short)[0], atol=1e-5)


def test_each_clip_is_mirrored_at_its_own_ends():
    batch = torch.tensor([[1.0, 2, 3, 4, 5], [1, 2, 3, 0, 0]])
    found = mirrored(batch, torch.tensor([5, 3]), 2)
    assert found[0].tolist() == [3, 2, 1, 2, 3, 4, 5, 4, 3]
    assert found[1, :7].tolist() == [3, 2, 1, 2, 3, 2, 1]
