"""Measures the cost of a clip as the number of classes grows: the diffusion classifier against transport.

    python benchmarks/diffusion_cost.py [--classes 2 4 8 16 32 64] [--batch 32] [--repeats 5] [--json FILE] [--png FILE]

The diffusion classifier runs its network once per class and draw of noise, transport once per step for any number of
classes. Both have the estimator size of Whisper base (6 conditions of 512, two layers) and start from pooled features;
weights are random, since time does not depend on them. Times are processor times (`time.process_time`), on which other
programs of a shared machine have little influence. All heads of one number of classes are timed in turn, `repeats`
times; results are medians of the times and of the ratios.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _common import Claim, parser
from torch import nn

from genser.model import EstimatorConfig, HeadConfig, TransportHead
from genser.model.diffusion_head import DRAWS, DiffusionHead
from genser.report.plots import axes, canvas, mark, to_png
from genser.transport import Sampler

SIZE = EstimatorConfig(dim=512, conditions=6, depth=2, heads=8)
TOY = EstimatorConfig(dim=160, conditions=1, depth=1, heads=2)
TRANSPORT, STEPS = "transport, N = 4", 4


def heads(size: EstimatorConfig, classes: int) -> dict[str, nn.Module]:
    config = HeadConfig(tuple(map(str, range(classes))), size, sampler=Sampler(STEPS))
    many = replace(config, sampler=Sampler(5 * STEPS))
    return {
        TRANSPORT: TransportHead(config).eval(),
        f"transport, N = {5 * STEPS}": TransportHead(many).eval(),
        "diffusion, 2 draws": DiffusionHead(config, draws=2).eval(),
        f"diffusion, {DRAWS} draws": DiffusionHead(config).eval(),
    }


@torch.inference_mode()
def measure(size: EstimatorConfig, classes: int, batch: int, repeats: int) -> dict[str, list[float]]:
    """Processor seconds per clip of every head, one value per repeat."""
    features = torch.randn(batch, size.conditions + 1, size.dim, generator=torch.Generator().manual_seed(0))
    timed: dict[str, list[float]] = {}
    found = heads(size, classes)
    for head in found.values():
        head(features)  # allocates and chooses kernels
    for _ in range(repeats):
        for name, head in found.items():
            started = time.process_time()
            head(features)
            timed.setdefault(name, []).append((time.process_time() - started) / batch)
    return timed


def parameters(size: EstimatorConfig) -> dict[str, int]:
    """Parameters of the networks alone, which differ only in the weights of the layers."""
    found = heads(size, 2)
    transport, diffusion = found[TRANSPORT].estimator, found["diffusion, 2 draws"].network
    count = {"transport": transport, "diffusion": diffusion}
    return {name: sum(p.numel() for p in network.parameters()) for name, network in count.items()}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw milliseconds per clip over the classes, both axes logarithmic."""
    names = list(dict.fromkeys(row["what"] for row in rows))
    with canvas(5.6, 3.8) as figure:
        ax = axes(figure, x="classes", y="CPU ms a clip")
        for index, name in enumerate(names):
            points = [(row["classes"], row["CPU ms a clip"]) for row in rows if row["what"] == name]
            ax.plot(*zip(*points, strict=True), label=name, **mark(index))
        ax.set(xscale="log", yscale="log")
        ticks = sorted({row["classes"] for row in rows})
        ax.set_xticks(ticks, map(str, ticks))
        ax.minorticks_off()
        ax.legend(fontsize="small")
    path.write_bytes(to_png(figure))


def main() -> None:
    options = parser(__doc__, toy="a network of 160 dimensions")
    options.add_argument("--classes", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    options.add_argument("--batch", type=int, default=32, help="clips at once")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--png", type=Path, help="file for the picture")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    size = TOY if arguments.toy else SIZE
    claim = Claim("diffusion_cost", "the cost of transport does not grow with the number of classes")
    claim.settings = {"batch": arguments.batch, "threads": arguments.threads, "repeats": arguments.repeats}
    claim.settings["parameters"] = parameters(size)
    for classes in arguments.classes:
        timed = measure(size, classes, arguments.batch, arguments.repeats)
        for name, times in timed.items():
            ratios = [time / base for time, base in zip(times, timed[TRANSPORT], strict=True)]
            milliseconds = 1000 * median(times)
            claim.add(name, classes=classes, **{"CPU ms a clip": milliseconds, f"x {TRANSPORT}": median(ratios)})
    claim.report(arguments.json)
    if arguments.png:
        draw(claim.rows, arguments.png)


if __name__ == "__main__":
    main()
