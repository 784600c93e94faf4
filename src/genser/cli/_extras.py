"""One clear sentence instead of an import error where an extra is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from genser.errors import MissingExtraError

TRAINING = {"torch", "safetensors", "jaxtyping", "transformers", "yaml"}


@contextmanager
def training_extra(purpose: str) -> Iterator[None]:
    """Turn the absence of the [train] extra into its own error.

    Args:
        purpose: What needs it, as the start of a sentence.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING:
            raise
        raise MissingExtraError("train", purpose) from error
