"""The section of leave-one-corpus-out in the report of a bench: every held-out corpus, with and without adaptation."""

from collections.abc import Callable, Mapping

from genser.bench.across_corpora import CONDITIONS, AcrossCorpora, Condition, CorpusScores, HeldOutCorpus
from genser.bench.pool_runs import System
from genser.metrics.bootstrap import FEW_SPEAKERS
from genser.report.document import (
    Block,
    Paragraph,
    Table,
    difference_cell,
    few_clips,
    few_speakers,
    percent,
    plain,
    range_cell,
)

LEGEND = (
    ("plain", "No adaptation."),
    (
        "adapted",
        "The features of the corpus are shifted towards the training mean, without labels, as genser adapt does.",
    ),
    (
        "by speaker",
        "Each speaker has a shift, shrunk towards that of the corpus, which clips of unknown speakers get.",
    ),
    ("own", "Only the classes of the corpus can be answered, as with --classes. Without this word, all classes can."),
    (
        "mean",
        "Mean over corpora. Its interval is over corpora. The interval of a corpus is over its speakers, or over its "
        f"clips if it names fewer than {FEW_SPEAKERS} speakers.",
    ),
    ("worst", "The corpus with the lowest UA, or with the highest share or error."),
    ("top", "Share of the clips that get the most frequent answer."),
    (
        "ECE",
        "Expected calibration error over 15 bins of equal count after nested calibration: the scores of a corpus are "
        "raised to an exponent that was fitted to the held-out predictions of the other corpora alone, separately for "
        "plain, adapted and by speaker.",
    ),
)
"""What the words in the tables mean."""

_NAMES = {"none": "plain", "collection": "adapted", "speaker": "by speaker"}
_OPEN = tuple(one for one in CONDITIONS if not one.own_classes)

Name = Callable[[System], str]


def across_corpora_blocks(found: AcrossCorpora, title: str, name: Name) -> list[Block]:
    """The section of one protocol.

    Args:
        found: Its results.
        title: Title of the protocol.
        name: Name of a system in the tables.
    """
    return [
        _corpora(found, title),
        Table("Words in the next tables", ("word", "meaning"), LEGEND, words=frozenset({1})),
        _accuracies(found, title, name),
        *few_speakers({one.name: one.speakers for one in found.corpora}),
        *few_clips({one.name: next(iter(one.scores.values()))[CONDITIONS[0]].ua for one in found.corpora}),
        *_few_corpora(found),
        *_differences(found, name),
        _answers(found, title, name),
    ]


def _short(condition: Condition) -> str:
    return f"{_NAMES[condition.adaptation]}{', own' if condition.own_classes else ''}"


def _corpora(found: AcrossCorpora, title: str) -> Table:
    rows = tuple(
        (one.name, str(one.utterances), str(one.speakers or "–"), percent(one.most_frequent), ", ".join(one.classes))
        for one in found.corpora
    )
    head = ("corpus", "clips", "speakers", "most frequent class, %", "own classes")
    return Table(f"Held-out corpora, {title}", head, rows, words=frozenset({4}))


def _accuracies(found: AcrossCorpora, title: str, name: Name) -> Table:
    """UA: means and worst corpora first, then corpus by corpus, with one row for each system."""
    rows = [
        (
            "mean",
            name(system),
            *(f"{percent(mean[one].ua.estimate)} ({range_cell(mean[one].ua)})" for one in CONDITIONS),
        )
        for system, mean in found.means.items()
    ]
    for system in found.means:
        worst = [_worst(found, system, one, lambda scores: -scores.ua.estimate) for one in CONDITIONS]
        cells = (
            f"{percent(corpus.scores[system][one].ua.estimate)} {corpus.name}"
            for corpus, one in zip(worst, CONDITIONS, strict=True)
        )
        rows.append(("worst", name(system), *cells))
    for corpus in found.corpora:
        for system, scores in corpus.scores.items():
            rows.append((corpus.name, name(system), *map(_cell, scores.values())))
    head = ("corpus", "system", *map(_short, CONDITIONS))
    return Table(f"UA in % on held-out corpora, {title}", head, tuple(rows), words=frozenset({1}))


def _cell(scores: CorpusScores) -> str:
    return f"{percent(scores.ua.estimate)} ({range_cell(scores.ua)})"


def _worst(
    found: AcrossCorpora, system: System, condition: Condition, badness: Callable[[CorpusScores], float]
) -> HeldOutCorpus:
    return max(found.corpora, key=lambda corpus: badness(corpus.scores[system][condition]))


def _differences(found: AcrossCorpora, name: Name) -> list[Block]:
    rows = tuple(
        (f"{name(system)} − {name(ridge)}", *(difference_cell(pairs[one]) for one in CONDITIONS))
        for (system, ridge), pairs in found.differences.items()
    )
    caption = "Mean UA over corpora minus that of the ridge in points (interval over corpora), and how often it wins"
    return [Table(caption, ("system", *map(_short, CONDITIONS)), rows)] if rows else []


def _answers(found: AcrossCorpora, title: str, name: Name) -> Table:
    """Share of the most frequent answer, and calibration error."""

    def shares(scores: Mapping[Condition, CorpusScores]) -> list[str]:
        return [percent(scores[one].most_frequent) for one in _OPEN] + [percent(scores[one].ece) for one in _OPEN]

    rows = [("mean", name(system), *shares(mean)) for system, mean in found.means.items()]
    for system in found.means:
        cells = []
        for field in ("most_frequent", "ece"):
            for one in _OPEN:
                worst = _worst(found, system, one, lambda scores, field=field: getattr(scores, field))
                cells.append(f"{percent(getattr(worst.scores[system][one], field))} {worst.name}")
        rows.append(("worst", name(system), *cells))
    rows += [
        (corpus.name, name(system), *shares(scores))
        for corpus in found.corpora
        for system, scores in corpus.scores.items()
    ]
    columns = [f"{what}, {_short(one)}" for what in ("top", "ECE") for one in _OPEN]
    caption = f"Share of the most frequent answer and calibration error in %, {title}"
    return Table(caption, ("corpus", "system", *columns), tuple(rows), words=frozenset({1}))


def _few_corpora(found: AcrossCorpora) -> list[Block]:
    count = len(found.corpora)
    if count >= FEW_SPEAKERS:
        return []
    return [Paragraph(f"Intervals over {count} corpora are too narrow; {FEW_SPEAKERS} or more are needed.", "warning")]


def across_corpora_data(found: AcrossCorpora) -> dict[str, object]:
    """The numbers of the section as values of JSON."""

    def rows(scores: Mapping[Condition, object], **keys: str) -> list[dict[str, object]]:
        return [{**keys, **plain(condition), **plain(one)} for condition, one in scores.items()]

    return {
        "corpora": [
            {key: plain(getattr(one, key)) for key in ("name", "utterances", "speakers", "classes", "most_frequent")}
            for one in found.corpora
        ],
        "scores": [
            row
            for corpus in found.corpora
            for system, scores in corpus.scores.items()
            for row in rows(scores, corpus=corpus.name, system=system.title)
        ],
        "means": [row for system, means in found.means.items() for row in rows(means, system=system.title)],
        "differences": [
            row
            for (system, ridge), pairs in found.differences.items()
            for row in rows(pairs, a=system.title, b=ridge.title)
        ],
    }
