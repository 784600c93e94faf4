"""Writes the model card of a bundled model from its measurements."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

from corpora import CORPORA, LANGUAGES, LICENCES

from genser.training.recipe import TrainConfig

HEADER = """# genser {size}

Recognises seven emotions in speech by distribution transport (Gen-SER): the lower layers of OpenAI's Whisper {encoder}
encoder, and a transport head in the paper's form.

**Licence**: CC BY-NC-SA 4.0 (no commercial use), since it was trained on RAVDESS, nEMO, emotiontts_open_db and Indian
EmoSpeech. Contains Whisper's encoder, MIT, (c) 2022 OpenAI.

## Output

One of neutral, happiness, sadness, anger, fear, disgust, surprise: **how a sentence sounds as if acted**, not what a
person feels. Calm, which only RAVDESS has and which is acted as a second baseline, counts as neutral. Boredom, 79 clips
of one corpus, is omitted: a model would learn to recognise that corpus instead of the class. Scores are probabilities,
calibrated on held-out training speakers. Clips without speech get the label "no speech". The field "familiar" is the
probability that a clip resembles the training corpora in voice, language, room and microphone. Expect far more errors
on clips that do not.

## What it must not be used for

Decisions about people: hiring, policing, schools, insurance, health, credit, border control, or the surveillance of
workers. Emotion recognition in workplaces and schools is forbidden in the European Union (AI Act, Article 5). The
training data are adults acting short sentences in seven languages, mostly in quiet rooms. On spontaneous speech,
children, other languages and other cultures expect far lower scores; the table of other corpora shows how much they
vary.
"""

FOOTER = """
## How it was made

`python bundle/build.py --data DATA --weights WEIGHTS` in genser's repository builds this file with the recipe
`bundled`; the same command measured every number above on it. {encoder} Settings were chosen by leaving each of the
seven corpora out in turn, with all their speakers. The held-out speakers above were used neither for training nor for
calibration of this file, but their corpora took part in that choice.

Two exponents calibrate the scores, one for in-domain clips and one for out-of-domain clips; the in-domain score of a
clip, computed from its features, weights them. The first is fitted to training speakers, each scored by a model trained
on {share} of the training side, without that speaker. The second is fitted to corpora, each scored by a model trained
on the other six. Under each exponent the mean score of the label equals the share of correct labels, with equal weight
for every corpus. No held-out clip influences either. The table of other corpora has two calibration errors: under the
exponents of this file, and under exponents fitted without that corpus. Accuracy differs so much between the corpora
that the confidence for one of them cannot be derived from the others.
"""

OTHER_CORPORA = """
## Other corpora

