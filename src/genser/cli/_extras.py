"""Turns the import error of a missing extra into a message with the command that installs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from genser.errors import MissingExtraError

TRAINING = {"torch", "safetensors", "jaxtyping", "transformers", "yaml"}


@contextmanager
def training_extra(purpose: str) -> Iterator[None]:
    """Raise MissingExtraError if a package of the extra [train] is missing.

    Args:
        purpose: What needs the extra, as the start of a sentence, such as ``"Training"``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING:
            raise
        raise MissingExtraError("train", purpose) from error
