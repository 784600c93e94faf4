"""Injects faults while genser writes, and checks what is left: kills, full disks, errors of a disk, read-only folders.

Each trial runs a verb in a process of its own, injects one fault, checks the files, calls the verb again until it ends
well, and compares its output with that of an undisturbed run. A trial fails if

- a file has its final name but not its final content,
- the output differs in the end, byte for byte where a run is deterministic, or files are left over,
- results that were finished are computed again, or
- the message is a traceback, or the exit code is not one of docs/cli.md.

Processes are forked, so that genser is imported once. Faults at the n-th write, fsync, truncation or renaming in the
output folder come from a small library for LD_PRELOAD, which needs a C compiler. The recogniser of predict is a stub.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
from _common import Claim, parser

CLIPS = 30
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int count;
static int due(const char *path) {  /* whether the fault happens at this call */
    const char *folder = getenv("FAULT_FOLDER"), *kind = getenv("FAULT_KIND");
    if (!folder || !kind || strncmp(path, folder, strlen(folder))) return 0;
    if (!strcmp(kind, "count")) return !dprintf(2, "\1");
    int at = atoi(getenv("FAULT_AT")), now = __sync_add_and_fetch(&count, 1);
    return strcmp(kind, "full") ? now == at : now >= at;
}
static int due_file(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return due(path);
}
static int fail(void) {  /* 1 if the call fails */
    const char *kind = getenv("FAULT_KIND");
    if (!strcmp(kind, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(kind, "term")) { kill(getpid(), SIGTERM); return 0; }
    errno = strcmp(kind, "full") ? EIO : ENOSPC;
    return 1;
}
#define REAL(name, type, ...) type (*real)(__VA_ARGS__) = (type (*)(__VA_ARGS__)) dlsym(RTLD_NEXT, name)
ssize_t write(int file, const void *data, size_t size) {
    REAL("write", ssize_t, int, const void *, size_t);
    if (due_file(file)) {
        const char *kind = getenv("FAULT_KIND");
        if (size > 1 && (!strcmp(kind, "kill") || !strcmp(kind, "error"))) real(file, data, size / 2);
        if (fail()) return -1;
    }
    return real(file, data, size);
}
int fsync(int file) { REAL("fsync", int, int); return due_file(file) && fail() ? -1 : real(file); }
int ftruncate(int file, off_t size) {
    REAL("ftruncate", int, int, off_t);
    return due_file(file) && fail() ? -1 : real(file, size);
}
int ftruncate64(int file, off_t size) { return ftruncate(file, size); }
int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    return due(to) && fail() ? -1 : real(from, to);
}
"""


RECIPE = """
encoder: {kind: fbank}
network: {width: 16, depth: 1, heads: 2}
batch_size: 16
steps: 40
evaluate_every: 10
checkpoint_every: 4
validation: 0.3
"""
PLAN = "{recipe: ../inputs/recipe.yaml, settings: {steps: 5}, seeds: 1, heads: {mlp: {}, linear: {}}}"
KINDS = ("kill", "kill at a call", "SIGTERM", "disk error", "full disk", "file too large")
ENDS = {"kill": (-9,), "kill at a call": (-9,), "SIGTERM": (143, -15)}
"""Exit codes of each kind of fault, 2 for the others; 0 for a run that ended before, −15 for one that had not begun."""


def files_of(folder: Path) -> dict[str, bytes]:
    """Content by name of every file, without temporary files."""
    names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not name.endswith(".part")}


def names_of(folder: Path) -> dict[str, bytes]:
    """Names of files whose content holds times."""
    return dict.fromkeys(files_of(folder), b"")


def features_of(folder: Path) -> dict[str, bytes]:
    """Rows of a feature store by key."""
    found = {}
    for index in folder.rglob("index.jsonl"):
        for line in index.read_bytes().split(b"\n")[:-1]:
            row = json.loads(line)
            found[row["key"]] = np.load(index.with_name(row["shard"]), mmap_mode="r")[row["row"]].tobytes()
    return found


def trained_of(folder: Path) -> dict[str, bytes]:
    """The files of a model, and its features; the metrics hold times."""
    model = files_of(folder / "model")
    return {name: content for name, content in model.items() if "metrics" not in name} | features_of(folder)


@dataclass(frozen=True)
class Case:
    """A verb and its output.

    Attributes:
        name: In the table.
        words: The command, called in an empty folder beside the folder ``inputs``.
        again: Words that continue the run.
        content: Reads what is compared with an undisturbed run.
        kept: What the continuing run must say, by the files that it finds.
        working: Beginnings of names of files that change during the run.
        cost: Trials are divided by this.
    """

    name: str
    words: str
    again: str = ""
    content: Callable[[Path], dict[str, bytes]] = files_of
    kept: Callable[[Path], str] = lambda _: ""
    working: tuple[str, ...] = ()
    cost: int = 1


def skipped(folder: Path) -> str:
    """What a resumed run of predict says about the results in its journal."""
    lines = [line for path in folder.rglob("*.part") if path.name[0] != "." for line in path.open("rb")]
    count = sum(line.endswith(b"\n") and b'"input"' in line for line in lines)
    return f"{count} of {CLIPS} inputs were recognised before" if count else ""


