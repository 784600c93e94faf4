"""Channels: one of them, their mean, and what cancels in it; in files, parts of them, and live."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from voices import RATE, babble, hush

from genser.audio import count_channels, load_audio, stream_audio
from genser.audio.mixing import BLOCK, Mixer, kept_channels
from genser.audio.mono import MonoConverter
from genser.errors import AudioError, ConfigError

DIFFERENT = "2 different channels were mixed to one."
VOICE, OTHER = babble(4.0, 120.0), babble(4.0, 210.0)


def delayed(samples: np.ndarray, seconds: float, rate: int = RATE) -> np.ndarray:
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    turn = np.exp(-2j * np.pi * np.arange(len(spectrum)) / (2 * len(samples)) * seconds * rate)
    return np.fft.irfft(spectrum * turn)[: len(samples)].astype(np.float32)


def mono(frames: np.ndarray, rate: int = RATE, **options) -> np.ndarray:
    return load_audio((np.asarray(frames, np.float32), rate), **options)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


@pytest.mark.parametrize("gain", [-1.0, -0.5, -1.6])
def test_an_inverted_channel_does_not_cancel_the_voice(gain):
    stream = stream_audio((np.stack([VOICE, gain * VOICE], axis=1), RATE))
    found = stream.read()
    np.testing.assert_array_equal(found, mono(VOICE))
    assert stream.remark == "Channels cancel each other; channel 1 was used."


@pytest.mark.parametrize("milliseconds", [0.3, 0.5, 1.0, 2.0, 5.0, 12.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_spaced_microphones_make_no_comb_filter(milliseconds, sign):
    stream = stream_audio((np.stack([VOICE, sign * delayed(VOICE, milliseconds / 1000)], axis=1), RATE))
    found = stream.read()
    part = slice(RATE, 3 * RATE)
    np.testing.assert_allclose(found[part], mono(VOICE)[part], atol=0.05 * level(VOICE))
    assert "channel 1 was used" in stream.remark


@pytest.mark.parametrize(
    "second",
    [VOICE, 0.3 * VOICE, OTHER, 0 * VOICE, hush(4.0), (VOICE + OTHER) / 2, -0.1 * VOICE],
    ids=["equal", "quieter", "another voice", "silence", "noise", "both", "far quieter and inverted"],
)
def test_ordinary_stereo_is_the_plain_mean(second):
    frames = np.stack([VOICE, second.astype(np.float32)], axis=1)
    stream = stream_audio((frames, RATE))
    np.testing.assert_array_equal(stream.read(), mono(frames.mean(axis=1)))
    assert (stream.remark, stream.mixed) == ((DIFFERENT, 2) if second is OTHER else (None, 0))


SIDES = np.concatenate([VOICE, 0 * VOICE]), np.concatenate([0 * OTHER, OTHER])  # of a call


@pytest.mark.parametrize(("leak", "level"), [(0.0, 1.0), (0.1, 1.0), (0.0, 0.1), (0.02, 0.1)])
@pytest.mark.parametrize("rate", [8_000, RATE, 44_100])
def test_the_sides_of_a_call_are_different_channels(leak, level, rate):
    one, two = SIDES[0], level * SIDES[1]
    frames = np.stack([one + leak * two, two + leak * one], axis=1) + 0.01  # with an offset
    stream = stream_audio((frames.astype(np.float32), rate))
    stream.read()
    assert stream.remark == DIFFERENT
    chosen = stream_audio((frames.astype(np.float32), rate), channel=2)
    chosen.read()
    assert chosen.remark is None


def test_stereo_of_one_scene_is_alike():
    rng = np.random.default_rng(0)
    room = rng.standard_normal((len(VOICE), 2)) * level(VOICE) / 2  # 6 dB below the voice, another one on each side
    panned = np.stack([VOICE + 0.4 * OTHER, 0.4 * VOICE + OTHER], axis=1)
    for frames in (VOICE[:, None] + room, panned, np.stack([VOICE, -0.1 * VOICE], axis=1)):
        stream = stream_audio((frames.astype(np.float32), RATE))
        stream.read()
        assert stream.remark is None


def test_of_many_channels_those_that_differ_are_counted():
    third = babble(4.0, 300.0, seed=1)
    frames = np.stack([VOICE, OTHER, 0 * VOICE, VOICE, third, 0.01 * babble(4.0, 150.0, seed=2)], axis=1)
    stream = stream_audio((frames, RATE))
    stream.read()
    assert (stream.remark, stream.mixed) == ("3 different channels were mixed to one.", 3)


def test_a_part_that_cancels_and_one_that_differs_are_both_named():
    frames = np.concatenate([np.stack([VOICE, -VOICE], axis=1), np.stack([VOICE, OTHER], axis=1)])
    stream = stream_audio((frames, RATE))
    stream.read()
    assert stream.remark == f"Channels cancel each other in 4.0 of 8.0 s; there channel 1 was used. {DIFFERENT}"


def test_the_louder_of_cancelling_channels_is_used_and_a_third_one_is_kept():
    frames = np.stack([0.3 * VOICE, -VOICE, OTHER], axis=1)
    assert kept_channels(frames[RATE : 2 * RATE], RATE) == (1, 2)


@pytest.mark.parametrize("level", [1.0, 1e-18, 1e-20, 1e-30])
def test_the_faintest_channels_are_compared_without_a_warning(level):
    part = VOICE[:8000] * np.float32(level)
    with np.errstate(divide="raise", invalid="raise"):
        assert kept_channels(np.stack([part, 0 * part], 1), RATE) == (0, 1)
        if level >= 1e-20:
            assert kept_channels(np.stack([part, -part], 1), RATE) == (0,)


def test_a_constant_offset_in_each_channel_does_not_look_like_cancelling():
    frames = np.stack([VOICE + 0.3, VOICE - 0.3], axis=1)
    assert kept_channels(frames[: RATE // 2], RATE) == (0, 1)


def test_channels_that_cancel_in_a_part_are_faded_there():
    second = VOICE.copy()
    second[RATE : 2 * RATE] *= -1
    stream = stream_audio((np.stack([VOICE, second], axis=1), RATE))
    found = stream.read()
    fades = np.zeros(len(VOICE), bool)
    fades[RATE : RATE + 800] = fades[2 * RATE : 2 * RATE + 800] = True
    np.testing.assert_allclose(found[~fades], mono(VOICE)[~fades], atol=0.01 * level(VOICE))
    assert stream.remark == "Channels cancel each other in 1.0 of 4.0 s; there channel 1 was used."


@given(
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=12),
    rate=st.sampled_from([8_000, 16_000, 44_100]),
    kind=st.sampled_from(["inverted", "delayed", "other"]),
)
@settings(max_examples=20, deadline=None)
def test_live_blocks_of_any_size_give_what_the_file_gives(sizes, rate, kind):
    second = {"inverted": -VOICE, "delayed": delayed(VOICE, 0.001), "other": OTHER}[kind]
    frames = np.stack([VOICE, second], axis=1).astype(np.float32)
    converter, at, parts = MonoConverter(rate, 2), 0, []
    for size in sizes:
        parts.append(converter.push(frames[at : at + size]))
        at += size
    parts += [converter.push(frames[at:]), converter.close()]
    np.testing.assert_allclose(np.concatenate(parts), mono(frames, rate), atol=1e-6)


@pytest.mark.parametrize("start", [0.1, 0.73, 1.0, 2.25])
@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_part_is_mixed_as_the_whole(start, form):
    second = np.where((np.arange(len(VOICE)) // (RATE // 2)) % 2, -VOICE, VOICE)  # cancels in every other block
    file = io.BytesIO()
    soundfile.write(file, np.stack([VOICE, second], axis=1), RATE, format=form)
    whole, part = load_audio(file), load_audio(file, start=start, end=start + 0.9)
    first = round(start * RATE)
    assert len(part) == round(0.9 * RATE)
    np.testing.assert_allclose(part, whole[first : first + len(part)], atol=1e-4)


def test_one_channel_by_its_number():
    frames = np.stack([VOICE, OTHER], axis=1)
    for number in (1, 2):
        np.testing.assert_array_equal(mono(frames, channel=number), mono(frames[:, number - 1]))
    np.testing.assert_array_equal(mono(VOICE, channel=1), mono(VOICE))
    assert count_channels((frames, RATE)) == 2


@pytest.mark.parametrize(
    ("channel", "error", "match"),
    [
        (3, AudioError, "no channel 3: the recording has channels 1 to 2"),
        (0, ConfigError, "0 is not a channel"),
        (-1, ConfigError, "not a channel"),
        ("left", ConfigError, "'left' is not a channel. Choose a number from 1"),
        (True, ConfigError, "not a channel"),
        (1.0, ConfigError, "not a channel"),
        ("each", ConfigError, "mono"),
    ],
)
def test_a_channel_that_does_not_exist_is_a_sentence(channel, error, match):
    with pytest.raises(error, match=match):
        mono(np.stack([VOICE, OTHER], axis=1), channel=channel)


def test_tensors_and_either_order_of_the_axes_are_read():
    torch = pytest.importorskip("torch")
    frames = np.stack([VOICE, OTHER], axis=1)
    tensor = torch.from_numpy(frames.T.copy()).requires_grad_()  # (channels, samples), as torchaudio gives it
    for array in (tensor, tensor.T, tensor.detach().numpy(), tensor.double()):
        np.testing.assert_array_equal(load_audio((array, RATE)), load_audio((frames, RATE)))
    for array in (tensor[:1], tensor[0], tensor[:1].T):
        np.testing.assert_array_equal(load_audio((array, RATE)), load_audio((VOICE, RATE)))
    assert count_channels((tensor, RATE)) == 2


def test_an_array_whose_axes_may_both_be_channels_is_refused():
    torch = pytest.importorskip("torch")
    for shape in ((2, 2), (32, 5), (7, 32)):
        with pytest.raises(AudioError, match=r"may be \(samples, channels\) or \(channels, samples\)"):
            load_audio((np.zeros(shape), RATE))
    with pytest.raises(AudioError, match=r"tensor\.float\(\)"):
        load_audio((torch.zeros(2000, dtype=torch.bfloat16), RATE))
    with pytest.raises(AudioError, match="has 40 channels"):
        load_audio((np.zeros((4000, 40)), RATE))


def test_mixing_holds_back_no_more_than_half_a_second():
    mixer, frames = Mixer(RATE, 2), np.stack([VOICE, -VOICE], axis=1)
    returned = 0
    for at in range(0, len(frames), 100):
        returned += len(mixer.push(frames[at : at + 100]))
        assert at + 100 - returned <= BLOCK * RATE
