"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("genser", deadline=None, max_examples=50, derandomize=bool(os.environ.get("CI")))
settings.load_profile("genser")

ROOT = Path(__file__).resolve().parent.parent


def _shared(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / folder))
    if not path.is_dir():
        pytest.skip(f"{variable} is not set and {path} does not exist")
    return path


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder with the real corpora (GENSER_DATA, or shared/data beside the checkout)."""
    return _shared("GENSER_DATA", "data")


@pytest.fixture(scope="session")
def weights() -> Path:
    """Folder with the real Whisper encoders (GENSER_WEIGHTS, or shared/weights beside the checkout)."""
    return _shared("GENSER_WEIGHTS", "weights")
