"""How long does a training step of the paper's estimator take, against the bytes that it must move?

    python benchmarks/train_step_gpu.py [--steps 300] [--autotune] [--json FILE]

71.4 M parameters, batch 128, 25 x 1024 states, random features and weights. Variants: plain steps, with and without
autocast; the captured step; the captured step compiled. The floor counts bytes over the measured bandwidth of a large
copy: per live parameter the master weight and two moments read and written in float32, the bfloat16 gradient written,
read for its norm and read again, the bfloat16 copy written and read twice, and for the average 12 bytes more. A second
floor leaves out average and copies: weight, gradient and moments alone in float32. The last lines train plainly in
float32, captured in bfloat16 and once more with another seed, and compare losses.
"""

import argparse
import math

import torch
from _common import Claim, ceilings, device_median, parser

from genser.model import TransportHead
from genser.training import OptimizerConfig, TrainConfig, TrainingData, train
from genser.training.batches import SEED_STRIDE, draw_rows
from genser.training.checkpoint import TrainState
from genser.training.cuda_graph import COMPILE_OPTIONS, CapturedStep
from genser.training.distributed import ALONE
from genser.training.optimizer import make_optimizer
from genser.training.recipe import NetworkConfig
from genser.training.train import _Run
from genser.transport import Objective

LABELS = ("neutral", "happiness", "sadness", "anger", "fear")
BYTES_OF_A_STEP = 3 * 8 + 3 * 2 + 3 * 2 + 12  # of a live parameter: see above
BYTES_AT_LEAST = 3 * 8 + 8
PAPER_STEPS = 400_000
CURVE_ROWS = 4096


def rows_of(count: int, states: int, dim: int) -> TrainingData:
    """Classes that each lift some dimensions."""
    labels = torch.arange(count) % len(LABELS)
    generator = torch.Generator().manual_seed(0)
    features = torch.empty(count, states, dim, dtype=torch.bfloat16)
    for part in range(0, count, 1024):
        features[part : part + 1024].normal_(generator=generator)
    features[torch.arange(count), :, labels] += 1.0
    return TrainingData(features, labels)


def recipe(arguments: argparse.Namespace, precision: str, steps: int, seed: int = 0) -> TrainConfig:
    return TrainConfig(
        network=NetworkConfig(depth=2, heads=2) if arguments.toy else NetworkConfig(),
        objective=Objective(time_power=4.0, mixup=0.7, noise=0.3),
        optimizer=OptimizerConfig(),
        batch_size=16 if arguments.toy else 128,
        steps=steps,
        evaluate_every=max(steps // 10, 1),
        checkpoint_every=steps,
        precision=precision,
        seed=seed,
    )


def run_of(data: TrainingData, config: TrainConfig, device: torch.device, options: dict | bool | None) -> _Run:
    """A run before its first step; `options` False for plain steps, else those of the captured step."""
    torch.manual_seed(0)
    head = TransportHead(config.head(LABELS, *data.features.shape[1:])).to(device)
    state = TrainState(head, [], make_optimizer(head, config.optimizer))
    state.average = [parameter.detach().clone() for parameter in state.parameters]
    run = _Run(state, data, config, None, None, ALONE)
    run.captured = None if options is False else CapturedStep(state, data, config, ALONE, options or None)
    return run


def step_of(run: _Run) -> None:
    """One step as the trainer takes it, without what is due now and then."""
    state, config = run.state, run.config
    torch.manual_seed(config.seed * SEED_STRIDE + state.step)
    rows = draw_rows(run.data, config.batch_size, state.step, config.seed)
    (run.captured or run._learn)(rows, config.optimizer.lr)
    state.step += 1


def variants(arguments: argparse.Namespace) -> dict[str, tuple[str, dict | bool | None]]:
    found: dict[str, tuple[str, dict | bool | None]] = {
        "plain, float32": ("float32", False),
        "plain, bfloat16": ("bfloat16", False),
        "captured, float32": ("float32", None),
        "captured, bfloat16": ("bfloat16", None),
    }
    if not arguments.toy:
        found["captured and compiled, bfloat16"] = ("bfloat16", COMPILE_OPTIONS)
    if arguments.autotune:
        found["… autotuned"] = ("bfloat16", {**COMPILE_OPTIONS, "max_autotune": True})
    return found


def measure_steps(claim: Claim, arguments: argparse.Namespace, data: TrainingData, device: torch.device) -> None:
    found = ceilings(device, arguments.repeats, arguments.toy)
    claim.settings |= found
    near = TrainingData(data.features.to(device), data.labels.to(device))
    for name, (precision, options) in variants(arguments).items():
        run = run_of(near, recipe(arguments, precision, PAPER_STEPS), device, options)
        for _ in range(2 if arguments.toy else 10):
            step_of(run)
        taken = device_median(lambda run=run: step_of(run), arguments.repeats, device, inner=arguments.steps)
        live = sum(one.parameter.numel() for one in run.captured.trained) if run.captured else None
        claim.add(
            name,
            **{"ms a step": 1e3 * taken, "minutes for 400,000": taken * PAPER_STEPS / 60},
            **({"over its bytes": taken / (BYTES_OF_A_STEP * live / found["bytes/s"])} if live else {}),
            **({"over the least": taken / (BYTES_AT_LEAST * live / found["bytes/s"])} if live else {}),
        )
        del run
        if device.type == "cuda":
            torch.cuda.empty_cache()


def compare_losses(claim: Claim, arguments: argparse.Namespace, data: TrainingData, device: torch.device) -> None:
    curves: dict[str, list[list[float]]] = {}
    for precision, captured in (("float32", False), ("bfloat16", True)):
        for seed in (0, 1):
            config = recipe(arguments, precision, arguments.curve, seed)
            torch.manual_seed(0)
            head = TransportHead(config.head(LABELS, *data.features.shape[1:])).to(device)
            history = train(head, data, config, captured=captured).history
            curves.setdefault(precision, []).append([row["loss"] for row in history])
    exact, other = curves["float32"]
    apart = [math.dist(curve, exact) / math.hypot(*exact) for curve in (curves["bfloat16"][0], other)]
    claim.add("loss curve: captured bfloat16 against plain float32, same seed", **{"relative distance": apart[0]})
    claim.add("loss curve: plain float32 with another seed", **{"relative distance": apart[1]})


def main() -> None:
    made = parser(__doc__, toy="tiny network and few rows")
    made.add_argument("--steps", type=int, default=300, help="steps of which one run's mean is taken")
    made.add_argument("--items", type=int, default=52_000)
    made.add_argument("--curve", type=int, default=1000, help="steps of a loss curve")
    made.add_argument("--autotune", action="store_true", help="also with autotuned products (minutes of compiling)")
    arguments = made.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.toy else "cpu")
    if arguments.toy:
        arguments.items, arguments.steps, arguments.curve, shape = 200, 3, 10, (3, 16)
    else:
        shape = (25, 1024)
    claim = Claim("train_step_gpu", "1.2 ms a step, 8 minutes for the paper's training, on one H100")
    claim.settings |= {"items": arguments.items, "states": shape, "toy": arguments.toy, "device": str(device)}
    data = rows_of(arguments.items, *shape)
    measure_steps(claim, arguments, data, device)
    compare_losses(claim, arguments, TrainingData(data.features[:CURVE_ROWS], data.labels[:CURVE_ROWS]), device)
    claim.tell(arguments.json)


if __name__ == "__main__":
    main()
