"""Train a head on stored features: Algorithm 1 of the paper, top to bottom.

From the command line, which encodes a manifest first (see :mod:`genser.training.run`):

    genser train manifest.csv -o model                                                 on a CPU
    genser train manifest.csv -o model --device cuda                                   on a GPU
    torchrun --nproc-per-node 4 -m genser train manifest.csv -o model --device cuda    on four GPUs

From Python: ``train(make_head(config.head_config(...)), data, config, validation)``.

A step draws rows, mixes them up and adds noise, draws a time t for each and a state x_t on its path, lets the head
estimate x_0, and moves the weights along the gradient of the squared error (Eq. 8) by AdamW; an exponential moving
average of the weights becomes the model. It is the same step everywhere. With several processes all draw the same
batch, and each computes its share of it; they have the loss of one process, but for rounding, if the batch size is a
multiple of processes times networks of the ensemble. The first process alone needs a copy of the rows; the others map
its files.

Everything random in step n follows from the seed and n: the rows, their augmented copies, mix-up, noise, times and
dropout. So the same seed gives the same model, and a resumed run equals an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genser.caches import import_torch_compiler
from genser.errors import ConfigError, ModelError
from genser.metrics.classification import confusion_matrix, unweighted_accuracy
from genser.model.head import Head
from genser.training.batches import (
    SEED_STRIDE,
    TrainingData,
    draw_features,
    draw_rows,
    fits_on_device,
    fitting_rows,
    identity,
    resident_features,
    resident_indices,
)
from genser.training.checkpoint import TrainState, append_metrics, load_checkpoint, read_metrics, save_checkpoint
from genser.training.cuda_graph import recorded
from genser.training.distributed import ALONE, Processes, WholeBatchDropout
from genser.training.recipe import OptimizerConfig, TrainConfig


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        history: Metrics of every evaluation.
        best: Best validation UA; −1 without validation.
        steps: Steps that were trained now, of which a fit in closed form is one; 0 if a finished run was found.
    """

    history: list[dict[str, float]]
    best: float
    steps: int


def train(
    head: Head,
    data: TrainingData,
    config: TrainConfig,
    validation: TrainingData | None = None,
    *,
    folder: Path | None = None,
    on_step: Callable[[int, dict[str, Any]], None] | None = None,
    processes: Processes = ALONE,
) -> TrainResult:
    """Train a head in place; its weights become the chosen average of the run.

    Args:
        head: On the device to train on; its feature transform and ridge prior are fitted first.
        data: Rows of the training side.
        config: The recipe.
        validation: Rows of the validation side.
        folder: Folder for ``last.safetensors``, ``best.safetensors`` and ``metrics.jsonl``. A run that finds its own
            ``last.safetensors`` there resumes from it.
        on_step: Called with the number and the metrics of every step.
        processes: This process among those of a distributed run.

    Raises:
        ConfigError: With a folder: the loss is not finite.
        ModelError: The folder holds a checkpoint of another recipe or other data, or the head has no parameters and no
            closed form.
    """
    if head.is_closed_form:
        return _fitted(head, data, validation, processes)
    first = next((parameter for parameter in head.parameters() if parameter.requires_grad), None)
    if first is None:
        raise ModelError(
            f"The head {head.config.kind!r} has no parameters to train. Give it at least one nn.Parameter, or "
            "set is_closed_form if fit learns everything."
        )
    device = first.device
    _fit(head, data, processes)
    state = TrainState(head, [], make_optimizer(head, config.optimizer))
    state.average = [parameter.detach().clone() for parameter in state.parameters]
    records = Records(state, config, validation, folder, identity(config, data) if folder else "", processes.rank == 0)
    begin = state.step

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        step = Step(state, data, config, processes)
        while state.step < config.steps:
            torch.manual_seed(config.seed * SEED_STRIDE + state.step)
            lr = learning_rate(state.step, config.steps, config.optimizer)
            loss, norm = step(draw_rows(data, config.batch_size, state.step, config.seed), lr)
            state.step += 1
            metrics: dict[str, Any] = {"step": state.step, "loss": loss, "gradient_norm": norm, "lr": lr}
            metrics = records.add(metrics)
            if on_step:
                on_step(state.step, metrics)

    result = TrainResult(records.history, state.best, state.step - begin)
    records.set_weights()
    return result


