"""The folder of a bench: its runs, which of them belong to it now, and the report on them.

::

    bench.json          what belongs to the bench: the runs of the plan as it was last started
    candidates/         UA of every candidate on held-out training speakers
    runs/               one file a run
    traces/             states along the transport, for Figure 1
    report.json …       the report

A folder may hold several protocols and encoders, run one after the other; the report has them all.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from genser.bench.runs import BenchResult, load_run
from genser.errors import StoreError
from genser.files import atomic_write

INDEX = "bench.json"


@dataclass(frozen=True)
class Entry:
    """One protocol with one encoder.

    Attributes:
        protocol: Name of the protocol.
        encoder: Name of the encoder.
        runs: File names of all its runs, finished or not.
        traces: File name → title of its traces.
        notes: Sentences for the report.
    """

    protocol: str
    encoder: str
    runs: tuple[str, ...]
    traces: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def note(self, folder: Path) -> None:
        """Enter it into the folder's index, in the place of an earlier one of the same protocol and encoder."""
        others = [one for one in entries(folder) if (one.protocol, one.encoder) != (self.protocol, self.encoder)]
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(one) for one in (*others, self)], indent=1, ensure_ascii=False)
        atomic_write(folder / INDEX, text.encode())


def joined(parts: Sequence[Entry]) -> Entry:
    """One entry for the folds of a protocol that were run one after the other."""
    return replace(
        parts[0],
        runs=tuple(name for part in parts for name in part.runs),
        traces={name: title for part in parts for name, title in part.traces.items()},
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def entries(folder: str | os.PathLike[str]) -> list[Entry]:
    """What the folder's index names; nothing where there is none.

    Raises:
        StoreError: If the index is damaged.
    """
    path = Path(folder) / INDEX
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text("utf-8"))
        return [Entry(**one | {"runs": tuple(one["runs"]), "notes": tuple(one["notes"])}) for one in found]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path} is no index of a bench ({error}). Delete it and start the bench again; finished runs are kept."
        ) from error


def bench_result(folder: str | os.PathLike[str], *, title: str = "", notes: tuple[str, ...] = ()) -> BenchResult:
    """Every finished run that belongs to the bench.

    Raises:
        StoreError: If there is none, or one is damaged.
    """
    known = entries(folder)
    paths = [Path(folder, "runs", name) for entry in known for name in entry.runs]
    there = [path for path in paths if path.exists()]
    if not there:
        raise StoreError(f"{folder} holds no finished runs of a bench: run the bench first.")
    own = tuple(dict.fromkeys(note for entry in known for note in entry.notes))
    runs = tuple(load_run(path) for path in there)
    unfinished = len(paths) - len(there)
    if unfinished:
        own += (f"Unfinished: {unfinished} of {len(paths)} runs are still to be made.",)
    protocols = dict.fromkeys(run.spec.protocol.title for run in runs)
    return BenchResult(runs, title or f"Bench: {', '.join(protocols)}", (*notes, *own))