def new_features(folder: Path) -> str:
    return f"{CLIPS - len(features_of(folder))} of them new"


PREDICT = "predict ../inputs/calls --model ../inputs/model"
CASES = [
    *(
        Case(f"predict {more}", f"{PREDICT} {more}", "--resume", kept=skipped, cost=cost)
        for more, cost in (
            ("-o out.csv", 1),
            ("-o out.tsv", 2),
            ("-o out.json", 1),
            ("-o out.jsonl", 1),
            ("-o out.txt", 2),
            ("-o out.parquet", 2),
            ("--segments -o out.csv", 1),
            ("--segments -o out/ --format srt", 1),
            ("--segments -o out/ --picture pictures/", 8),
        )
    ),
    Case("prepare", "prepare folder ../inputs/labels -o manifest.csv"),
    Case("split", "split ../inputs/manifest.csv -o divided.csv"),
    Case(
        "features",
        "features ../inputs/manifest.csv --recipe ../inputs/recipe.yaml",
        content=features_of,
        kept=new_features,
        cost=2,
    ),
    Case(
        "train",
        "train ../inputs/manifest.csv --recipe ../inputs/recipe.yaml",
        content=trained_of,
        working=("run/",),
        cost=2,
    ),
    Case(
        "bench",
        "bench kfold-speaker ../inputs/manifest.csv --k 2 --plan ../inputs/plan.yaml --resamples 20",
        content=lambda folder: names_of(folder / "bench"),
        cost=20,
    ),
    Case("export", "export ../inputs/trained -o model.onnx", cost=20),
]


@dataclass
class Row:
    """What happened to one verb under one kind of fault."""

    trials: int = 0
    faults: int = 0
    failures: list[str] = field(default_factory=list)


def stub(*_: object, **__: object) -> Any:
    """A recogniser without a model: its results follow from the name of a file, and take 2 ms."""
    from genser.inference.prediction import Prediction

    labels = ("anger", "sadness")

    def predict_many(sources: Sequence[str], **_: object) -> Iterator[Prediction]:
        for source in sources:
            time.sleep(0.002)
            share = (hash_of(source) % 997) / 1000
            yield Prediction(source, labels[share < 0.5], {"anger": share, "sadness": 1 - share}, duration=1.0)

    return SimpleNamespace(labels=labels, predict_many=predict_many)


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode(), "big")


def stub_timeline(scorer: Any, source: str, *_: object, **__: object) -> Any:
    from genser.segments.segment import Segment, Timeline

    time.sleep(0.002)
    share = (hash_of(source) % 997) / 1000
    scores = {"anger": share, "sadness": 1 - share}
    segments = tuple(Segment(at, at + 0.5, "anger", scores, True) for at in range(3))
    return Timeline(source, 4.0, scorer.labels, segments, np.zeros((100, 2), np.float32))


