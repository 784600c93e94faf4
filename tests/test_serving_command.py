"""The command `genser serve`: its options, and errors before the server starts."""

import os
import socket
import subprocess
import sys
from dataclasses import fields

import pytest

from genser import cli
from genser.serving import run
from genser.serving.config import ServerConfig


@pytest.fixture
def configured(monkeypatch):
    """Return the settings that a command line serves with."""
    served = []
    monkeypatch.setattr(run, "serve", served.append)

    def parse(*words):
        assert cli.app(["serve", *words], exit_on_error=False) == 0
        return served.pop()

    return parse


def test_every_setting_but_the_keys_is_an_option(configured):
    for field in fields(ServerConfig):
        if isinstance(field.default, int | float):
            option = f"--{field.name.replace('_', '-')}"
            assert getattr(configured(option, "7"), field.name) == 7
    assert configured("model.onnx").model == configured("--model", "model.onnx").model == "model.onnx"
    assert configured("--allow-host", "a", "--allow-host", "b").allowed_hosts == ("a", "b")
    assert configured() == ServerConfig()


def test_keys_come_from_the_environment(configured, monkeypatch):
    monkeypatch.setenv("GENSER_API_KEYS", "0123456789abcdef, fedcba9876543210,")
    assert configured().api_keys == ("0123456789abcdef", "fedcba9876543210")


def served(*words):
    command = [sys.executable, "-m", "genser", "serve", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ})
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_missing_or_damaged_model_is_one_sentence_and_status_2(workers, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a model")
    for model, words in (("nothing", "There is no model 'nothing'"), (str(damaged), str(damaged))):
        status, text = served("--model", model, "--port", "0", "--workers", workers)
        assert status == 2
        assert words in text
        assert "\n" not in text
        assert text.startswith("genser: ")


def test_a_busy_port_and_an_unknown_host_are_one_sentence_and_status_2():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, text = served("--port", str(port))
    assert (status, "\n" in text) == (2, False)
    assert f"cannot listen on 127.0.0.1:{port}" in text
    status, text = served("--host", "host.invalid")
    assert status == 2
    assert "cannot listen on host.invalid:8000" in text