The same recipe, trained on six corpora and tested on the seventh: other speakers, another language, other rooms and
microphones. Expect these scores, not those above, on your own recordings. Most corpora have fewer than seven classes:
with --classes only these can be answered. A profile (genser adapt) adds about five points, one for each speaker about
ten; docs/research.md has the measurements.
"""

GENDER = """
With `--task gender` the file answers with the gender of the voice instead of the emotion, from the same features. It is
female or male as a corpus labels its speakers. So it is how a voice sounds to others, out of two, and not the gender
with which a person identifies. Voices of children, and those that resemble neither kind, get one of the two all the
same. A profile has no effect on it. One exponent calibrates it, fitted to speakers and to corpora that a head was not
trained on. emospeech does not label the gender.
"""

RECORDINGS = "## Recordings outside a studio"
WIDTH = 120
COUNTED = ("counted_as_speech", "familiar")


def page(size: str, text: str) -> str:
    """The card as a page of the documentation, with a picture of the calibration."""
    picture = f"![Accuracy against confidence on all held-out clips.](pictures/{size}-calibration.png)"
    return text.replace(RECORDINGS, f"{picture}\n\n{RECORDINGS}")


def percent(share: float | None) -> str:
    """A share in per cent with one digit."""
    return "–" if share is None else f"{100 * share:.1f}"


def with_interval(row: Mapping[str, Any]) -> str:
    """UA in per cent with its interval."""
    interval = row["ua_interval"]
    return percent(row["ua"]) + (f" [{', '.join(map(percent, interval))}]" if interval else "")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *rows)]
    return "\n".join(lines)


def named(group: str) -> str:
    """Name of a group of clips with its language; every corpus has a language of its own."""
    corpus, comma, gender = group.partition(", ")
    return f"{corpus} ({LANGUAGES[corpus]}){comma}{gender}" if corpus in LANGUAGES else group


def reliability_table(bins: list[Mapping[str, float]]) -> str:
    """Accuracy and mean confidence in bins of equal count."""
    rows = [(f"{one['confidence']:.2f}", f"{one['accuracy']:.2f}", str(one["count"])) for one in bins]
    return table(("mean score of the label", "share of correct labels", "clips"), rows)


def training_table(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """Training data of each corpus."""
    rows = [
        (name, LANGUAGES[name], *(str(counts[name][key]) for key in ("clips", "speakers", "hours")), LICENCES[name])
        for name in CORPORA
    ]
    return table(("corpus", "language", "clips", "speakers", "hours", "licence"), rows)


def scores_table(held_out: Mapping[str, Mapping[str, Any]]) -> str:
    """Scores on held-out speakers, with intervals by speaker."""
    rows = []
    for name, row in held_out.items():
        rows.append(
            (
                named(name),
                str(row["utterances"]),
                with_interval(row),
                percent(row["wa"]),
                percent(row["macro_f1"]),
                percent(row["ece"]),
                percent(row["familiar"]),
            )
        )
    columns = ("held-out speakers", "clips", "UA %, 95 % interval", "WA %", "macro F1 %", "ECE %", "familiar %")
    return table(columns, rows)


def recall_table(held_out: Mapping[str, Mapping[str, Any]]) -> str:
    """Recall of every class by corpus."""
    classes = list(held_out["all"]["recall"])
    rows = [
        (named(name), *(percent(held_out[name]["recall"].get(label)) for label in classes))
        for name in (*CORPORA, "all")
    ]
    return table(("recall %", *classes), rows)


def disturbed_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """UA, averaged over the corpora, under disturbances."""
    clean = rows["clean"]["ua"]
    listed = [
        (name, percent(row["ua"]), percent(row["ua"] - clean), *(percent(row[share]) for share in COUNTED))
        for name, row in rows.items()
    ]
    return table(("disturbance", "UA %", "change", *(f"{share.replace('_', ' ')} %" for share in COUNTED)), listed)


def across_table(across: Mapping[str, Mapping[str, Any]]) -> str:
    """Scores on each corpus of a model trained on the other six."""
    keys = ("ua_own", "top", "ece", "ece_blind", "familiar")
    rows = [
        (named(name), str(row["utterances"]), with_interval(row), *(percent(row[key]) for key in keys))
        for name, row in across.items()
    ]
    columns = ("UA %, its own classes", "most frequent answer %", "ECE %", "ECE %, calibrated without it", "familiar %")
    return table(("corpus", "clips", "UA %, 95 % interval", *columns), rows)


def gender_table(held_out: Mapping[str, Mapping[str, Any]], across: Mapping[str, Mapping[str, Any]]) -> str:
    """Scores of the second answer, on held-out speakers and on each corpus of a head trained without it."""
    rows = [
        (named(name), *(cell for row in (held_out[name], across[name]) for cell in _gender_cells(row)))
        for name in across
    ]
    kinds = ("held-out speakers", "corpus left out")
    columns = (f"{kind}: {what}" for kind in kinds for what in ("clips", "UA %, 95 % interval", "ECE %"))
    return table(("corpus", *columns), rows)


def _gender_cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(row["utterances"]), with_interval(row), percent(row["ece"])


def rounding_sentence(found: Mapping[str, Any]) -> str:
    """Cost of eight bits on the held-out speakers."""
    cost = found["eight_bits"]
    if cost is None:
        return "This file computes in float32. In eight bits too few labels agreed."
    low, high = (f"{100 * cost[end]:+.1f}" for end in ("low", "high"))
    cost_text = (
        f"on these speakers, against float32: UA {100 * cost['estimate']:+.1f} ({low} to {high}), "
        f"{percent(cost['agreement'])} % of the labels agree."
    )
    if found["precision"] == "int8":
        return f"The encoder's matrix products are computed in eight bits, with a scale for each frame; {cost_text}"
    return f"This file computes in float32. Eight bits were tried and cost too much {cost_text}"


def encoder_sentence(config: TrainConfig) -> str:
    """How the encoder was trained."""
    adaptation = config.adaptation
    if not adaptation.rank:
        return "Whisper's encoder is frozen; only the heads were trained."
    return (
        f"Low-rank terms of rank {adaptation.rank} in Whisper's encoder were trained for {adaptation.steps} steps on "
        "the emotions of the training speakers, so that a ridge regression on some corpora is right about another one, "
        f"and added to its weights at {100 * adaptation.strength:.0f} % of their strength. The models that calibrate "
        "the scores have encoders of their own, trained without the speakers or the corpus that they score. For the "
        "gender, a corpus was left out for the head only."
    )


def card(size: str, encoder: str, counts: Mapping[str, Any], found: Mapping[str, Any], config: TrainConfig) -> str:
    """The card in Markdown, without times, so that the same machine makes the same bytes."""
    share = f"{config.calibration.folds - 1}/{config.calibration.folds}"
    gate = found["no_speech"]
    silence = {name: percent(gate[name]) for name in ("synthetic", "backgrounds", "clips")}
    weakest = ", ".join(f"{name} {percent(rate)} %" for name, rate in gate["families"].items() if rate < 0.95)
    parts = [
        HEADER.format(size=size, encoder=encoder),
        f"## Trained on\n\n{training_table(counts)}",
        f"## Held-out speakers\n\n{scores_table(found['held_out'])}\n\n{recall_table(found['held_out'])}\n\n"
        f"Held out: {', '.join(found['held_out_speakers'])}. Intervals are drawn by speaker; for a corpus with fewer "
        f"than five speakers by clip, and then they do not cover other speakers.\n\n{rounding_sentence(found)}",
        f"{OTHER_CORPORA.strip()}\n\n{across_table(found['across'])}",
        f"## Calibration\n\nOn all held-out clips. A score of 0.8 should be right in 80 of 100 cases.\n\n"
        f"{reliability_table(found['held_out']['all']['reliability'])}",
        f"## Gender\n\n{GENDER.strip()}\n\n{gender_table(found['gender'], found['gender_across'])}",
        f"{RECORDINGS}\n\n{disturbed_table(found['disturbed'])}",
        f"## Silence, noise and music\n\n{silence['synthetic']} % of synthetic sounds get the label no speech "
        f"({'weakest: ' + weakest if weakest else 'every family above 95 %'}), {silence['backgrounds']} % of the "
        f"held-out recordings without speech (streets, metro, houses, a lake), and {silence['clips']} % of the "
        "held-out clips.",
        FOOTER.format(encoder=encoder_sentence(config), share=share).strip(),
    ]
    return wrapped("\n\n".join(part.strip() for part in parts)) + "\n"


def wrapped(text: str) -> str:
    """Markdown with wrapped paragraphs; tables, headings and pictures stay."""
    options = {"width": WIDTH, "break_long_words": False, "break_on_hyphens": False}
    parts = (part if part.startswith(("|", "#", "!")) else fill(part, **options) for part in text.split("\n\n"))
    return "\n\n".join(parts)
