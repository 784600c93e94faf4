"""The notebooks of docs/ run, and their stored outputs are small and name no machine.

To renew the outputs: python tests/test_notebooks.py (needs espeak-ng).
"""

import base64
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST_PICTURE, LARGEST = 60_000, 500_000
"""Bytes of a picture, and of all notebooks together."""


def executed(path):
    """The notebook with new outputs, run in its own folder; the first cell that fails is an error."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        cell.metadata.clear()
    where = {"metadata": {"path": str(path.parent)}}
    client = nbclient.NotebookClient(book, timeout=300, resources=where, record_timing=False, coalesce_streams=True)
    client.execute()
    book.metadata.pop("language_info", None)  # it names the version of Python
    return book


def outputs(book):
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


def pictures(book):
    return [base64.b64decode(one.data["image/png"]) for one in outputs(book) if "image/png" in one.get("data", {})]


def kinds(book):
    """For each cell what it shows: streams and kinds of data, without numbers that differ between processors."""
    shown = [[sorted(one.get("data", {})) or one.name for one in cell.get("outputs", ())] for cell in book.cells]
    return [[kind for kind in cell if kind != "stderr"] for cell in shown]


def test_there_are_four():
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_is_stored(path, monkeypatch):
    pytest.importorskip("matplotlib")
    stored = nbformat.read(path, as_version=4)
    if "espeak-ng" in "".join(cell.source for cell in stored.cells) and not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert kinds(executed(path)) == kinds(stored)


def test_the_stored_outputs_are_small_and_name_no_machine():
    text = "".join(path.read_text("utf-8") for path in NOTEBOOKS)
    assert len(text.encode()) < LARGEST
    for path in NOTEBOOKS:
        book = nbformat.read(path, as_version=4)
        assert [one for one in outputs(book) if one.output_type == "error" or one.get("name") == "stderr"] == []
        assert all(len(picture) < LARGEST_PICTURE for picture in pictures(book))
        shown = "".join(str({**one, "data": {**one.get("data", {}), "image/png": ""}}) for one in outputs(book))
        assert re.findall(r"/(?:tmp|home|root|work|usr|opt)\b[^\s'\"]*|[A-Z]:\\\\", shown) == []


if __name__ == "__main__":
    for path in NOTEBOOKS:
        path.write_text(nbformat.writes(executed(path)) + "\n", "utf-8")