def make_inputs(folder: Path) -> None:
    """Clips of six speakers, tables, a recipe, and a trained model."""
    generator = np.random.default_rng(0)
    rows = ["path,label,speaker"]
    for number in range(CLIPS):
        label = ("sad", "merry")[number // 6 % 2]
        tone = np.sin(np.arange(4000) * (0.05, 0.2)[number // 6 % 2] * (1 + number % 6 / 20))
        sound = 0.3 * tone + 0.05 * generator.standard_normal(4000)
        for path in (folder / f"calls/{number:02}.wav", folder / f"labels/{label}/{number:02}.wav"):
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, 16_000)
        rows.append(f"calls/{number:02}.wav,{label},s{number % 6}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "model").write_bytes(b"The stub reads nothing.")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "plan.yaml").write_text(PLAN)


def start(words: Sequence[str], folder: Path, log: Path, prepare: Callable[[], object]) -> int:
    """Call a verb in a forked process, and return its number."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        from genser import cli

        file = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(folder)
        sys.argv = ["genser", *words]
        prepare()
        cli.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 70
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def finish(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


class Trials:
    """Trials of one case.

    Args:
        case: The verb.
        root: Folder with ``inputs``.
        draw: Source of random moments.
    """

    def __init__(self, case: Case, root: Path, draw: random.Random) -> None:
        self.case, self.root, self.draw = case, root, draw
        self.folder, self.log = root / "trial", root / "log"
        self.folder.mkdir(exist_ok=True)
        self.fresh()
        begun = time.monotonic()
        if code := self.run(prepare=self.environment("count", 0)):
            raise RuntimeError(f"{case.name} ends with {code}: {self.said()}")
        self.duration = time.monotonic() - begun
        self.calls = max(self.said().count("\1"), 1)
        self.whole = case.content(self.folder)

    def fresh(self) -> None:
        """Empty the folder, which may be a mount."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def run(self, again: str = "", prepare: Callable[[], object] = lambda: None) -> int:
        return finish(start(f"{self.case.words} {again}".split(), self.folder, self.log, prepare))

    def environment(self, kind: str, at: int) -> Callable[[], None]:
        return lambda: os.environ.update(FAULT_FOLDER=str(self.folder), FAULT_KIND=kind, FAULT_AT=str(at))

    def inject(self, kind: str, again: str) -> int:
        """Run with one fault at a random moment, and return the exit code."""
        if kind in ("kill", "SIGTERM"):
            process = start(f"{self.case.words} {again}".split(), self.folder, self.log, lambda: None)
            time.sleep(self.draw.uniform(0, 1.1 * self.duration))
            os.kill(process, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
            return finish(process)
        if kind == "file too large":
            limit = int(2 ** self.draw.uniform(11, 14))  # the messages go to a file, too
            return self.run(again, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        name = {"kill at a call": "kill", "disk error": "error", "full disk": "full"}[kind]
        return self.run(again, self.environment(name, self.draw.randint(1, self.calls)))

    def trial(self, kind: str, row: Row) -> None:
        """Up to three faults on one output, then a run without a fault until it is complete."""
        self.fresh()
        row.trials += 1
        again, code = "", -1
        for _ in range(self.draw.randint(1, 3)):
            expected = self.case.kept(self.folder) if again else ""
            code = self.inject(kind, again)
            self.check_end(kind, code, row)
            if code == 0:
                self.check_kept(expected, row)
                break
            row.faults += 1
            self.check_files(row)
            again = self.case.again
        if code:
            self.complete(again, row)
        if self.case.content(self.folder) != self.whole:
            row.failures.append("the output differs from that of an undisturbed run")
        if left := [str(path) for path in self.folder.rglob("*.part")]:
            row.failures.append(f"files are left: {left}")

    def complete(self, again: str, row: Row) -> None:
        expected = self.case.kept(self.folder)
        code = self.run(again)
        if code:
            row.failures.append(f"the run cannot be continued: {self.said()[-1000:]}")
        self.check_kept(expected, row)

    def check_end(self, kind: str, code: int, row: Row) -> None:
        said = self.said()
        if code not in (0, *ENDS.get(kind, (2,))) or "Traceback" in said:
            row.failures.append(f"exit code {code}: {said[-1000:]}")
        elif code == 2 and "genser: " not in said:
            row.failures.append("exit code 2 without a sentence")

    def check_kept(self, expected: str, row: Row) -> None:
        if expected not in self.said():
            row.failures.append(f"not {expected!r}, but: {self.said()[-1000:]}")

    def check_files(self, row: Row) -> None:
        """Whatever has its final name has its final content."""
        for name, content in self.case.content(self.folder).items():
            if not name.startswith(self.case.working or ("\0",)) and self.whole.get(name) != content:
                row.failures.append(f"{name} is not complete")


def work(root: Path, trials: int, chosen: str, seed: int) -> list[dict[str, Any]]:
    """All trials in this process, which has the library for LD_PRELOAD."""
    from genser import cli  # noqa: F401
    from genser.cli import _segments, predict, train  # noqa: F401 - imported once for all trials
    from genser.inference import load
    from genser.training import run  # noqa: F401

    load.load = stub
    _segments.recognize_timeline = stub_timeline
    make_inputs(root / "inputs")
    finish(
        start(
            ["train", "manifest.csv", "--recipe", "recipe.yaml", "-o", "trained", "--store", "kept"],
            root / "inputs",
            root / "log",
            lambda: None,
        )
    )
    draw, rows = random.Random(seed), []
    for case in CASES:
        if chosen and chosen not in case.name:
            continue
        runs = Trials(case, root, draw)
        for kind in KINDS:
            row = Row()
            for _ in range(max(trials // case.cost, 1)):
                runs.trial(kind, row)
            rows.append({"verb": case.name, "fault": kind, **vars(row)})
            print(f"{case.name}, {kind}: {row.trials} trials, {row.faults} faults", *row.failures[:3], sep="\n  ")
    return rows


def main() -> None:
    options = parser(__doc__, toy="one trial of each kind for two verbs")
    options.add_argument("--trials", type=int, default=20, help="of each kind of fault, for each verb")
    options.add_argument("--only", default="", help="part of the name of a verb")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.inside:
        rows = work(arguments.inside, arguments.trials, arguments.only, arguments.seed)
        (arguments.inside / "rows.json").write_text(json.dumps(rows))
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        (root / "shim.c").write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", root / "shim.so", root / "shim.c", "-ldl"], check=True)
        trials, only = (1, "-o out.csv") if arguments.toy else (arguments.trials, arguments.only)
        words = ["--inside", root, "--trials", trials, "--only", only, "--seed", arguments.seed]
        environment = {**os.environ, "LD_PRELOAD": str(root / "shim.so"), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, __file__, *map(str, words)], check=True, env=environment)
        rows = json.loads((root / "rows.json").read_text("utf-8"))
    claim = Claim("faults", "no half file, no lost result, no leftover, no traceback")
    claim.settings |= {"trials": trials, "toy": arguments.toy, "seed": arguments.seed}
    for row in rows:
        numbers = {"trials": row["trials"], "faults": row["faults"], "failures": len(row["failures"])}
        claim.add(f"{row['verb']}: {row['fault']}", **numbers)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
