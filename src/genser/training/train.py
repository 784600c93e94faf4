"""Algorithm 1, top to bottom: features and classes in, a trained head out.

Whatever is random in step n — the rows, their altered copies, the mix-up, the noise, the times, the dropout — follows
from the seed and n alone. So the same seed gives the same model, a resumed run repeats an uninterrupted one exactly,
and several processes agree on a batch without speaking of it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.training.batches import (
    SEED_STRIDE,
    TrainingData,
    draw_features,
    draw_rows,
    fits_in_memory,
    fitting_rows,
    identity,
    resident_features,
    resident_places,
)
from genser.training.checkpoint import TrainState, append_metrics, load_checkpoint, read_metrics, save_checkpoint
from genser.training.cuda_graph import CapturedStep, captured_step
from genser.training.distributed import ALONE, Processes
from genser.training.optimizer import autocast, average_towards, averaged, learning_rate, make_optimizer
from genser.training.recipe import TrainConfig
from genser.transport import Objective


class Head(Protocol):
    """What the trainer needs of a head; the baselines are trained by the same code."""

    feature_transform: nn.Module

    def fit(self, features: Tensor, labels: Tensor, weights: Tensor | None) -> None:
        """Learn what needs no gradient from the training rows."""

    def example(self, x_1: Tensor, X_c: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, ...]:
        """Inputs of the loss, each batch first, for standardised features and class shares; may draw."""

    def loss(self, *example: Tensor) -> Tensor:
        """Mean loss over the rows of an example; draws nothing but dropout."""

    def __call__(self, features: Tensor) -> Tensor:
        """Class probabilities of raw features."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: metrics of every evaluation, and the best validation UA (−1 without validation)."""

    history: list[dict[str, float]]
    best: float


def train(
    head: Any,
    data: TrainingData,
    config: TrainConfig,
    validation: TrainingData | None = None,
    *,
    folder: Path | None = None,
    on_step: Callable[[int, dict[str, Any]], None] | None = None,
    processes: Processes = ALONE,
    captured: bool | None = None,
) -> TrainResult:
    """Train a head in place; its weights become the chosen average of the run.

    Args:
        head: Any :class:`Head`; what needs no gradient is fitted to the rows of ``data`` first.
        data: Rows of the training speakers.
        config: The recipe.
        validation: Rows of the held-out speakers.
        folder: Where ``last.safetensors``, ``best.safetensors`` and ``metrics.jsonl`` are kept. A run that finds its
            own ``last.safetensors`` goes on from there.
        on_step: Called with the number and the metrics of every step.
        processes: Place among the processes of a distributed run.
        captured: Whether steps are recorded as a CUDA graph over features that stay on the device, which changes
            results by rounding alone; None does so where the GPU can and has room.

    Raises:
        ModelError: If the folder holds a checkpoint of another recipe or other data.
    """
    device = next(head.parameters()).device
    head.to(data.features.device).fit(*fitting_rows(data))
    head.to(device)
    state = TrainState(head, [], make_optimizer(head, config.optimizer))
    state.average = [parameter.detach().clone() for parameter in state.parameters]
    run = _Run(state, data, config, validation, folder, processes)
    run.resume()
    with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []):
        run.captured = captured_step(state, data, config, processes, captured)
        while state.step < config.steps:
            metrics = run.advance()
            if on_step:
                on_step(state.step, metrics)
    return run.finish()


