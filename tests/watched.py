"""Runs a command and notes what it and its child processes write and which sockets they open; finds processes."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CALLS = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat,truncate"
NETWORK = "socket,connect,sendto,sendmsg,sendmmsg,bind"
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<[^>]*>)?")
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
SYSTEM = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/")
HOMES = {"HOME": "home", "XDG_CACHE_HOME": "home/.cache", "XDG_CONFIG_HOME": "home/.config", "TMPDIR": "temporary"}
SETTINGS = ("ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR", "HF_HOME", "HF_HUB_OFFLINE", "TORCHINDUCTOR_CACHE_DIR")


@dataclass
class Watched:
    """What a command did.

    Attributes:
        output: Its standard output and errors.
        written: Paths outside the temporary folder and the working folder that it created, opened for writing or moved.
        left: Files and folders that remained in the home and the temporary folder.
        sockets: System calls on sockets of the network.
    """

    output: str
    written: list[str]
    left: list[str]
    sockets: list[str]


def can_trace() -> bool:
    """Whether strace is installed and may trace processes here."""
    return bool(shutil.which("strace")) and not subprocess.run(["strace", "-o", os.devnull, "true"]).returncode


def tracer(log: Path) -> list[str]:
    """Command that traces the command behind it; empty where strace cannot work."""
    trace = ["strace", "-f", "--seccomp-bpf", "-s", "200", "-e", f"trace={CALLS},{NETWORK}", "-o", str(log)]
    return trace if can_trace() else []


def environment(folder: Path) -> dict[str, str]:
    """Variables of a user whose home and temporary folder are empty and lie in a folder."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    for place in HOMES.values():
        (folder / place).mkdir(parents=True, exist_ok=True)
    return kept | {name: str(folder / place) for name, place in HOMES.items()} | {"PYTHONDONTWRITEBYTECODE": "1"}


def watch(command: Sequence[str], folder: Path, cwd: Path, *, check: bool = True) -> Watched:
    """Run a command to its end in a working folder, with its home in another folder."""
    log, variables = folder / "calls.log", environment(folder)
    command = [*tracer(log), *command]
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    homes = [folder / place for place in HOMES.values()]
    left = sorted({str(path) for home in homes for path in home.rglob("*") if path not in homes})
    written, sockets = read_log(log, allowed=(folder / "temporary", cwd)) if log.exists() else ([], [])
    return Watched(done.stdout + done.stderr, written, left, sockets)


def read_log(log: Path, allowed: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Paths written outside the allowed folders, and calls on sockets of the network, from a log of strace."""
    written, sockets = [], []
    places = (*SYSTEM, *map(str, allowed))
    for line in log.read_text("utf-8", "replace").splitlines():
        found = CALL.match(line)
        if not found:
            continue
        name, arguments, result = found.groups()
        if name in NETWORK:
            if "AF_INET" in arguments or "AF_NETLINK" in arguments or "AF_PACKET" in arguments:
                sockets.append(line)
        elif int(result) >= 0 and (name not in ("open", "openat") or WRITES.search(arguments)):
            paths = re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)
            written += [path for path in paths if path.startswith("/") and not path.startswith(places)]
    return written, sockets


def genser(*arguments: object) -> list[str]:
    """The command line of a verb."""
    return [sys.executable, "-m", "genser", *map(str, arguments)]


def processes_below(pid: int) -> list[int]:
    """Processes that a process has started, and those that these have; from /proc."""
    below = [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]
    return below + [one for child in below for one in processes_below(child)]


def wait_for_shards(folder: Path, count: int) -> None:
    """Wait until a bulk run has written so many shards."""
    end = time.monotonic() + 300
    while len(list(folder.glob("part-*"))) < count:
        assert time.monotonic() < end, f"{folder} has no {count} shards after 300 s."
        time.sleep(0.01)
