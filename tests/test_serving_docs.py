"""Examples in docs/http.md and docs/segments.md, run as they stand."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import voice_server
from voices import LABELS, PITCHES, RATE, PitchBackend, babble, hush

from genser.inference.recognizer import Recognizer

DOCS = Path(__file__).resolve().parent.parent / "docs"
TALK = np.concatenate([part for pitch in PITCHES for part in (hush(0.7), babble(1.5, pitch))] + [hush(0.7)])


def blocks(page, language):
    text = (DOCS / page).read_text("utf-8")
    return [block for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) if kind == language]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("speech.wav", "one.wav", "two.flac"):
        soundfile.write(name, babble(1.5), RATE)
    soundfile.write("talk.wav", TALK, RATE)


@pytest.fixture(scope="module")
def server():
    with voice_server.running() as server:
        yield server


@pytest.mark.parametrize("block", blocks("http.md", "python"))
def test_python_examples_of_http(block, folder, server, capsys):
    data = np.round(TALK * 32767).astype("<i2").tobytes()
    names = {"url": server.url, "chunks": [data[at : at + 3200] for at in range(0, len(data), 3200)]}
    imports = "import httpx2 as httpx\n"
    exec(compile(imports + block, "http.md", "exec"), names)
    told = capsys.readouterr().out
    if "segments" in names:
        assert [segment["label"] for segment in names["segments"]] == list(LABELS)
    else:
        assert "middle" in told


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("line", [line for b in blocks("http.md", "sh") for line in b.splitlines() if "curl" in line])
def test_curl_examples_of_http(line, folder, server):
    command = line.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30)
    assert '"label":"middle"' in done.stdout, done.stderr


def test_python_examples_of_segments(folder, capsys):
    (block,) = blocks("segments.md", "python")
    names = {"recognizer": Recognizer(PitchBackend()), "chunks": np.array_split(TALK, 40)}
    exec(compile(block, "segments.md", "exec"), names)
    assert [segment.label for segment in names["segments"]] == list(LABELS)
    assert capsys.readouterr().out.count(" s: ") == 3


def test_every_option_of_segments_is_explained():
    """The page, the query of the server and the options of the library name the same things."""
    from dataclasses import fields

    from genser.segments.options import SegmentOptions
    from genser.serving.schemas import SegmentQuery

    options = {field.name for field in fields(SegmentOptions)} - {"prior", "context"}
    assert options <= set(SegmentQuery.model_fields)
    text = (DOCS / "http.md").read_text("utf-8")
    assert {name for name in options if f"`{name}`" not in text} == set()