@dataclass
class _Run:
    """One training run: the state with all that is needed to move it on by a step."""

    state: TrainState
    data: TrainingData
    config: TrainConfig
    validation: TrainingData | None
    folder: Path | None
    processes: Processes
    history: list[dict[str, float]] = field(default_factory=list)
    best: list[Tensor] | None = None
    captured: CapturedStep | None = None
    kept: Tensor | None = None

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.identity = identity(self.config, self.data) if self.folder else ""
        self.device = self.state.parameters[0].device
        fits = fits_in_memory(self.data, self.state.head.config.feature_transform)
        self.kept = resident_features(self.state.head, self.data, "float32", self.device) if fits else None

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        if self.folder and (self.folder / "last.safetensors").exists():
            load_checkpoint(self.state, self.folder / "last.safetensors", self.identity)
            self.history = read_metrics(self.folder / "metrics.jsonl", until=self.state.step)

    def advance(self) -> dict[str, float]:
        """One optimiser step, and whatever is due after it."""
        state, config = self.state, self.config
        torch.manual_seed(config.seed * SEED_STRIDE + state.step)
        lr = learning_rate(state.step, config.steps, config.optimizer)
        rows = draw_rows(self.data, config.batch_size, state.step, config.seed)
        loss, norm = (self.captured or self._learn)(rows, lr)
        state.step += 1
        metrics = {"step": state.step, "loss": loss, "gradient_norm": norm, "lr": lr}
        finished = state.step == config.steps
        evaluated = finished or state.step % config.evaluate_every == 0
        kept = finished or state.step % config.checkpoint_every == 0
        if self.captured and (evaluated or kept):
            self.captured.catch_up()
        if evaluated:
            metrics = {name: float(value) for name, value in metrics.items()} | self._validate()
            self._record(metrics | {"seconds": round(time.monotonic() - self.started, 3)})
        if kept:
            self._keep("last")
        return metrics

    def _learn(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Algorithm 1 for the given rows: loss of Eq. (8), gradient, update of x_θ and of its average."""
        state, config = self.state, self.config
        loss, share = self._loss(rows)
        state.optimizer.zero_grad()
        loss.backward()
        self.processes.average([p.grad for p in state.parameters if p.grad is not None], share)
        norm = nn.utils.clip_grad_norm_(state.parameters, config.optimizer.clip or math.inf)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        state.optimizer.step()
        average_towards(state, config.optimizer.ema)
        return self.processes.total(loss.detach() * share), norm

    def _loss(self, rows: Tensor) -> tuple[Tensor, float]:
        """Loss on this process's slice of the rows, and the share of the batch that the slice is."""
        head = self.state.head
        states = self._states(rows)
        target = nn.functional.one_hot(self.data.labels[rows].to(self.device), len(head.config.labels)).float()
        batch = self.config.objective.augment(states[:, -1], states[:, :-1], target)
        example = [self.processes.slice(part) for part in head.example(*batch, self.config.objective)]
        with autocast(self.config.precision, self.device):
            return head.loss(*example), len(example[0]) / len(rows)

    def _states(self, rows: Tensor) -> Tensor:
        """Standardised features of drawn rows, or of the copies drawn in their stead."""
        step, seed = self.state.step, self.config.seed
        if self.kept is not None:
            return self.kept[resident_places(self.data, rows, step, seed)]
        features = draw_features(self.data, rows, step, seed)
        return self.state.head.feature_transform(features.to(self.device).float())

    def _validate(self) -> dict[str, float]:
        """UA of the averaged weights on the validation speakers; keeps the weights if they are the best so far."""
        if self.validation is None:
            return {}
        with averaged(self.state):
            scores = predict(self.state.head, self.validation.features)
            confusion = confusion_matrix(self.validation.labels.numpy(), scores.argmax(-1), scores.shape[-1])
            ua = float(unweighted_accuracy(confusion))
            if ua > self.state.best:
                self.state.best = ua
                self.best = [parameter.detach().clone() for parameter in self.state.parameters]
                self._keep("best")
        return {"validation_ua": ua}

    def _record(self, metrics: dict[str, float]) -> None:
        self.history.append(metrics)
        if self.folder and self.processes.rank == 0:
            append_metrics(self.folder / "metrics.jsonl", metrics)

    def _keep(self, name: str) -> None:
        if self.folder and self.processes.rank == 0:
            save_checkpoint(self.state, self.folder / f"{name}.safetensors", self.identity)

    def finish(self) -> TrainResult:
        """Leave the chosen average in the head."""
        result = TrainResult(self.history, self.state.best)
        if self.config.keep == "last" or self.validation is None:
            self._settle(self.state.average)
        elif self.best is not None:
            self._settle(self.best)
        else:  # resumed after the best moment, which the checkpoint keeps as plain weights
            assert self.folder is not None
            load_checkpoint(self.state, self.folder / "best.safetensors", self.identity)
        return result

    def _settle(self, weights: list[Tensor]) -> None:
        for parameter, value in zip(self.state.parameters, weights, strict=True):
            parameter.data.copy_(value)


@torch.inference_mode()
def predict(head: Any, features: Tensor, batch_size: int = 4096, **options: Any) -> np.ndarray:
    """Class probabilities of raw features, shape (rows, classes); options go to the head, such as a sampler."""
    training, device = head.training, next(head.parameters()).device
    head.eval()
    scores = [head(part.to(device).float(), **options).float().cpu() for part in features.split(batch_size)]
    head.train(training)
    return torch.cat(scores).numpy()
