"""The peers by name, and how one is made: ``catalog.toml`` lists the models, ``ADAPTERS`` the code that runs them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources

from genser.errors import ConfigError, suggestion
from genser.peers.peer import MakePeer, Peer, PeerRequest

ADAPTERS = {
    "audio-classification": "genser.peers.audio_classifier:load",
    "prompted": "genser.peers.prompted:load",
    "emotion2vec": "genser.peers.funasr_models:load_emotion2vec",
    "sensevoice": "genser.peers.funasr_models:load_sensevoice",
    "openai": "genser.peers.hosted:openai",
    "gemini": "genser.peers.hosted:gemini",
    "hume": "genser.peers.hosted:hume",
}
"""Adapter → module and function that makes a peer; imported when it is used."""


@dataclass(frozen=True)
class Listed:
    """A peer of the catalog; its fields are those of ``catalog.toml``."""

    adapter: str
    licence: str
    weights: str = ""
    url: str = ""
    key: str = ""


@cache
def catalog() -> dict[str, Listed]:
    """Every peer by name."""
    text = resources.files("genser.peers").joinpath("catalog.toml").read_text("utf-8")
    return {name: Listed(**table) for name, table in tomllib.loads(text).items()}


@dataclass(frozen=True)
class PeerChoice:
    """A peer that a user named, before the classes of the corpus are known.

    Attributes:
        name: Its name in the catalog.
        weights: Folder, hub id, or name of a hosted model.
        url: Where sound is sent; empty if the peer runs on this machine.
    """

    name: str
    weights: str
    url: str = ""

    @classmethod
    def of(cls, text: str, send_audio_to: str | None = None) -> "PeerChoice":
        """Read ``NAME`` or ``NAME=WEIGHTS``.

        Args:
            text: The name, and where its weights are if not at the place that the catalog names.
            send_audio_to: The hosted system to which sound may be sent: its name, or ``NAME=URL`` for another server
                of the same form.

        Raises:
            ConfigError: There is no such peer, it needs weights, or it is hosted and nothing may be sent to it.
        """
        name, _, weights = text.partition("=")
        if name not in catalog():
            raise ConfigError(f"There is no peer {name!r}. {suggestion(name, catalog())}")
        entry = catalog()[name]
        weights = weights or entry.weights
        if not weights:
            raise ConfigError(f"The peer {name!r} needs weights. Write {name}=FOLDER or {name}=HUB-ID.")
        if not entry.url:
            return cls(name, weights)
        allowed, _, url = (send_audio_to or "").partition("=")
        if allowed != name:
            raise ConfigError(
                f"The peer {name!r} is hosted: every clip would be sent to {entry.url}. Allow it with "
                f"--send-audio-to {name}."
            )
        return cls(name, weights, url or entry.url)

    def load(self, task: str, classes: Sequence[str], device: str = "cpu") -> Peer:
        """Make the peer; this loads its weights.

        Args:
            task: ``"emotion"`` or ``"gender"``.
            classes: Classes of the corpus, which a prompt lists.
            device: Where it runs.

        Raises:
            GenserError: It cannot be loaded, or its package is not installed.
        """
        entry = catalog()[self.name]
        module, _, function = ADAPTERS[entry.adapter].partition(":")
        make: MakePeer = getattr(import_module(module), function)
        return make(PeerRequest(self.name, self.weights, entry.licence, task, tuple(classes), device, self.url))
