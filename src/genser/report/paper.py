"""The paper's Tables 1 to 3 in their own form, with published rows and ours side by side."""

from collections.abc import Sequence

from genser.bench.published import Published, published
from genser.bench.runs import Protocol
from genser.bench.summary import ProtocolSummary, SystemSummary
from genser.peers.catalog import catalog
from genser.report.document import Block, Heading, Paragraph, Table, percent

_FORMS = (
    ("emotion", "gen-ser-1", "meld", "MELD (published)", "Table 1: accuracy for speech emotion recognition"),
    ("gender", "gen-ser-2", "air-bench", "AIR-Bench (published)", "Table 2: accuracy for gender classification"),
)


def published_rows(protocol: Protocol) -> tuple[Published, ...]:
    """Published rows that were measured on the corpus, task and folds of a protocol."""
    rows = published(task=protocol.task, corpus=protocol.corpus, family=protocol.family)
    return tuple(row for row in rows if row.steps is None)


def paper_tables(summaries: Sequence[ProtocolSummary]) -> list[Block]:
    """Tables 1 and 2 for the measured tasks, and Table 3 if a system has transport steps."""
    blocks: list[Block] = []
    for task, table, corpus, column, caption in _FORMS:
        measured = [one for one in summaries if one.protocol.task == task]
        if measured:
            blocks.append(_accuracies(measured, published(table=table), corpus, column, caption))
    stepped = [(one, system) for one in summaries for system in one.systems if system.steps]
    blocks += [_steps(stepped)] if stepped else []
    words = (
        "Rows in italics are the paper's, with its own training data and test sets. They can be compared with our rows "
        "only in a column of the same corpus."
    )
    return [Heading("The paper's tables"), Paragraph(words), *blocks] if blocks else []


def _accuracies(
    measured: Sequence[ProtocolSummary], rows: Sequence[Published], corpus: str, column: str, caption: str
) -> Table:
    """Model, type and accuracy: the column of the published corpus first, then one column per protocol of ours."""
    same = [one for one in measured if one.protocol.corpus == corpus and one.protocol.family == "official"]
    ours = [one for one in measured if one not in same]
    columns = [same, *([one] for one in ours)]
    cells: list[tuple[str, ...]] = [
        (f"{row.model} (published)", row.kind, f"{row.wa:.1f}", *("" for _ in ours)) for row in rows
    ]
    kinds = {one.system.title: _kind(one) for summary in measured for one in summary.systems}
    for name, kind in kinds.items():
        accuracies = []
        for part in columns:
            systems = [one for summary in part for one in summary.systems if one.system.title == name]
            accuracies.append(percent(systems[0].scores["wa"].mean) if systems else "")
        cells.append((name, kind, *accuracies))
    floors = (percent(max(one.floor_wa for one in part)) if part else "" for part in columns)
    cells.append(("floor: most frequent class", "Floor", *floors))
    first = column.removesuffix(" (published)") if same else column
    marked = frozenset((*range(len(rows)), len(cells) - 1))
    head = ("model", "type", first, *(one.protocol.title for one in ours))
    return Table(f"{caption} in %", head, tuple(cells), marked=marked, words=frozenset({1}))


def _kind(system: SystemSummary) -> str:
    if system.steps or any(word in system.system.head for word in ("diffusion", "flow")):
        return "Diffusion"
    peer = catalog().get(system.system.head)
    answers_in_words = peer is not None and (peer.url or peer.adapter in ("prompted", "sensevoice"))
    return "LLM" if answers_in_words else "Classification"


def _steps(stepped: Sequence[tuple[ProtocolSummary, SystemSummary]]) -> Table:
    """Accuracy over N; the paper has no estimate without a step."""
    theirs = {row.steps: row.wa for row in published(table="gen-ser-3") if row.steps is not None}
    counts = sorted({count for _, system in stepped for count in system.steps} | set(theirs))
    rows = [("Gen-SER, MELD (published)", *(f"{theirs[count]:.2f}" if count in theirs else "" for count in counts))]
    for summary, system in stepped:
        for score, title in (("wa", "WA"), ("ua", "UA")):
            scores = (system.steps[count][score].mean if count in system.steps else None for count in counts)
            cells = ("" if share is None else percent(share, 2) for share in scores)
            rows.append((f"{system.system.title}, {summary.protocol.title}, {title}", *cells))
    head = ("N", *("direct" if count == 0 else str(count) for count in counts))
    return Table("Table 3: accuracy in % over the number of steps N", head, tuple(rows), marked=frozenset({0}))
