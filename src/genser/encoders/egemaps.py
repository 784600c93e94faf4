"""The 88 eGeMAPS functionals of openSMILE as an encoder, the classical baseline of emotion recognition.

eGeMAPSv02: Eyben et al., IEEE Transactions on Affective Computing 7(2), 2016. openSMILE is not part of genser, of none
of its extras, and its licence allows research, teaching and private use.
"""

import logging
from typing import Any

import torch
from torch import Tensor

from genser.audio import SAMPLE_RATE
from genser.encoders.base import SpeechEncoder
from genser.errors import ConfigError

LICENCE = "openSMILE is free for research, teaching and private use, not for products (audEERING Research License)"
FUNCTIONALS = 88


class EgemapsEncoder(SpeechEncoder):
    """The functionals of the whole clip as its single state, so that X_c is empty.

    They are computed by openSMILE on the CPU, one clip after the other, and no gradient passes.

    Args:
        smile: ``opensmile.Smile`` for eGeMAPSv02 at the level of functionals.
        version: Version of openSMILE.
    """

    name, dim, states, is_graph = "egemaps", FUNCTIONALS, 1, False

    def __init__(self, smile: Any, version: str) -> None:
        super().__init__()
        self.smile, self.version = smile, version
        self.register_buffer("place", torch.zeros(()), persistent=False)  # follows the device of the encoder

    @property
    def settings(self) -> dict:
        """Set of features, and the version that computes them."""
        return {"kind": "egemaps", "features": "eGeMAPSv02", "opensmile": self.version}

    def frame_states(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the functionals as one frame, (batch, 1, 88), and a mask of ones."""
        clips = zip(waveforms.cpu().numpy(), lengths.tolist(), strict=True)
        rows = [self.smile.process_signal(wave[:length], SAMPLE_RATE).to_numpy() for wave, length in clips]
        states = torch.stack([torch.from_numpy(row.astype("float32")) for row in rows]).to(waveforms.device)
        return [states], torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


def load(source: None = None, revision: None = None) -> EgemapsEncoder:  # noqa: ARG001 - it has no weights
    """Make the encoder, and log the licence.

    Raises:
        ConfigError: openSMILE is not installed.
    """
    try:
        import opensmile  # pyrefly: ignore[missing-import]
    except ImportError as error:
        raise ConfigError(f"eGeMAPS need openSMILE: pip install opensmile. {LICENCE}.") from error
    logging.getLogger("genser.encoders").warning("%s.", LICENCE)
    functionals = opensmile.FeatureLevel.Functionals
    return EgemapsEncoder(opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, functionals), opensmile.__version__)
