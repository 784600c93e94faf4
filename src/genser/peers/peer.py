"""What a peer is: a finished system of another package that takes clips and answers with classes of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Answer:
    """What a peer answers to one clip.

    Attributes:
        scores: Own class → score, at least 0. A system that only names a class gives it 1. Empty if the answer names
            no class, or several.
        text: The answer as the system gave it, if it answers in words or tags.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class PeerInfo:
    """Where a peer comes from, for the report.

    Attributes:
        name: Its name.
        library: Package that runs it, with its version, such as ``"transformers 5.24.0"``.
        weights: Folder or hub id of its weights, or the name of a hosted model.
        licence: Licence of the weights, as far as their page states one.
        prompt: What the system is asked, if it is prompted.
        sends_to: Where sound is sent; empty if it stays on this machine.
    """

    name: str
    library: str
    weights: str
    licence: str
    prompt: str = ""
    sends_to: str = ""


class Peer(Protocol):
    """A finished system of another package.

    Attributes:
        info: Where it comes from.
        classes: Its own classes, in its own words.
        gives_scores: Whether its scores are probabilities. A system that only names a class has no calibration.
    """

    info: PeerInfo
    classes: tuple[str, ...]
    gives_scores: bool

    def __call__(self, waveform: np.ndarray) -> Answer:
        """Answer for one clip of up to 30 s: float32 of shape (samples,) at 16 kHz."""
        ...


@dataclass(frozen=True)
class PeerRequest:
    """What a peer is made from.

    Attributes:
        name: Its name in the catalog.
        weights: Folder or hub id, or name of a hosted model.
        licence: Licence of the weights.
        task: ``"emotion"`` or ``"gender"``.
        classes: Classes of the corpus, which a prompt lists.
        device: Where it runs.
        url: Address of the server of a hosted system.
    """

    name: str
    weights: str
    licence: str
    task: str
    classes: tuple[str, ...]
    device: str = "cpu"
    url: str = ""

    def info(self, library: str, prompt: str = "") -> PeerInfo:
        """Where the peer comes from."""
        return PeerInfo(self.name, library, self.weights, self.licence, prompt, self.url)


MakePeer = Callable[[PeerRequest], Peer]
