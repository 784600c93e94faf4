"""Trackers: TensorBoard's files as its own format has them, the others through stand-ins of their interfaces."""

import struct
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from toys import toy_head

from genser.errors import ConfigError
from genser.training.batches import TrainingData
from genser.training.recipe import load_recipe
from genser.training.tracking import tracker
from genser.training.train import train


def events(folder):
    """Every event of TensorBoard's files, which are records of length, checksum, content, checksum."""
    (path,) = folder.iterdir()
    content, at = path.read_bytes(), 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        yield Event.FromString(content[at + 12 : at + 12 + size])
        at += size + 16


CONFIG = load_recipe("small", {"encoder.source": "/home/anna/weights.safetensors"})
CONFIG = replace(CONFIG, head="linear", steps=4, batch_size=8, evaluate_every=2, augmented_copies=0)


def test_tensorboard_gets_every_evaluation(tmp_path):
    data = TrainingData(torch.randn(12, 3, 64), torch.arange(12) % 3)
    with tracker("tensorboard", tmp_path / "model", CONFIG) as log:
        history = train(toy_head(kind="linear").train(), data, CONFIG, data, on_step=log).history
    found = list(events(tmp_path / "model/run/tensorboard"))
    values = {(one.step, value.tag): value.simple_value for one in found for value in one.summary.value}
    for row in history:
        for name in ("loss", "gradient_norm", "lr", "validation_ua"):
            assert values[row["step"], name] == np.float32(row[name])
    assert [row["step"] for row in history] == [2, 4]
    text = b"".join(
        value.tensor.string_val[0] for one in found for value in one.summary.value if value.tensor.string_val
    )
    assert b"batch_size: 8" in text
    assert b"weights.safetensors" in text
    assert b"anna" not in text


class StandIn:
    """The part of wandb and trackio that is used, with their signatures."""

    def __init__(self):
        self.calls, self.rows, self.finished = [], [], 0

    def init(self, project=None, name=None, config=None, resume=None, dir=None, settings=None):
        self.calls.append(SimpleNamespace(project=project, name=name, config=config, settings=settings or {}))
        return self

    def log(self, metrics, step=None):
        self.rows.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize(("choice", "project"), [("wandb", "genser"), ("wandb:mine", "mine"), ("trackio:mine", "mine")])
def test_the_others_get_the_same(tmp_path, monkeypatch, choice, project):
    stand_in = StandIn()
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, choice.partition(":")[0], stand_in)
    with tracker(choice, tmp_path / "model", CONFIG) as log:
        log(1, {"step": 1, "loss": torch.tensor(0.5), "lr": 0.1})
        log(2, {"step": 2, "loss": 0.25, "lr": 0.1})
    (call,) = stand_in.calls
    assert (call.project, call.name, call.config["optimizer.lr"]) == (project, "model", CONFIG.optimizer.lr)
    assert "anna" not in str(call.config)
    assert stand_in.rows == [(2, {"loss": 0.25, "lr": 0.1})]
    assert stand_in.finished == 1
    if choice.startswith("wandb"):
        assert call.settings["disable_code"]
        assert call.settings["x_disable_machine_info"]


def test_nothing_is_written_without_a_tracker_or_a_step(tmp_path):
    with tracker(None, tmp_path, CONFIG) as log:
        log(2, {"loss": 0.25})
    with tracker("tensorboard", tmp_path, CONFIG):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("choice", "words"), [("wanbd", "Did you mean 'wandb'"), ("wandb", "pip install wandb")])
def test_a_tracker_that_is_missing_is_reported_before_the_run(tmp_path, monkeypatch, choice, words):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=words), tracker(choice, tmp_path, CONFIG):
        pass
