"""How many files a reader opens to follow one thing through the code.

    python benchmarks/reading_paths.py [predict] [train] [bench] [upload]

Each path runs for real, in one process, while every call from one function of genser to another is recorded. A row
gives the files entered, the functions entered, and the jumps: different pairs of a calling file and a function in
another file, which is how often a reader leaves a file. Calls of the bench's worker processes are made in this one.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path

import numpy as np
import soundfile

import genser

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = str(Path(genser.__file__).parent)
RECIPE = """encoder: {kind: fbank}
network: {width: 16, depth: 1, heads: 1}
steps: 1
evaluate_every: 1
checkpoint_every: 1
batch_size: 8
"""


class Calls:
    """Records the calls between functions of the package while it is active."""

    def __init__(self, start: str = "") -> None:
        self.start, self.depth = start, 0 if start else 1
        self.functions: set[tuple[str, str]] = set()
        self.jumps: set[tuple[str, str, str]] = set()

    def __call__(self, frame, event, _argument) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) or code.co_name.startswith("<"):
            return
        file = code.co_filename[len(PACKAGE) + 1 :]
        is_start = bool(self.start) and f"{file}:{code.co_name}" == self.start
        if event == "return" and is_start:
            self.depth -= 1
        if event != "call":
            return
        self.depth += is_start
        if not self.depth:
            return
        self.functions.add((file, code.co_qualname))
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(PACKAGE):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != code.co_filename:
            self.jumps.add((caller.f_code.co_filename, file, code.co_qualname))

    @contextlib.contextmanager
    def recorded(self):
        """Record in this thread and in those that it starts."""
        sys.setprofile(self)
        threading.setprofile(self)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def row(self, rooms: tuple[str, ...] = ()) -> str:
        """Files, functions and jumps; only those in the given rooms, where there are any."""
        functions = {(file, name) for file, name in self.functions if not rooms or file.split("/")[0] in rooms}
        jumps = [jump for jump in self.jumps if not rooms or jump[1].split("/")[0] in rooms]
        files = {file for file, _ in functions}
        return f"{len(files):5} files {len(functions):5} functions {len(jumps):5} jumps"


def command(*arguments: str) -> None:
    """Run a verb of the command line in this process, without its output."""
    from genser.cli import main

    sys.argv = ["genser", *arguments]
    with (
        contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")),
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"genser {' '.join(arguments)} failed: {errors.getvalue()[-2000:]}") from end


def corpus(folder: Path) -> Path:
    """A manifest of tones: two classes, four speakers."""
    rows = ["path,label,speaker"]
    rng = np.random.default_rng(0)
    for number in range(32):
        label, speaker = number % 2, number // 8
        t = np.arange(16_000) / 16_000
        tone = 0.1 * np.sin(2 * np.pi * (200 + 300 * label + 10 * speaker) * t) + 0.01 * rng.standard_normal(16_000)
        soundfile.write(folder / f"{number}.wav", tone, 16_000)
        rows.append(f"{folder / f'{number}.wav'},{'ab'[label]},s{speaker}")
    manifest = folder / "tones.csv"
    manifest.write_text("\n".join(rows), "utf-8")
    return manifest


def follow_predict(_folder: Path) -> Calls:
    """A clip to its printed row."""
    clip = str(ROOT / "examples" / "synthetic.flac")
    command("predict", clip)  # imports first: a module's own lines are no calls
    with Calls().recorded() as calls:
        command("predict", clip)
    return calls


def follow_train(folder: Path) -> Calls:
    """One training step: everything that `train` calls in a run of one step."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE, "utf-8")
    manifest = str(corpus(folder))
    with Calls("training/train.py:train").recorded() as calls:
        command("train", manifest, "--recipe", str(recipe), "-o", str(folder / "model"), "--store", str(folder / "f"))
    return calls


def follow_bench(folder: Path) -> Calls:
    """A bench from its command to report.md."""
    plan = folder / "plan.yaml"
    heads = "heads:\n  transport: {settings: {steps: 2}}\n  linear: {settings: {steps: 2}}\n"
    plan.write_text(f"recipe: {folder / 'recipe.yaml'}\nseeds: 1\n{heads}", "utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    futures.ProcessPoolExecutor = InOneProcess
    arguments = ("--plan", str(plan), "--k", "2", "-o", str(folder / "bench"), "--store", str(folder / "f"))
    manifest = str(corpus(folder))
    with Calls().recorded() as calls:
        command("bench", "kfold-speaker", manifest, "--encoder", "fbank", *arguments, "--resamples", "50")
    return calls


class InOneProcess(futures.Executor):
    """Stands for a pool of processes, so that calls can be recorded."""

    def __init__(self, *_arguments, initializer=None, initargs=(), **_options) -> None:
        if initializer:
            initializer(*initargs)

    def submit(self, work, /, *arguments, **options) -> futures.Future:
        """Do the work at once."""
        done = futures.Future()
        done.set_result(work(*arguments, **options))
        return done


def follow_upload(_folder: Path) -> Calls:
    """A sound in the body of POST /v1/predict to the answer."""
    from starlette.testclient import TestClient

    from genser.serving.app import create_app
    from genser.serving.config import ServerConfig

    sound = (ROOT / "examples" / "synthetic.flac").read_bytes()
    app = create_app(ServerConfig(model="tiny"), genser.load("tiny", shared=True))
    calls = Calls()
    calls.depth = 0
    with calls.recorded(), TestClient(app, base_url="http://127.0.0.1:8000") as client:
        for depth in (0, 1):  # the first request imports
            calls.depth = depth
            answer = client.post("/v1/predict", content=sound, headers={"content-type": "audio/flac"})
        calls.depth = 0
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return calls


BENCH_ROOMS = ("bench", "report", "metrics", "cli")
"""Rooms that count for a bench; what one training does inside is the path `train`."""

PATHS = {"predict": follow_predict, "train": follow_train, "bench": follow_bench, "upload": follow_upload}


def main() -> None:
    """Follow the named paths, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="*", choices=[*PATHS, []])
    chosen = parser.parse_args().path or list(PATHS)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            calls = PATHS[name](Path(folder))
            print(f"{name:8} {calls.row(BENCH_ROOMS if name == 'bench' else ())}", flush=True)


if __name__ == "__main__":
    main()
