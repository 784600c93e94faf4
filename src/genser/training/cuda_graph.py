"""Algorithm 1 for GPUs: the same step in one launch and with few bytes.

In plain steps the 71 M parameters of the paper wait for the launches of a thousand small kernels. Here the features
lie on the device, already standardised, and everything from drawing them to the new weights is recorded once as a CUDA
graph and replayed. The bytes of a step are few: matrices compute from bfloat16 copies, whose gradients stay bfloat16 as
under autocast; queries and keys that no gradient reaches have no moments; clipping and AdamW are one pass over the
weights. The average follows one step behind, on a stream beside the matrix products, which leave bandwidth idle.

Randomness still follows from seed and step: a replay reads the seed of torch's generator, which is set before it.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from genser.training.adamw import Trained, adamw_
from genser.training.batches import TrainingData, resident_features, resident_places, room_for
from genser.training.checkpoint import TrainState
from genser.training.distributed import Processes
from genser.training.optimizer import autocast, averaging_weight
from genser.training.recipe import TrainConfig

WARM_UP = 3
"""Plain runs before recording, in which libraries choose their kernels and compiled parts are compiled."""

COMPILE_FROM = 20_000
"""Steps from which a minute of compiling pays: it saves about 2 ms a step of the paper's network."""

COMPILE_OPTIONS = {"fallback_random": True}
"""Compiled parts draw the numbers that plain ones draw."""


def captured_step(
    state: TrainState, data: TrainingData, config: TrainConfig, processes: Processes, wanted: bool | None
) -> "CapturedStep | None":
    """A captured step where the device takes one and has room for the features, else None.

    Args:
        state: The run's; it is worked on in place.
        data: Rows to learn from.
        config: The recipe.
        processes: Place among the processes of a distributed run.
        wanted: True takes it on any device, unrecorded where there are no CUDA graphs; False never; None decides.
    """
    device = state.parameters[0].device
    if wanted is None:
        wanted = device.type == "cuda" and _modern(device) and room_for(data, config.precision, device)
    if not wanted:
        return None
    long = config.steps - state.step >= COMPILE_FROM and device.type == "cuda" and find_spec("triton") is not None
    return CapturedStep(state, data, config, processes, COMPILE_OPTIONS if long else None)


