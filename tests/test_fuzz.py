"""A few damaged inputs to every door; `benchmarks/fuzz.py` gives a million, in processes with limits."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import _doors  # noqa: E402
import fuzz  # noqa: E402
from _mutants import mutant  # noqa: E402

sys.path.remove(str(BENCHMARKS))
CASES = 100
SLOW = {"audio": 30, "HTTP": 10, "WebSocket": 10, "command lines": 10, "settings": 5, "recipes": 5, "plans": 5}
SLOW |= {"HTTP profiles": 10, "profile of a request": 10, "hub configurations": 3, "hub weights": 3}
SLOW |= {"hub model weights": 3, "model file": 5, "model metadata": 5, "model folder": 5, "encoder weights": 5}
FIRST = 1_000_000_000
"""Number of the first case: behind those of the long runs."""


@pytest.mark.parametrize("name", fuzz.DOORS)
def test_damaged_inputs_are_refused_or_accepted(name, monkeypatch, toys):
    files = {file.name: file.read_bytes() for file in toys.folder.iterdir() if file.is_file()}
    weights = toys.folder.with_name("toy-encoder.safetensors").read_bytes()
    monkeypatch.setattr(_doors, "toy", lambda: (toys.float32.read_bytes(), files, weights))
    monkeypatch.chdir(Path.cwd())  # the door of command lines changes the folder
    seeds = range(3)
    findings, ends = fuzz.attack(fuzz.DOORS[name], [*seeds, *range(FIRST, FIRST + SLOW.get(name, CASES))])
    assert findings == []
    assert ends["accepted"], "not even a good input is accepted"


def test_a_fault_is_found():
    def work(data):
        if b"\xff" in data:
            raise KeyError("a fault")
        if len(data) > 40:
            raise _doors.Refused

    door = _doors.Door("toy", 1, False, lambda _: [bytes(range(32))], lambda _: work)
    findings, ends = fuzz.attack(door, range(100))
    assert {(one.kind, one.place) for one in findings} == {("KeyError", "outside 'a fault'")}
    assert ends["accepted"]
    assert ends["refused"]
    assert ends["failed"] == len(findings)
    assert ends.total() == 100
    with pytest.raises(KeyError):
        work(mutant([bytes(range(32))], findings[0].case, text=False))


@pytest.mark.parametrize(
    ("last", "end", "kind"),
    [
        ("kill -SEGV $$", "died", "exit status -11"),
        ("kill -XCPU $$", "limit", "processor time"),
        ("exec sleep 100", "limit", "no progress"),
    ],
)
def test_the_end_of_a_process_costs_no_case_but_its_own(tmp_path, monkeypatch, last, end, kind):
    """Three cases are noted, and the process ends in the third; so does the next one, in the fourth."""
    python = tmp_path / "python"
    noted = '0 ["refused", "", ""]\n1 ["failed", "KeyError", "x.py:1"]\n2 '
    python.write_text(
        f"#!/bin/sh\nif [ -e {tmp_path}/again ]; then printf '3 ' >> $GENSER_FUZZ_PROGRESS\n"
        f"else printf '{noted}' >> $GENSER_FUZZ_PROGRESS; touch {tmp_path}/again; fi\n{last}\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(fuzz, "STUCK", 2)
    findings, ends = fuzz.supervised("times", range(4), tmp_path / "log")
    assert [(one.case, one.kind) for one in findings] == [(1, "KeyError"), (2, kind), (3, kind)]
    assert ends == {"refused": 1, "failed": 1, end: 2}


def test_a_process_that_ends_before_its_first_case_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tmp_path / "python").chmod(0o755)
    findings, ends = fuzz.supervised("times", range(2), tmp_path / "log")
    assert [(one.case, one.kind) for one in findings] == [(0, "exit status -11"), (1, "exit status -11")]
    assert ends == {"died": 2}
