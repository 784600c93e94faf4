"""Statistics over time: gates, levels, chosen states."""

import numpy as np
import pytest
import torch
from toys import frames

from genser.encoders import Pooling, encode
from genser.encoders.config import STATISTICS
from genser.encoders.fbank import FbankEncoder
from genser.encoders.pooling import LEVEL, PooledEncoder, frame_power, loud_power
from genser.encoders.whisper import WhisperConfig, WhisperEncoder
from genser.errors import ConfigError


@pytest.fixture(scope="module")
def whisper():
    torch.manual_seed(0)
    return WhisperEncoder(WhisperConfig(dim=16, layers=3, heads=2, inner=32, positions=200)).eval()


def speech(seconds=1.0, seed=0, pause=0.0):
    """Noise in bursts, with an optional pause of faint noise at the end."""
    generator = np.random.default_rng(seed)
    samples = generator.standard_normal(int(16000 * seconds)) * 0.1
    faint = generator.standard_normal(int(16000 * pause)) * 1e-4
    return np.concatenate([samples, faint]).astype(np.float32)


def batch_of(*waveforms):
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    batch = torch.full((len(waveforms), int(lengths.max())), 7.0)  # what the padding holds must not matter
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return batch, lengths


def test_plain_pooling_is_equation_1(whisper):
    clip = batch_of(speech())
    torch.testing.assert_close(PooledEncoder(whisper, Pooling())(*clip), whisper(*clip), atol=1e-5, rtol=1e-5)


def test_statistics_are_outermost_and_states_in_their_order(whisper):
    pooled = PooledEncoder(whisper, Pooling(("mean", "std"), (3, 1)))
    clip = batch_of(speech())
    states, _ = frames(whisper, *clip)
    expected = [states[:, 3].mean(1), states[:, 1].mean(1), *(states[:, i].std(1, correction=0) for i in (3, 1))]
    torch.testing.assert_close(pooled(*clip), torch.stack(expected, dim=1), atol=1e-4, rtol=1e-4)
    assert pooled.states == 4


def test_layers_above_the_highest_chosen_state_are_not_computed(whisper):
    calls = []
    handles = [layer.register_forward_hook(lambda *_: calls.append(1)) for layer in whisper.layers]
    PooledEncoder(whisper, Pooling(states=(1, 2)))(*batch_of(speech()))
    for handle in handles:
        handle.remove()
    assert len(calls) == 2


@pytest.mark.parametrize("level", [True, False])
def test_a_padded_batch_equals_single_clips(whisper, level):
    pooled = PooledEncoder(whisper, Pooling(STATISTICS, level=level))
    clips = [speech(s, seed=i) * g for i, (s, g) in enumerate([(0.5, 1), (2.0, 0.01), (1.13, 3), (0.025, 1)])]
    together = pooled(*batch_of(*clips))
    alone = torch.cat([pooled(*batch_of(clip)) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_level_of_a_clip_is_that_of_its_loud_frames():
    """The level is that of the loud frames, wherever they are."""
    power = torch.tensor([[1.0] * 50 + [1e-8] * 150])
    mask = torch.ones_like(power, dtype=torch.bool)
    assert loud_power(power, mask).item() == pytest.approx(1.0, rel=1e-3)
    assert loud_power(power, mask & (torch.arange(200) > 60)).item() == pytest.approx(1e-8, rel=1e-2)


def test_gated_means_hardly_move_when_a_pause_is_added(whisper):
    one, two = (batch_of(speech(1.0, pause=pause)) for pause in (0.0, 2.0))
    change = {}
    for name in ("mean", "speech-mean"):
        pooled = PooledEncoder(whisper, Pooling((name,), (0,)))
        change[name] = (pooled(*one) - pooled(*two)).norm() / pooled(*one).norm()
    assert change["speech-mean"] < 0.3 * change["mean"]


def test_level_makes_the_distance_to_the_microphone_not_matter(whisper):
    pooled = PooledEncoder(whisper, Pooling(("mean", "speech-mean"), level=True))
    near, far = (pooled(*batch_of(speech() * gain)) for gain in (1.0, 10 ** (-30 / 20)))
    torch.testing.assert_close(near, far, atol=1e-3, rtol=1e-3)
    plain = PooledEncoder(whisper, Pooling(("mean", "speech-mean")))
    assert (plain(*batch_of(speech())) - plain(*batch_of(speech() * 0.03))).abs().max() > 0.01


def test_levelled_clips_have_the_level(whisper):
    pooled = PooledEncoder(whisper, Pooling(level=True))
    waveforms, lengths = batch_of(speech() * 0.003)
    lifted = pooled._levelled(waveforms, lengths)
    mask = torch.ones(1, 50, dtype=torch.bool)
    assert loud_power(frame_power(lifted, mask, 320), mask).item() == pytest.approx(LEVEL, rel=1e-3)


def test_normalized_vectors_have_zero_mean_and_unit_std(whisper):
    vectors = PooledEncoder(whisper, Pooling(("mean", "std"), normalize=True))(*batch_of(speech()))
    assert vectors.mean(-1).abs().max() < 1e-5
    torch.testing.assert_close(vectors.std(-1, correction=0), torch.ones(1, 8), atol=1e-3, rtol=0)


def test_silence_stays_finite(whisper):
    pooled = PooledEncoder(whisper, Pooling(STATISTICS, level=True))
    assert torch.isfinite(pooled(*batch_of(np.zeros(8000, np.float32)))).all()


def test_features_of_other_poolings_are_never_mistaken(whisper):
    poolings = [
        Pooling(),
        Pooling(("speech-mean",)),
        Pooling(states=(1,)),
        Pooling(level=True),
        Pooling(normalize=True),
    ]
    assert len({PooledEncoder(whisper, pooling).fingerprint for pooling in poolings}) == 5


def test_long_clips_are_cut_into_windows(whisper):
    pooled = PooledEncoder(whisper, Pooling(("speech-mean",), (1,)))
    assert encode(pooled, [speech(9.0), speech(1.0)]).shape == (2, 1, 16)


@pytest.mark.parametrize("statistics", [("median",), (), ("mean", "mean"), ("mean", "quiet-mean")])
def test_impossible_statistics_are_refused(statistics):
    with pytest.raises(ConfigError):
        Pooling(statistics)


def test_states_that_do_not_exist_are_refused(whisper):
    for states in ((2, 4), (2, -1)):
        with pytest.raises(ConfigError, match=rf"states 0 to 3, not {states[1]}. .*--encoder.pooling.states 1,2,3"):
            PooledEncoder(whisper, Pooling(states=states))


def test_the_old_name_of_std_is_accepted_and_fingerprints_keep_it(whisper):
    old, new = Pooling(("deviation", "speech-deviation")), Pooling(("std", "speech-std"))
    assert old == new
    assert old.statistics == ("std", "speech-std")
    assert PooledEncoder(whisper, new).settings["pooling"]["statistics"] == ["deviation", "speech-deviation"]


def test_an_encoder_whose_frames_have_no_place_cannot_be_gated():
    with pytest.raises(ConfigError, match="fbank"):
        PooledEncoder(FbankEncoder(), Pooling(("speech-mean",)))
