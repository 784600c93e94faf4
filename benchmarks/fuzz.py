"""Gives damaged and hostile inputs to every door, in child processes with limits on time and memory.

    python benchmarks/fuzz.py [--cases 1000000] [--door NAME] [--case N] [--keep FOLDER] [--json FILE]

Every input is made from a good one by its number, so that `--door "turns .srt" --case 4711` repeats one. A finding is
any exception except `GenserError` and its children, an HTTP status of 500, a case of more than 10 s of processor time
or 1 GiB, or the death of the process. --cases is the total, of which each door gets its share; --keep stores the inputs
of findings.
"""

import argparse
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from _common import Claim, parser
from _doors import DOORS, Door, Refused
from _mutants import mutant

SECONDS = 10  # of processor time of a case
MEMORY = 1 << 30  # bytes that a case may add
CHUNK = 20_000  # cases of a child process
STUCK = 180  # s without progress after which a child process is ended: the timer cannot interrupt native code


@dataclass(frozen=True)
class Finding:
    """A case that did not end as it should.

    Attributes:
        door: Name of the door.
        case: Number of the case.
        kind: Exception, signal, or what limit was passed.
        place: Where, for findings of one kind and place are one fault.
    """

    door: str
    case: int
    kind: str
    place: str


class TooSlow(BaseException):
    """A case takes longer than it may."""


def attack(
    door: Door, cases: Sequence[int], begun: Callable[[int], None] | None = None
) -> tuple[list[Finding], Counter]:
    """Run cases in this process; return the findings and how the others ended."""
    findings, ends = [], Counter()
    with tempfile.TemporaryDirectory(prefix="genser-fuzz-") as folder:
        call = door.prepare(Path(folder))
        seeds = door.seeds(Path(folder))
        with suppress(Refused):
            call(seeds[0])  # imports what the door needs, which is not to count as time or memory of a case
        for number in cases:
            if begun:
                begun(number)
            data = mutant(seeds, number, text=door.text)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                with _time_limit():
                    call(data)
                ends["accepted"] += 1
            except Refused:
                ends["refused"] += 1
            except (Exception, TooSlow) as error:
                findings.append(Finding(door.name, number, type(error).__name__, _place(error)))
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            if grown > MEMORY:
                findings.append(Finding(door.name, number, "memory", f"{grown >> 20} MB"))
    return findings, ends


class _time_limit:
    def __enter__(self) -> None:
        signal.signal(signal.SIGPROF, self._raise)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    @staticmethod
    def _raise(*_: object) -> None:
        raise TooSlow


def _place(error: BaseException) -> str:
    """The last line of the package in the traceback, and the message."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/genser/" in frame.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside"
    return f"{where} {error}"[:160]


def child(name: str, cases: range) -> None:
    """Attack in this process; write the number of every case begun to a file, and the result to standard output."""
    faulthandler.enable()
    limit = 6 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    progress = open(os.environ["GENSER_FUZZ_PROGRESS"], "r+b", buffering=0)  # noqa: PTH123, SIM115

    def begun(number: int) -> None:
        os.pwrite(progress.fileno(), b"%20d" % number, 0)

    findings, ends = attack(DOORS[name], cases, begun)
    print("\n" + json.dumps([[asdict(finding) for finding in findings], ends]))


def supervised(name: str, cases: range, log: Path) -> tuple[list[Finding], Counter]:
    """Attack in child processes; a new one goes on after a death."""
    findings, ends, start = [], Counter(), cases.start
    while start < cases.stop:
        with tempfile.NamedTemporaryFile(prefix="genser-fuzz-") as progress:
            progress.write(b"%20d" % start)
            progress.flush()
            command = [sys.executable, __file__, "--door", name, "--child", f"{start}:{cases.stop}"]
            variables = {**os.environ, "GENSER_FUZZ_PROGRESS": progress.name, "OMP_NUM_THREADS": "1"}
            with log.open("ab") as errors:
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=variables)
            reached = _watched(process, Path(progress.name))
            output = process.stdout.read() if process.stdout else b""
        if process.returncode == 0:
            more, ended = json.loads(output.splitlines()[-1])
            return findings + [Finding(**one) for one in more], ends + Counter(ended)
        kind = f"exit status {process.returncode}"
        findings.append(Finding(name, reached, kind, "the process ended"))
        ends["cases before a death"] += reached - start
        start = reached + 1
    return findings, ends


def _watched(process: subprocess.Popen, progress: Path) -> int:
    """Wait for a process, or end it if it makes no progress; return the last case that it began."""
    last, since = b"", time.monotonic()
    while process.poll() is None:
        now = progress.read_bytes()
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > STUCK:
            process.kill()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            continue
    return int(progress.read_bytes() or b"0")


def campaign(claim: Claim, names: Sequence[str], total: int, keep: Path | None) -> None:
    weights = sum(DOORS[name].weight for name in names)
    with tempfile.TemporaryDirectory(prefix="genser-fuzz-") as folder:
        for name in names:
            door, begin = DOORS[name], time.perf_counter()
            count = max(round(total * door.weight / weights), 1)
            findings, ends = [], Counter()
            for start in range(0, count, CHUNK):
                more, ended = supervised(name, range(start, min(start + CHUNK, count)), Path(folder) / "log")
                findings += more
                ends += ended
            faults = {(one.kind, one.place.split(" ")[0]): one for one in reversed(findings)}
            numbers = {"cases": count, "refused": ends["refused"], "accepted": ends["accepted"]}
            claim.add(name, **numbers, faults=len(faults), seconds=time.perf_counter() - begin)
            print(f"{name}: {count} cases, {len(faults)} faults", flush=True)
            for one in faults.values():
                print(f"    case {one.case}: {one.kind} at {one.place}", flush=True)
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    seeds = door.seeds(Path(folder))
                    (keep / f"{name.replace(' ', '-')}-{one.case}").write_bytes(mutant(seeds, one.case, text=door.text))


def main() -> None:
    options = parser(__doc__, toy="a few cases per door")
    options.add_argument("--cases", type=int, default=1_000_000, help="cases over all doors together")
    options.add_argument("--door", action="append", choices=sorted(DOORS), help="only this door; repeat for several")
    options.add_argument("--case", type=int, help="run one case of a door in this process, with its traceback")
    options.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    options.add_argument("--child", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    names = arguments.door or list(DOORS)
    if arguments.child:
        child(names[0], range(*map(int, arguments.child.split(":"))))
        return
    if arguments.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            door = DOORS[names[0]]
            call, seeds = door.prepare(Path(folder)), door.seeds(Path(folder))
            call(mutant(seeds, arguments.case, text=door.text))
        return
    claim = Claim("fuzz", "no fault")
    total = 20 * len(names) if arguments.toy else arguments.cases
    claim.settings |= {"toy": arguments.toy, "cases": total}
    campaign(claim, names, total, arguments.keep)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