class CapturedStep:
    """One optimiser step of a run, recorded on CUDA devices.

    Args:
        state: The run's; weights, moments and average are changed in place.
        data: Rows to learn from.
        config: The recipe.
        processes: Place among the processes of a distributed run.
        options: Of torch.compile, by which loss and update are fused; None leaves them as they are.
    """

    def __init__(
        self,
        state: TrainState,
        data: TrainingData,
        config: TrainConfig,
        processes: Processes,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.state, self.data, self.config, self.processes = state, data, config, processes
        self.device = state.parameters[0].device
        self.features = resident_features(state.head, data, config.precision, self.device)
        self.labels = data.labels.to(self.device)
        self.places = torch.zeros(config.batch_size, dtype=torch.int64, device=self.device)
        self.rows = torch.zeros_like(self.places)
        self.scalars = torch.zeros(4, device=self.device)
        self.pending = 0.0  # weight with which the current weights still have to enter the average
        self.beside = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.network, copies = _computing_copy(state, config.precision)
        self.trained = self._trained(copies)
        compiled = (lambda work: torch.compile(work, options=options)) if options else (lambda work: work)
        self.loss_of, self.adamw_ = compiled(self._loss), compiled(adamw_)
        self.stages = self._stages()

    def __call__(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Learn from rows at a learning rate; return loss and norm of the gradient without waiting for them."""
        number, (beta, beta_square) = self.state.step + 1, self.state.optimizer.defaults["betas"]
        corrected = lr / (1 - beta**number)
        values = [corrected, math.sqrt(1 - beta_square**number), lr, self.pending]
        self._send(self.scalars, torch.tensor(values))
        self._send(self.rows, rows)
        self._send(self.places, resident_places(self.data, rows, self.state.step, self.config.seed))
        for stage in self.stages:
            stage()
        self.pending = averaging_weight(self.state.step, self.config.optimizer.ema)
        return self.processes.total(self.loss * self.share), self.norm.clone()

    def catch_up(self) -> None:
        """Bring the average, and what a checkpoint tells of the optimiser, up to the last step."""
        self.scalars[3] = self.pending
        self._average()
        self.pending = 0.0
        for one in self.trained:
            self.state.optimizer.state[one.parameter]["step"].fill_(self.state.step)

    def _send(self, target: Tensor, values: Tensor) -> None:
        """Copy values to the device without waiting; torch keeps pinned memory until the copy is done."""
        target.copy_(values.pin_memory() if self.device.type == "cuda" else values, non_blocking=True)

    def _stages(self) -> list[Callable[[], None]]:
        """What a step runs in turn; several processes exchange gradients between two recordings."""
        if self.processes.world == 1:
            return [_Recorded(lambda: (self._differentiate(), self._update()), self.device)]
        return [_Recorded(self._differentiate, self.device), self._exchange, _Recorded(self._update, self.device)]

    def _differentiate(self) -> None:
        """Loss of Eq. (8) and its gradients; beside it, the average takes in the weights of the step before."""
        with self._parallel():
            self._average()
        loss = self.loss_of()
        self.gradients = torch.autograd.grad(loss, [one.copy for one in self.trained])
        self.loss = loss.detach()
        self._join()

    def _exchange(self) -> None:
        self.processes.average(list(self.gradients), self.share)

    def _update(self) -> None:
        group = self.state.optimizer.defaults
        self.norm = self.adamw_(
            self.trained, self.gradients, self.scalars, group["betas"], group["eps"], self.config.optimizer.clip
        )

    def _average(self) -> None:
        for one in self.trained:
            one.average.lerp_(one.weight, self.scalars[3])

    def _loss(self) -> Tensor:
        """Algorithm 1 up to the loss, for the rows that were sent."""
        objective, classes = self.config.objective, len(self.state.head.config.labels)
        states = self.features[self.places].float()
        target = nn.functional.one_hot(self.labels[self.rows], classes).float()
        batch = objective.augment(states[:, -1], states[:, :-1], target)
        example = [self.processes.slice(part) for part in self.network.example(*batch, objective)]
        with autocast(self.config.precision, self.device):
            return self.network.loss(*example)

    @property
    def share(self) -> float:
        """Share of the batch that this process works on."""
        return len(self.processes.slice(self.rows)) / len(self.rows)

    def _trained(self, copies: list[Tensor]) -> list[Trained]:
        """What the optimiser works on: the parameters that a gradient reaches."""
        loss = self._loss()
        reached = torch.autograd.grad(loss, copies, allow_unused=True)
        decays = {p: g["weight_decay"] for g in self.state.optimizer.param_groups for p in g["params"]}
        return [
            Trained(parameter, compute, average, self._moments(parameter), decays[parameter])
            for parameter, compute, average, gradient in zip(
                self.state.parameters, copies, self.state.average, reached, strict=True
            )
            if gradient is not None
        ]

    def _moments(self, parameter: Tensor) -> dict[str, Tensor]:
        """Moments of a parameter as the optimiser keeps them, zero where there are none yet."""
        known = self.state.optimizer.state[parameter]
        if not known:
            known["step"] = torch.zeros((), device=self.device)
            known |= {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        return known

    @contextmanager
    def _parallel(self) -> Iterator[None]:
        if self.beside is None:
            yield
            return
        self.beside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.beside):
            yield

    def _join(self) -> None:
        if self.beside is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.beside)


class _Recorded:
    """Work that runs plainly a few times, is then recorded as a CUDA graph, and replayed from there on."""

    def __init__(self, work: Callable[[], Any], device: torch.device) -> None:
        self.work, self.device, self.runs = work, device, 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        self.runs += 1
        if self.device.type != "cuda":
            self.work()
        elif self.runs <= WARM_UP:
            self._apart()
        else:
            self.graph = self.graph or self._record()
            self.graph.replay()

    def _apart(self) -> None:
        """Run on a stream of its own, as work that will be recorded must."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            self.work()
        torch.cuda.current_stream(self.device).wait_stream(stream)

    def _record(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph):
            self.work()
        return graph


def _computing_copy(state: TrainState, precision: str) -> tuple[Any, list[Tensor]]:
    """The head that computes, and its tensors in the order of the state's parameters.

    In bfloat16 its matrices are copies, as autocast would make them anew in every step; vectors are shared.
    """
    if precision == "float32":
        return state.head, list(state.parameters)
    half = {parameter: _halved(parameter) for parameter in state.head.parameters()}
    network = copy.deepcopy(state.head, {id(parameter): compute for parameter, compute in half.items()})
    return network, [half[parameter] for parameter in state.parameters]


def _halved(parameter: nn.Parameter) -> nn.Parameter:
    if parameter.dim() <= 1:
        return parameter
    return nn.Parameter(parameter.detach().bfloat16(), parameter.requires_grad)


def _modern(device: torch.device) -> bool:
    """Whether a GPU is NVIDIA's and computes in bfloat16."""
    return torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= (8, 0)
