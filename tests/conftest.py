"""Fixtures that several test files share, and the programs that the browser tests need."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("genser", deadline=None, max_examples=50, derandomize=bool(os.environ.get("CI")))
settings.load_profile("genser")

ROOT = Path(__file__).resolve().parent.parent


LONGEST = (
    *("export", "docs", "notebooks", "silence", "training_distributed", "benchmarks", "bench", "scale_ray", "scale"),
    *("serving_page", "serving_hostile", "training_lora", "cli_resume", "serving_schema", "encoders_whisper"),
)
"""Files whose tests take longest. They start first, so that no core idles at the end."""

BROWSER = "sudo apt-get install chromium chromium-driver, or put chromium and chromedriver on the PATH"


def missing_for_browser_tests() -> list[str]:
    """What the tests of the web page need and this machine lacks."""
    programs = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return programs + ["selenium"] * (find_spec("selenium") is None)


def pytest_configure() -> None:
    """Refuse to skip the browser tests where GENSER_REQUIRE_BROWSER is set, as in CI."""
    missing = missing_for_browser_tests()
    if missing and os.environ.get("GENSER_REQUIRE_BROWSER", "0") != "0":
        raise pytest.UsageError(
            f"GENSER_REQUIRE_BROWSER is set, but the browser tests lack {', '.join(missing)}. To install: {BROWSER}."
        )


def pytest_report_header() -> list[str]:
    """Say before the tests run whether the browser tests are skipped."""
    missing = missing_for_browser_tests()
    return [f"Browser tests are skipped: {', '.join(missing)} not found. To install: {BROWSER}."] if missing else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


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


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """One small model with a speech gate: ``folder``, and as ONNX ``float32`` and ``int8``; nothing may change them."""
    from types import SimpleNamespace

    from filelock import FileLock

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # all workers share the model
    root /= "toys"
    paths = SimpleNamespace(folder=root / "toy", float32=root / "float32.onnx", int8=root / "int8.onnx")
    with FileLock(root.with_suffix(".lock")):
        if not paths.int8.exists():  # the last one
            _make_toys(root)
    return paths


def _make_toys(root: Path) -> None:
    from copy import deepcopy

    from toys import toy_folder

    from genser.export import onnx as export

    folder = toy_folder(root / "toy", gated=True)
    proto = export._exported(export.load_speech_model(export.load_model(folder)))
    with pytest.MonkeyPatch.context() as patch:  # tracing takes most of an export: once for both precisions
        patch.setattr(export, "_exported", lambda _model: deepcopy(proto))
        for precision in ("float32", "int8"):
            export.export_onnx(folder, root / f"{precision}.onnx", precision)
