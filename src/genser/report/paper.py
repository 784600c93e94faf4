"""The paper's Tables 1 to 3 in their own form, published rows and ours side by side."""

from collections.abc import Sequence

from genser.bench.published import Published, published
from genser.bench.runs import Protocol
from genser.bench.summary import ProtocolSummary, SystemSummary
from genser.report.document import Block, Heading, Paragraph, Table
from genser.report.tables import percent, system_name

_FORMS = (
    ("emotion", "gen-ser-1", "meld", "MELD (published)", "Table 1: accuracy for speech emotion recognition"),
    ("gender", "gen-ser-2", "air-bench", "AIR-Bench (published)", "Table 2: accuracy for gender classification"),
)


def published_rows(protocol: Protocol) -> tuple[Published, ...]:
    """Published rows that were measured on the same corpus, task and folds as a protocol."""
    rows = published(task=protocol.task, corpus=protocol.corpus, family=protocol.family)
    return tuple(row for row in rows if row.steps is None)


def paper_tables(summaries: Sequence[ProtocolSummary]) -> list[Block]:
    """Tables 1 and 2 for the tasks that were measured, and Table 3 if a system has transport steps."""
    blocks: list[Block] = []
    for task, table, corpus, column, caption in _FORMS:
        measured = [one for one in summaries if one.protocol.task == task]
        if measured:
            blocks.append(_form(measured, published(table=table), corpus, column, caption))
    stepped = [(one, system) for one in summaries for system in one.systems if system.steps]
    blocks += [_steps_form(stepped)] if stepped else []
    words = (
        "Rows in italics are the paper's, on its own test sets and training data; they compare with ours only where a "
        "column is measured on the same corpus."
    )
    return [Heading("The paper's tables"), Paragraph(words), *blocks] if blocks else []


def _form(
    measured: Sequence[ProtocolSummary], rows: Sequence[Published], corpus: str, column: str, caption: str
) -> Table:
    """Model, type, accuracy; one column a protocol, the published ones in the column of their corpus."""
    ours = [one for one in measured if not (one.protocol.corpus == corpus and one.protocol.family == "official")]
    same = [one for one in measured if one not in ours]
    names = dict.fromkeys(system_name(system.system) for one in measured for system in one.systems)
    kinds = {system_name(one.system): _kind(one) for summary in measured for one in summary.systems}
    cells = [(f"{row.model} (published)", row.kind, f"{row.wa:.1f}", *("" for _ in ours)) for row in rows]
    for name in names:
        cells.append((name, kinds[name], *(_accuracy(name, part) for part in (same, *([one] for one in ours)))))
    floors = (percent(max((one.floor_wa for one in part), default=None)) for part in (same, *([one] for one in ours)))
    cells.append(("floor: most frequent class", "Floor", *(cell if cell != "–" else "" for cell in floors)))
    head = (
        "model",
        "type",
        column if not same else "MELD" if corpus == "meld" else column,
        *(one.protocol.title for one in ours),
    )
    foreign = frozenset((*range(len(rows)), len(cells) - 1))
    return Table(f"{caption} in %", head, tuple(cells), marked=foreign, words=frozenset({1}))


def _accuracy(name: str, summaries: Sequence[ProtocolSummary]) -> str:
    scores = [system.scores["wa"] for one in summaries for system in one.systems if system_name(system.system) == name]
    return percent(scores[0].mean) if scores else ""


def _kind(system: SystemSummary) -> str:
    return "Diffusion" if system.steps or "diffusion" in system.system.head else "Classification"


def _steps_form(stepped: Sequence[tuple[ProtocolSummary, SystemSummary]]) -> Table:
    """Accuracy over N; the estimate without a step is ours alone."""
    theirs = {row.steps: row.wa for row in published(table="gen-ser-3")}
    counts = sorted({count for _, system in stepped for count in system.steps} | set(theirs))
    rows = [("Gen-SER, MELD (published)", *(f"{theirs[count]:.2f}" if count in theirs else "" for count in counts))]
    for summary, system in stepped:
        for score, title in (("wa", "WA"), ("ua", "UA")):
            scores = (system.steps[count][score].mean if count in system.steps else None for count in counts)
            cells = ("" if share is None else percent(share, 2) for share in scores)
            rows.append((f"{system_name(system.system)}, {summary.protocol.title}, {title}", *cells))
    head = ("N", *("direct" if count == 0 else str(count) for count in counts))
    return Table("Table 3: accuracy in % over the number of steps N", head, tuple(rows), marked=frozenset({0}))