class Records:
    """Evaluations and checkpoints of a run, and its best weights.

    Args:
        state: State of the run; with a checkpoint in the folder, the run resumes from it.
        config: The recipe.
        validation: Rows of the validation side.
        folder: Folder of the files; None for none.
        run: Identity of the run, which its checkpoints have.
        is_writer: Whether this process writes the files.

    Raises:
        ModelError: The folder holds a checkpoint of another recipe or other data.
    """

    def __init__(
        self,
        state: TrainState,
        config: TrainConfig,
        validation: TrainingData | None,
        folder: Path | None,
        run: str,
        is_writer: bool,
    ) -> None:
        self.history: list[dict[str, float]] = []
        self._state, self._config, self._validation = state, config, validation
        self._folder, self._written, self._run = folder, folder if is_writer else None, run
        self._best: list[Tensor] | None = None
        self._started = time.monotonic()
        if folder and (folder / "last.safetensors").exists():
            load_checkpoint(state, folder / "last.safetensors", run)
        if self._written:
            self.history = read_metrics(self._written / "metrics.jsonl", until=state.step)

    def add(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Evaluate and save after a step, if the recipe asks for it; return its metrics, with those of the evaluation.

        Raises:
            ConfigError: With a folder: the loss is not finite.
        """
        state, config = self._state, self._config
        is_last = state.step == config.steps
        if is_last or state.step % config.evaluate_every == 0:
            metrics = {name: float(value) for name, value in metrics.items()}
            self._evaluate(metrics)
        if self._written and (is_last or state.step % config.checkpoint_every == 0):
            save_checkpoint(state, self._written / "last.safetensors", self._run)
        return metrics

    def _evaluate(self, metrics: dict[str, float]) -> None:
        """Add the validation UA to the metrics, keep the best weights, and write the metrics."""
        state = self._state
        if self._written and not math.isfinite(metrics["loss"]):
            raise ConfigError(
                f"The loss at step {metrics['step']:g} is not finite, so the weights are lost. Lower optimizer.lr, "
                f"which is {self._config.optimizer.lr:g}, and train into an empty folder."
            )
        if self._validation is not None:
            with averaged(state):
                metrics["validation_ua"] = ua = validation_ua(state.head, self._validation)
                if ua > state.best:
                    state.best, self._best = ua, [parameter.detach().clone() for parameter in state.parameters]
                    if self._written:
                        save_checkpoint(state, self._written / "best.safetensors", self._run)
        self.history.append(metrics | {"seconds": round(time.monotonic() - self._started, 3)})
        if self._written:
            append_metrics(self._written / "metrics.jsonl", self.history[-1])

    def set_weights(self) -> None:
        """Give the head the weights that the recipe keeps: the last average, or that of the best evaluation."""
        if self._config.keep == "last" or self._validation is None:
            _set_weights(self._state, self._state.average)
        elif self._best is not None:
            _set_weights(self._state, self._best)
        else:  # the run was resumed after its best evaluation, whose checkpoint has the averaged weights
            assert self._folder is not None
            load_checkpoint(self._state, self._folder / "best.safetensors", self._run)


def _fit(head: Head, data: TrainingData, processes: Processes) -> None:
    """Fit what a head learns without gradients, in the first process alone, which needs a copy of all rows."""
    device = head.device
    if processes.rank == 0:
        head.to(data.features.device).fit(*fitting_rows(data))
        head.to(device)
    processes.broadcast(head)


def _fitted(head: Head, data: TrainingData, validation: TrainingData | None, processes: Processes) -> TrainResult:
    """Fit a head that has a closed form; it is fast enough to need no checkpoint."""
    _fit(head, data, processes)
    if validation is None:
        return TrainResult([], -1.0, 1)
    ua = validation_ua(head, validation)
    return TrainResult([{"step": 1, "validation_ua": ua}], ua, 1)


class Step:
    """One optimiser step of Algorithm 1, over inputs that stay in place so that it can be recorded.

    Args:
        state: Of the run; weights, moments and average change in place.
        data: Rows to learn from. They are transformed once and stay on the device if they fit; if not, every batch is
            transformed and copied.
        config: The recipe.
        processes: This process among those of a distributed run.
    """

    def __init__(
        self, state: TrainState, data: TrainingData, config: TrainConfig, processes: Processes = ALONE
    ) -> None:
        self.state, self.data, self.config, self.processes = state, data, config, processes
        self.device = state.parameters[0].device
        is_resident = fits_on_device(data, state.head.config.feature_transform, self.device)
        self.features = resident_features(state.head, data, self.device) if is_resident else None
        shape = (config.batch_size, *state.head.config.feature_transform.given)
        self.states = torch.zeros(shape, device=self.device)
        self.indices = torch.zeros(config.batch_size, dtype=torch.int64, device=self.device)
        self.labels = torch.zeros_like(self.indices)
        self.ema_weight = torch.zeros((), device=self.device)
        self.share = len(processes.slice(self.labels)) / config.batch_size
        self.differentiate, self.update = self._differentiate, self._update
        if config.unmeasured_cuda_graph:
            self.differentiate = recorded(self._differentiate, self.device)
            self.update = recorded(self._update, self.device)

    def __call__(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Learn from some rows; return the loss and the norm of the gradient without waiting for the device."""
        number, seed = self.state.step, self.config.seed
        if self.features is not None:
            self._send(self.indices, resident_indices(self.data, rows, number, seed))
        else:
            features = draw_features(self.data, rows, number, seed).to(self.device).float()
            self.states.copy_(self.state.head.feature_transform(features))
        self._send(self.labels, self.data.labels[rows])
        self._send(self.ema_weight, torch.tensor(averaging_weight(number, self.config.optimizer.ema)))
        for group in self.state.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                self._send(group["lr"], torch.tensor(lr))
            else:
                group["lr"] = lr
        self.differentiate()
        self.processes.average([p.grad for p in self.state.parameters if p.grad is not None], self.share)
        self.update()
        return self.processes.total(self.loss * self.share), self.norm.clone()

    def _differentiate(self) -> None:
        """Loss of Eq. (8) on this process's share of the batch, and its gradients."""
        head, objective = self.state.head, self.config.objective
        states = self.states if self.features is None else self.features[self.indices]
        target = nn.functional.one_hot(self.labels, len(head.config.labels)).float()
        batch = objective.augment(states[:, -1], states[:, :-1], target)
        example = [self.processes.slice(part) for part in head.example(*batch, objective)]
        is_half = self.config.precision == "bfloat16"
        half = torch.autocast(self.device.type, torch.bfloat16) if is_half else nullcontext()
        dropout = WholeBatchDropout(self.processes) if self.processes.world > 1 else nullcontext()
        with half, dropout:
            loss = head.loss(*example)
        self.state.optimizer.zero_grad()
        loss.backward()
        self.loss = loss.detach()

    def _update(self) -> None:
        """Clip the gradient, take a step of AdamW, and move the average towards the new weights."""
        self.norm = nn.utils.clip_grad_norm_(self.state.parameters, self.config.optimizer.clip or math.inf)
        self.state.optimizer.step()
        weights = [parameter.detach() for parameter in self.state.parameters]
        torch._foreach_lerp_(self.state.average, weights, [self.ema_weight] * len(weights))

    def _send(self, target: Tensor, values: Tensor) -> None:
        """Copy values to the device without waiting; torch keeps pinned memory until the copy is done."""
        target.copy_(values.pin_memory() if self.device.type == "cuda" else values, non_blocking=True)


def make_optimizer(head: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves vectors and biases alone; on a GPU it can be recorded."""
    import_torch_compiler()
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if trained[0].device.type != "cuda":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    lr = torch.tensor(config.lr, device=trained[0].device)
    return torch.optim.AdamW(groups, lr=lr, fused=True, capturable=True)


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up to the peak, then a cosine down to its final share."""
    warmup = config.warmup * steps
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(steps - warmup, 1)
    return config.lr * (config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2)


def averaging_weight(step: int, decay: float) -> float:
    """Weight of the current weights in their average: larger in early steps, so that the average forgets the start."""
    return 1 - min(decay, (1 + step) / (10 + step)) if decay else 1.0


@contextmanager
def averaged(state: TrainState) -> Iterator[None]:
    """Run a block with the averaged weights in the head, then put the current ones back."""
    current = [parameter.detach().clone() for parameter in state.parameters]
    _set_weights(state, state.average)
    try:
        yield
    finally:
        _set_weights(state, current)


@torch.no_grad()
def _set_weights(state: TrainState, values: list[Tensor]) -> None:
    for parameter, value in zip(state.parameters, values, strict=True):
        parameter.copy_(value)


def validation_ua(head: Head, rows: TrainingData) -> float:
    """Unweighted accuracy of a head on some rows."""
    scores = predict(head, rows.features)
    confusion = confusion_matrix(rows.labels.numpy(), scores.argmax(-1), scores.shape[-1])
    return float(unweighted_accuracy(confusion))


@torch.inference_mode()
def predict(head: Head, features: Tensor, batch_size: int = 4096, **options: Any) -> np.ndarray:
    """Class probabilities of raw features, shape (rows, classes); options go to the head, such as a sampler."""
    training, device = head.training, head.device
    head.eval()
    scores = [head(part.to(device).float(), **options).float().cpu() for part in features.split(batch_size)]
    head.train(training)
    return torch.cat(scores).numpy()
