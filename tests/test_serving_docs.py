"""The examples in docs/http.md and docs/segments.md run, and every option is documented."""

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
import voice_server
from voices import LABELS, PITCHES, RATE, PitchBackend, babble, hush

from genser.inference.recognizer import Recognizer
from genser.segments.options import SegmentOptions
from genser.serving.config import ServerConfig

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
    output = capsys.readouterr().out
    if "adapted" in names:  # with a profile the recogniser takes each voice for the next one
        assert [segment["label"] for segment in names["adapted"]] == [*LABELS[1:], LABELS[0]]
    elif "segments" in names:
        assert [segment["label"] for segment in names["segments"]] == list(LABELS)
    else:
        assert "middle" in output


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


def test_every_option_of_segments_is_documented():
    text = (DOCS / "http.md").read_text("utf-8")
    assert {field.name for field in fields(SegmentOptions) if f"`{field.name}`" not in text} == set()


def test_every_setting_of_the_server_is_documented():
    text = (DOCS / "http.md").read_text("utf-8")
    names = {f"--{field.name.replace('_', '-')}" for field in fields(ServerConfig)} - {"--api-keys", "--allowed-hosts"}
    assert {name for name in names if name not in text} == set()
