"""Training clips in narrower bands than they have, from which a head learns to understand telephones."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from genser.audio import load_audio
from genser.augmentation import TELEPHONE_BAND, add_noise, band_limited
from genser.data.utterance import Utterance
from genser.encoders import SpeechEncoder, encode
from genser.model.head import TransportHead
from genser.training.narrowband import learn_narrowband
from genser.training.rows import balance_weights

PART = 256
"""Clips encoded together."""

LOWEST, HIGHEST = (0.0, 400.0), (3000.0, 4000.0)
"""Ranges of both corners of a narrow band, in Hz: wideband telephones and above are no such thing."""

NOISE = (5.0, 25.0)
"""Signal-to-noise ratios in dB of the copies that are not narrow."""


def copies(waveform: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A clip in the telephone's band, in one of any width, and in full band with noise."""
    generator = np.random.default_rng(number)
    any_width = band_limited(waveform, generator.uniform(*LOWEST), generator.uniform(*HIGHEST))
    noisy = add_noise(waveform, generator.uniform(*NOISE), generator, colour=generator.uniform(0, 2))
    return band_limited(waveform, *TELEPHONE_BAND), any_width, noisy


def encoded(encoder: SpeechEncoder, utterances: Sequence[Utterance]) -> Iterator[np.ndarray]:
    """Features (clips, 3, states, dim) of the copies, part by part."""
    for start in range(0, len(utterances), PART):
        part = utterances[start : start + PART]
        sounds = [load_audio(item.path, start=item.start, end=item.end) for item in part]
        altered = [copy for place, sound in enumerate(sounds) for copy in copies(sound, start + place)]
        features = encode(encoder, altered, bf16=True)
        yield features.reshape(len(part), 3, *features.shape[1:])


def learn_bands(
    head: TransportHead, encoder: SpeechEncoder, utterances: Sequence[Utterance], features: np.ndarray
) -> None:
    """Have a head map the features of narrow bands to those of full ones; classes and corpora count alike."""
    altered = torch.from_numpy(np.concatenate(list(encoded(encoder, utterances))))
    weights = balance_weights([(str(item.label), str(item.corpus)) for item in utterances])
    learn_narrowband(head, torch.from_numpy(features), altered[:, :2], altered[:, 2:], weights)
