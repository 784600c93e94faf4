"""Measures a training step of the paper's estimator, relative to the time of the memory traffic that it needs.

    python benchmarks/train_step_gpu.py [--steps 300] [--json FILE]
    python benchmarks/train_step_gpu.py --items 8192 --steps 100 --repeats 3 --curve 300        # about a minute

The estimator has 71.4 M parameters; batch 128, 25 x 1024 states, random features and weights. Variants: the step as a
recorded CUDA graph and the same step without recording, each in float32 and bfloat16. The floor is the bytes of a step
divided by the measured bandwidth of a large copy. Bytes count for each parameter that has a gradient: weight, two
moments and average read and written, the gradient written and read twice, all in float32. The last lines train in
float32, in bfloat16 and in float32 with another seed, and compare losses. With --toy the script runs on a CPU.
"""

import argparse
import math

import torch
from _common import Claim, ceilings, device_median, parser, part

from genser.model.estimator import NetworkConfig
from genser.model.heads import make_head
from genser.training import OptimizerConfig, TrainConfig, TrainingData, train
from genser.training.batches import SEED_STRIDE, draw_rows
from genser.training.checkpoint import TrainState
from genser.training.train import Step, make_optimizer
from genser.transport import Objective

LABELS = ("neutral", "happiness", "sadness", "anger", "fear")
BYTES_OF_A_STEP = 4 * 8 + 3 * 4  # of a parameter with a gradient: see above
PAPER_STEPS = 400_000
CURVE_ROWS = 4096


def rows_of(count: int, states: int, dim: int) -> TrainingData:
    """Random features in which each class raises one dimension."""
    labels = torch.arange(count) % len(LABELS)
    generator = torch.Generator().manual_seed(0)
    features = torch.empty(count, states, dim, dtype=torch.bfloat16)
    for start in range(0, count, 1024):
        features[start : start + 1024].normal_(generator=generator)
    features[torch.arange(count), :, labels] += 1.0
    return TrainingData(features, labels)


def recipe(
    arguments: argparse.Namespace, precision: str, steps: int, seed: int = 0, *, is_recorded: bool = False
) -> TrainConfig:
    return TrainConfig(
        network=NetworkConfig(depth=2, heads=2) if arguments.toy else NetworkConfig(),
        objective=Objective(time_power=4.0, mixup=0.7, noise=0.3),
        optimizer=OptimizerConfig(),
        batch_size=16 if arguments.toy else 128,
        steps=steps,
        evaluate_every=max(steps // 10, 1),
        checkpoint_every=steps,
        precision=precision,
        unmeasured_cuda_graph=is_recorded,
        seed=seed,
    )


def step_of(data: TrainingData, config: TrainConfig, device: torch.device) -> Step:
    """A step with fresh weights."""
    torch.manual_seed(0)
    head = make_head(config.head_config(LABELS, *data.features.shape[1:])).to(device)
    state = TrainState(head, [], make_optimizer(head, config.optimizer))
    state.average = [parameter.detach().clone() for parameter in state.parameters]
    return Step(state, data, config)


def take(step: Step) -> None:
    """Take one step as the trainer does, without evaluation and checkpoints."""
    torch.manual_seed(step.config.seed * SEED_STRIDE + step.state.step)
    step(draw_rows(step.data, step.config.batch_size, step.state.step, step.config.seed), step.config.optimizer.lr)
    step.state.step += 1


def measure_steps(claim: Claim, arguments: argparse.Namespace, data: TrainingData, device: torch.device) -> None:
    found = ceilings(device, arguments.repeats, arguments.toy)
    claim.settings |= found
    for precision in ("float32", "bfloat16"):
        for name, is_recorded in (("plain", False), ("recorded", True)):
            with part(claim, f"{name}, {precision}"):
                config = recipe(arguments, precision, PAPER_STEPS, is_recorded=is_recorded)
                step = step_of(data, config, device)
                for _ in range(2 if arguments.toy else 10):
                    take(step)
                taken = device_median(lambda step=step: take(step), arguments.repeats, device, inner=arguments.steps)
                live = sum(parameter.numel() for parameter in step.state.optimizer.state)
                claim.add(
                    f"{name}, {precision}",
                    **{"ms a step": 1e3 * taken, "minutes for 400,000": taken * PAPER_STEPS / 60},
                    **{"over its bytes": taken / (BYTES_OF_A_STEP * live / found["bytes/s"])},
                )
                del step
            if device.type == "cuda":
                torch.cuda.empty_cache()


def compare_losses(claim: Claim, arguments: argparse.Namespace, data: TrainingData, device: torch.device) -> None:
    curves: dict[tuple[str, int], list[float]] = {}
    for precision, seed in (("float32", 0), ("float32", 1), ("bfloat16", 0)):
        config = recipe(arguments, precision, arguments.curve, seed)
        torch.manual_seed(0)
        head = make_head(config.head_config(LABELS, *data.features.shape[1:])).to(device)
        curves[precision, seed] = [row["loss"] for row in train(head, data, config).history]
    exact = curves["float32", 0]

    def apart(curve: list[float]) -> float:
        return math.dist(curve, exact) / math.hypot(*exact)

    claim.add("loss curve: bfloat16 against float32, same seed", **{"relative distance": apart(curves["bfloat16", 0])})
    claim.add("loss curve: float32 with another seed", **{"relative distance": apart(curves["float32", 1])})


def main() -> None:
    options = parser(__doc__, toy="tiny network and few rows")
    options.add_argument("--steps", type=int, default=300, help="steps over which a run is averaged")
    options.add_argument("--items", type=int, default=52_000)
    options.add_argument("--curve", type=int, default=1000, help="steps of a loss curve")
    arguments = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.toy else "cpu")
    if arguments.toy:
        arguments.items, arguments.steps, arguments.curve, shape = 200, 3, 10, (3, 16)
    else:
        shape = (25, 1024)
    claim = Claim("train_step_gpu", "close to the time of its memory traffic")
    claim.file = arguments.json
    claim.settings |= {"items": arguments.items, "states": shape, "toy": arguments.toy, "device": str(device)}
    data = rows_of(arguments.items, *shape)
    measure_steps(claim, arguments, data, device)
    with part(claim, "loss curves"):
        compare_losses(claim, arguments, TrainingData(data.features[:CURVE_ROWS], data.labels[:CURVE_ROWS]), device)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
