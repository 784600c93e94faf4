"""The Dockerfile and the systemd unit in examples/ match the package; neither is run."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest
import voice_server

from genser import cli

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE, UNIT = ROOT / "examples/Dockerfile", ROOT / "examples/genser.service"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
KNOWN = {"FROM", "COPY", "RUN", "USER", "EXPOSE", "ENV", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
DOCKER_STOP = 10  # s that docker stop waits before it kills


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str

    @property
    def arguments(self):
        """Return the arguments, whether written as JSON or as plain words."""
        at = self.rest.find("[")
        if self.word in ("ENTRYPOINT", "CMD", "HEALTHCHECK") and at >= 0:
            return json.loads(self.rest[at:])
        return shlex.split(self.rest)


def instructions():
    text = "\n".join(line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.lstrip().startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [Instruction(*line.strip().split(maxsplit=1)) for line in lines if line.strip()]


def only(word):
    (found,) = [one for one in instructions() if one.word == word]
    return found.arguments


def copied():
    """Yield the paths of the checkout that the image is built from."""
    for one in instructions():
        if one.word == "COPY" and not one.rest.startswith("--from="):
            yield from one.arguments[:-1]


def unit():
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read_string(UNIT.read_text("utf-8"))
    return parser


@pytest.fixture
def configuration(monkeypatch):
    """Return the settings that a command serves with."""

    def configured(words):
        served = []
        monkeypatch.setattr("genser.serving.run.serve", served.append)
        assert words[:2] == ["genser", "serve"]
        assert cli.app(words[1:], exit_on_error=False) == 0
        return served[0]

    return configured


def test_the_dockerfile_has_known_instructions():
    found = instructions()
    assert {one.word for one in found} == KNOWN
    assert found[0].word == "FROM"
    stages = [one.rest.split() for one in found if one.word == "FROM"]
    assert len({stage[0] for stage in stages}) == 1, "both stages must have the same Python"
    named = {stage[2] for stage in stages if stage[1:2] == ["AS"]}
    assert set(re.findall(r"--from=(\S+)", DOCKERFILE.read_text("utf-8"))) == named
    version = re.fullmatch(r"python:(\d+)\.(\d+)-slim", stages[0][0])
    least = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["project"]["requires-python"])
    assert tuple(map(int, version.groups())) >= tuple(map(int, least.groups()))


def test_the_image_copies_what_the_build_reads():
    sources = list(copied())
    assert all((ROOT / source).exists() for source in sources), sources
    project = PROJECT["project"]
    needed = ["pyproject.toml", project["readme"], PROJECT["tool"]["hatch"]["version"]["path"]]
    needed += PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed += [str(path.relative_to(ROOT)) for pattern in project["license-files"] for path in ROOT.glob(pattern)]
    needed += ["src/genser/models/base.onnx", "src/genser/models/silero_vad.onnx"]
    for path in needed:
        assert (ROOT / path).exists(), path
        assert any(Path(path).is_relative_to(source) for source in sources), path


def test_the_image_has_what_serving_needs_and_no_torch():
    (extras,) = re.findall(r"/source\[([\w,]+)\]", DOCKERFILE.read_text("utf-8"))
    assert "serve" in extras.split(",")
    groups = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + [one for extra in extras.split(",") for one in groups[extra]]
    names = {re.match(r"[\w-]+", one)[0].lower() for one in wanted}
    assert "onnxruntime" in names
    assert not names & {"genser", "torch", "transformers", "onnxruntime-gpu", "matplotlib", "pyarrow"}


def test_the_image_serves_without_root_and_stops_within_dockers_timeout(configuration):
    config = configuration(only("ENTRYPOINT") + only("CMD"))
    assert (config.host, config.port, config.model) == ("0.0.0.0", int(only("EXPOSE")[0]), None)
    assert config.hosts == ()  # otherwise its health check would be refused
    assert config.grace < DOCKER_STOP
    assert configuration([*only("ENTRYPOINT"), "--workers", "2", "--grace", "50"]).grace == 50
    assert only("STOPSIGNAL") == ["SIGTERM"]
    (user,) = only("USER")
    assert int(user) > 0
    assert f"--uid {user} " in DOCKERFILE.read_text("utf-8")


def test_the_health_check_fails_without_a_ready_server():
    python, *rest = only("HEALTHCHECK")
    assert (python, rest[0]) == ("python", "-c")
    assert ":8000/" in rest[1]
    with voice_server.running(host="0.0.0.0") as server:
        command = [sys.executable, "-c", rest[1].replace(":8000/", f":{server.port}/")]
        assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    assert subprocess.run(command, capture_output=True, timeout=30).returncode != 0


def test_the_unit_starts_the_server_and_waits_for_its_grace(configuration):
    service = unit()["Service"]
    program, *rest = shlex.split(service["ExecStart"])
    assert program == "/opt/genser/bin/genser"
    config = configuration(["genser", *rest])
    assert config.host == "127.0.0.1"
    assert service["KillSignal"] == "SIGTERM"
    assert float(service["TimeoutStopSec"]) > config.grace
    (extras,) = re.findall(r"pip install \"\.\[([\w,]+)\]\"", UNIT.read_text("utf-8"))
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    there = UNIT.read_text("utf-8").replace("/opt/genser/bin/genser", sys.executable)
    (tmp_path / "genser.service").write_text(there, "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "genser.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "genser.service" in line]) == (0, [])
