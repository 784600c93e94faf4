"""Shared parts of the benchmarks: times, the limits of a GPU, a description of the machine, a table and JSON."""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PACKAGES = ("genser", "numpy", "onnxruntime", "soundfile", "soxr", "torch", "transformers", "triton")


@dataclass
class Claim:
    """The results of one script.

    Args:
        name: Name of the script.
        goal: The goal that the numbers are compared with, in words.
        rows: Lines of the table: what was measured, and its numbers by heading.
        settings: Options of the run.
        file: Written after every row if given, so that a run that is stopped keeps its figures.
    """

    name: str
    goal: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None

    def add(self, what: str, **numbers: Any) -> None:
        self.rows.append({"what": what, **numbers})
        if self.file:
            self.write(self.file)

    def report(self, file: Path | None) -> None:
        """Print the table; write table, machine and settings to a file if one is given."""
        headings = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [[cell(row.get(name)) for name in headings] for row in self.rows]
        widths = [max(len(line[column]) for line in [headings, *cells]) for column in range(len(headings))]
        print(f"{self.name}: {self.goal}")
        for line in [headings, *cells]:
            first, *rest = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            print(
                "  ".join([first, *(text.strip().rjust(width) for text, width in zip(rest, widths[1:], strict=True))])
            )
        print(json.dumps(machine()))
        if file:
            self.write(file)

    def write(self, file: Path) -> None:
        """Write table, machine and settings as JSON."""
        record = {"claim": self.name, "goal": self.goal, "machine": machine(), "settings": self.settings}
        file.write_text(json.dumps({**record, "rows": self.rows}, indent=1) + "\n", encoding="utf-8")


@contextmanager
def part(claim: Claim, name: str) -> Iterator[None]:
    """One part of a script on a GPU: its failure becomes a row.

    The figures of the other parts are worth having, where a GPU is at hand for minutes only.
    """
    try:
        yield
    except Exception as error:
        claim.add(f"{name}: failed", error=f"{type(error).__name__}: {error}"[:300], failures=1)


def cell(value: Any) -> str:
    """Text of a table cell; floats have three digits or more."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def parser(text: str, *, toy: str | None = None) -> argparse.ArgumentParser:
    """Options that every script has; `toy` describes the small size."""
    options = argparse.ArgumentParser(description=text.split("\n")[0])
    options.add_argument("--json", type=Path, help="file for the numbers")
    options.add_argument("--repeats", type=int, default=5, help="runs of which the median counts")
    if toy:
        options.add_argument("--toy", action="store_true", help=f"{toy}, to try the script without a GPU")
    return options


def machine() -> dict[str, Any]:
    """Processor, cores, load, GPU and versions."""
    found: dict[str, Any] = {"system": platform.platform(), "python": platform.python_version()}
    found |= {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2)}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["gpu"] = None
    if "torch" in found:
        import torch

        found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


INSTRUCTIONS = {"AVX-512": "avx512f", "VNNI": "avx512_vnni"}
"""Sets of instructions that decide how fast products are, by their flags in Linux."""


def _processor() -> str:
    """Name of the processor, and which sets of instructions it has; two generations may have the same name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    values = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    flags = values.get("flags", "").split()
    known = [name if flag in flags else f"no {name}" for name, flag in INSTRUCTIONS.items() if flags]
    return (values.get("model name") or platform.processor()) + (f" ({', '.join(known)})" if known else "")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def lengths_of(paths: list[str]) -> list[int]:
    """Decode files; processes that run it import nothing heavy, as this module does not."""
    from genser.audio import load_audio

    return [len(load_audio(path)) for path in paths]


def keys_of(count: int, seed: int) -> list[str]:
    """Random keys of a feature store."""
    raw = np.random.default_rng(seed).bytes(32 * count)
    return [raw[start : start + 32].hex() for start in range(0, len(raw), 32)]


def median(work: Callable[[], object], repeats: int, warm_up: int = 1) -> float:
    """Median seconds of a piece of work."""
    for _ in range(warm_up):
        work()
    return statistics.median(seconds(work) for _ in range(repeats))


class Taken(NamedTuple):
    """Wall-clock seconds of a piece of work, and processor seconds, on which other programs have less influence."""

    seconds: float
    processor: float


def alternated(works: Sequence[Callable[[], object]], repeats: int) -> list[Taken]:
    """Medians of several pieces of work that run in turn, so that a change of the load affects all of them."""
    for work in works:
        work()
    runs = [[taken(work) for work in works] for _ in range(repeats)]
    return [Taken(*map(statistics.median, zip(*column, strict=True))) for column in zip(*runs, strict=True)]


def taken(work: Callable[[], object]) -> Taken:
    """Time of one run of a piece of work."""
    before = _processor_seconds()
    elapsed = seconds(work)
    return Taken(elapsed, _processor_seconds() - before)


def _processor_seconds() -> float:
    """Processor seconds of this process and of its finished child processes."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def device_median(work: Callable[[], object], repeats: int, device: Any, inner: int = 1) -> float:
    """Median seconds of one of `inner` pieces of work in a row, until the device has finished them."""
    import torch

    def awaited() -> None:
        for _ in range(inner):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return median(awaited, repeats) / inner


def ceilings(device: Any, repeats: int, toy: bool) -> dict[str, float]:
    """Measured limits of a device: bytes per second of a large copy, read and written, and bfloat16 operations."""
    import torch

    numbers, side = (2**20, 256) if toy else (2**29, 8192)
    source = torch.randn(numbers, device=device)
    target = torch.empty_like(source)
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    copy = device_median(lambda: target.copy_(source), repeats, device, inner=3)
    product = device_median(lambda: left @ right, repeats, device, inner=3)
    return {"bytes/s": 2 * 4 * numbers / copy, "operations/s": 2 * side**3 / product}
