"""Gives damaged and hostile inputs to every door, in child processes with limits on time and memory.

    python benchmarks/fuzz.py [--cases 1000000] [--door NAME] [--case N] [--keep FOLDER] [--json FILE]

Every input is made from a good one by its number, so that `--door "turns .srt" --case 4711` repeats one. A finding is
any exception except `GenserError` and its children, an HTTP status of 500, a case of more than 10 s of processor time
or 1 GiB, or the death of the process. The table counts how every case ended: refused, accepted, failed (an exception),
beyond a limit, or with the death of the process. --cases is the total, of which each door gets its share; --keep stores
the inputs of findings, and what the processes wrote to standard error.
"""

import argparse
import faulthandler
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from _common import Claim, parser
from _doors import DOORS, Door, Refused
from _mutants import mutant
from _outside_doors import OUTSIDE

DOORS = DOORS | {door.name: door for door in OUTSIDE}
SECONDS = 10  # of processor time of a case
MEMORY = 1 << 30  # bytes that a case may add
CHUNK = 20_000  # cases of a child process
HARD_SECONDS = 20  # of processor time of a case, after which the system ends the process: native code goes on at 10 s
STUCK = 120  # s without progress or processor time after which a child process is ended: it is in a deadlock
ENDS = ("refused", "accepted", "failed", "limit", "died")
"""How a case can end."""


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
    door: Door, cases: Iterable[int], note: Callable[[str], None] = lambda _: None
) -> tuple[list[Finding], Counter]:
    """Run cases in this process; return the findings, and how often a case ended how.

    Args:
        door: Where the cases go.
        cases: Their numbers.
        note: Gets the number of each case before it, and a line with its end and its finding after it.
    """
    findings, ends = [], Counter()
    with tempfile.TemporaryDirectory(prefix="genser-fuzz-") as folder:
        call = door.prepare(Path(folder))
        seeds = door.seeds(Path(folder))
        with suppress(Refused):
            call(seeds[0])  # imports what the door needs, which is not to count as time or memory of a case
        for number in cases:
            note(f"{number} ")
            end, kind, place = _outcome(call, mutant(seeds, number, text=door.text))
            note(json.dumps([end, kind, place]) + "\n")
            ends[end] += 1
            if kind:
                findings.append(Finding(door.name, number, kind, place))
    return findings, ends


def _outcome(call: Callable[[bytes], object], data: bytes) -> tuple[str, str, str]:
    """How a case ends; of a finding also its kind and place."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end, kind, place = "accepted", "", ""
    try:
        with _time_limit():
            call(data)
    except Refused:
        end = "refused"
    except (Exception, TooSlow) as error:
        end = "limit" if isinstance(error, TooSlow) else "failed"
        kind, place = type(error).__name__, _place(error)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > MEMORY and not kind:
        end, kind, place = "limit", "memory", f"{grown >> 20} MB"
    return end, kind, place


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
    """Attack in this process; note every case in the file that the parent process reads."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    limit = 6 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    with Path(os.environ["GENSER_FUZZ_PROGRESS"]).open("a", buffering=1) as progress:

        def note(text: str) -> None:
            progress.write(text)
            progress.flush()
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + HARD_SECONDS, most))

        attack(DOORS[name], cases, note)


def supervised(name: str, cases: range, log: Path) -> tuple[list[Finding], Counter]:
    """Attack in child processes; a new one goes on after a death."""
    findings, ends, start = [], Counter(), cases.start
    while start < cases.stop:
        with tempfile.NamedTemporaryFile(prefix="genser-fuzz-") as progress:
            command = [sys.executable, __file__, "--door", name, "--child", f"{start}:{cases.stop}"]
            variables = {**os.environ, "GENSER_FUZZ_PROGRESS": progress.name, "OMP_NUM_THREADS": "1"}
            with log.open("ab") as errors:
                process = subprocess.Popen(command, stdout=errors, stderr=errors, env=variables)
            is_stuck = _watched(process, Path(progress.name))
            noted = [line.split(" ", 1) for line in Path(progress.name).read_text().split("\n") if line]
        for number, text in noted:
            end, kind, place = json.loads(text) if text else _death(process.returncode, is_stuck)
            ends[end] += 1
            if kind:
                findings.append(Finding(name, int(number), kind, place))
        reached = int(noted[-1][0]) if noted else start
        if process.returncode and (not noted or noted[-1][1]):  # between cases
            end, *about = _death(process.returncode, is_stuck)
            findings.append(Finding(name, reached, *about))
            ends[end] += not noted
        start = reached + 1
    return findings, ends


def _death(status: int, is_stuck: bool) -> tuple[str, str, str]:
    """How the case ended during which the process did."""
    if is_stuck or status == -signal.SIGXCPU:
        return "limit", "no progress" if is_stuck else "processor time", "the process was ended"
    return "died", f"exit status {status}", "the process ended"


def _watched(process: subprocess.Popen, progress: Path) -> bool:
    """Wait for a process, or end it if it makes no progress; return whether it was ended."""
    last, since = (-1, -1), time.monotonic()
    while process.poll() is None:
        if (now := (progress.stat().st_size, _processor_seconds(process.pid))) != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > STUCK:
            process.send_signal(signal.SIGUSR1)  # writes where its threads are
            time.sleep(1)
            process.kill()
            process.wait()
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
    return False


def _processor_seconds(number: int) -> int:
    """Processor time of another process in whole seconds; 0 where there is no /proc."""
    with suppress(OSError):
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) // os.sysconf("SC_CLK_TCK")
    return 0


def campaign(claim: Claim, names: Sequence[str], total: int, keep: Path | None) -> None:
    weights = sum(DOORS[name].weight for name in names)
    with tempfile.TemporaryDirectory(prefix="genser-fuzz-") as folder:
        log = Path(folder) / "log"
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            log = keep / "log"
        for name in names:
            door, begin = DOORS[name], time.perf_counter()
            count = max(round(total * door.weight / weights), 1)
            findings, ends = [], Counter()
            for start in range(0, count, CHUNK):
                more, ended = supervised(name, range(start, min(start + CHUNK, count)), log)
                findings += more
                ends += ended
            faults = {(one.kind, one.place.split(" ")[0]): one for one in reversed(findings)}
            numbers = {"cases": count} | {end: ends[end] for end in ENDS}
            claim.add(name, **numbers, faults=len(faults), seconds=time.perf_counter() - begin)
            print(f"{name}: {count} cases, {len(faults)} faults in {len(findings)} findings", flush=True)
            for one in faults.values():
                print(f"    case {one.case}: {one.kind} at {one.place}", flush=True)
                if keep:
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
