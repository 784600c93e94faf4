"""Arrays: integers and floats whose values belong to another type."""

import numpy as np
import pytest
from recordings import tone
from voices import PitchRecognizer

from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.readers import ArrayReader
from genser.errors import AudioError
from genser.segments.stream import Stream

SPEECH = tone(1.0).astype(np.float64)
CHANNELS = np.stack([SPEECH, SPEECH / 2], axis=1)


def whole(samples, bits, dtype):
    return np.rint(samples * (2 ** (bits - 1) - 1)).astype(dtype)


@pytest.mark.parametrize("samples", [SPEECH, CHANNELS, SPEECH[::-1], SPEECH / 100], ids=range(4))
@pytest.mark.parametrize(
    ("bits", "dtype", "cure"),
    [
        (
            16,
            np.int32,
            r"Pass samples\.astype\('int16'\)\. If the recording is as quiet as that, pass samples / 2\*\*31",
        ),
        (24, np.int32, r"Pass samples"),
        (16, np.int64, r"as samples\.astype\('int16'\)"),
        (16, np.uint16, r"unsigned ones minus 32768"),
        (16, np.float32, r"Divide 16-bit values by 32768"),
        (16, np.float64, r"Divide 16-bit values by 32768"),
    ],
)
def test_integers_in_disguise_are_refused_with_a_cure(samples, bits, dtype, cure):
    with pytest.raises(AudioError, match=cure):
        load_audio((whole(samples, bits, dtype), SAMPLE_RATE))


def test_24_bits_have_their_own_cure():
    with pytest.raises(AudioError, match=r"as 24-bit samples do; .* 48 dB too quiet\. Pass samples / 2\*\*23"):
        load_audio((whole(SPEECH, 24, np.int32), SAMPLE_RATE))


@pytest.mark.parametrize(
    "samples",
    [
        whole(SPEECH, 16, np.int16),
        whole(SPEECH, 32, np.int32),
        whole(SPEECH, 24, np.int32) * 256,  # as a 24-bit converter gives it
        whole(SPEECH / 10_000, 24, np.int32) * 256,  # the same, nearly silent
        np.zeros(SAMPLE_RATE, np.int32),
        np.sign(SPEECH),  # whole numbers within ±1
        SPEECH * 2.5,  # clipped
    ],
    ids=range(7),
)
def test_values_of_their_own_type_are_read(samples):
    with_type = ArrayReader((samples, SAMPLE_RATE)).read(len(samples))[:, 0]
    scale = float(2 ** (8 * samples.dtype.itemsize - 1)) if samples.dtype.kind == "i" else 1.0
    np.testing.assert_allclose(with_type, samples / scale, atol=1e-6)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_arrays_of_other_classes():
    with pytest.raises(AudioError, match=r"masked array has no samples where .* samples\.filled\(0\)"):
        load_audio((np.ma.masked_array(SPEECH, SPEECH > 0.1), SAMPLE_RATE))
    np.testing.assert_array_equal(load_audio((np.asmatrix(SPEECH), SAMPLE_RATE)), SPEECH)


def test_a_stream_refuses_the_same_until_a_block_uses_the_range():
    full, quiet = whole(SPEECH, 32, np.int32), whole(SPEECH, 16, np.int32)
    stream = Stream(PitchRecognizer())
    stream.push(np.zeros(800, np.int32))
    with pytest.raises(AudioError, match="16-bit"):
        stream.push(quiet)
    stream.push(full)
    stream.push(quiet)
    assert np.abs(ArrayReader((quiet, SAMPLE_RATE), uses_range=True).read(len(quiet))).max() < 1e-4
