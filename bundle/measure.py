"""Measures a bundled model on held-out speakers.

    python bundle/measure.py MODEL.onnx --data DATA -o CARD.json
    python bundle/measure.py MODEL.onnx --data DATA --against OTHER.onnx -o DIFFERENCE.json

Everything is measured from audio with the file that ships. Two files are compared on the same resamples of speakers.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from corpora import CORPORA, read_corpora
from disturb import DISTURBANCES

import genser
from genser.audio import SAMPLE_RATE, load_audio
from genser.audio.synthetic_noise import FAMILIES, synthetic_noise
from genser.data.labels import find_label_map, for_task
from genser.data.utterance import Utterance
from genser.inference.prediction import NO_SPEECH
from genser.metrics.bootstrap import Resampling, paired_bootstrap
from genser.metrics.evaluate import Evaluation, Predictions, evaluate

SYNTHETIC_EACH, SYNTHETIC_SEED = 20, 1
LABELS = "seven"
CONDITIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"clean": lambda clip: clip, **DISTURBANCES}
DISTURBED_EACH = 300
"""Clips of each corpus, drawn evenly, on which every disturbance is measured."""


def scored(recognizer: Any, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class probabilities (clips, classes), and for each clip whether it counts as speech and as in-domain."""
    answers = list(recognizer.predict_many((clip, SAMPLE_RATE) for clip in clips))
    scores = np.array([[answer.scores[name] for name in recognizer.labels] for answer in answers])
    spoken = np.array([answer.label != NO_SPEECH for answer in answers])
    return scores, spoken, np.array([(answer.familiar or 0.0) >= 0.5 for answer in answers])


def evaluation(scores: np.ndarray, utterances: Sequence[Utterance], labels: Sequence[str]) -> Evaluation:
    """Scores with intervals from resamples of speakers, or of clips where there are fewer than five speakers."""
    speakers = ["/".join(item.speaker_key) for item in utterances]
    predictions = Predictions.named(scores, [item.label for item in utterances], labels, speakers)
    return evaluate(predictions, resampling=Resampling(2000))


def summary(found: Evaluation) -> dict[str, Any]:
    """Scores of one set of clips for the card."""
    interval = found.intervals.get("ua")
    return {
        "utterances": found.utterances,
        "ua": found.ua,
        "ua_interval": None if interval is None else [interval.low, interval.high],
        "wa": found.wa,
        "macro_f1": found.macro_f1,
        "ece": found.calibration.ece_mass if found.calibration else None,
        "reliability": [asdict(one) for one in found.calibration.bins] if found.calibration else [],
        "recall": {one.name: one.recall for one in found.per_class if one.support},
    }


def summary_of(scores: np.ndarray, utterances: Sequence[Utterance], labels: Sequence[str]) -> dict[str, Any]:
    """Scores of one set of clips for the card, from their class probabilities."""
    return summary(evaluation(scores, utterances, labels))


def difference(ours: np.ndarray, theirs: np.ndarray, utterances: Sequence[Utterance], labels: Sequence[str]) -> Any:
    """UA of one set of scores minus that of another, on the same resamples; see :func:`evaluation`."""
    speakers = np.array(["/".join(item.speaker_key) for item in utterances])
    truth = np.array([list(labels).index(item.label) for item in utterances])
    found = paired_bootstrap(ours, theirs, truth, speakers, classes=len(labels)).interval.to_dict()
    return {**found, "agreement": float(np.mean(ours.argmax(1) == theirs.argmax(1)))}


def groups() -> dict[str, Callable[[Utterance], bool]]:
    """Sets of clips that the card reports: every corpus, each gender over all corpora, and all."""
    by_corpus = {name: (lambda item, name=name: item.corpus == name) for name in CORPORA}
    by_gender = {gender: (lambda item, gender=gender: item.gender == gender) for gender in ("female", "male")}
    return {**by_corpus, **by_gender, "all": lambda item: item.corpus in CORPORA}


def disturbed(recognizer: Any, utterances: list[Utterance], clips: list[np.ndarray]) -> dict[str, Any]:
    """Mean UA over the corpora, clean and under every disturbance, and the share of clips that count as speech."""
    indices = [index for name in CORPORA for index in _evenly(utterances, name)]
    chosen = [utterances[index] for index in indices]
    rows = {}
    for name, disturb in CONDITIONS.items():
        scores, speech, familiar = scored(recognizer, [disturb(clips[index]) for index in indices])
        per_corpus = [_ua(scores, chosen, recognizer.labels, corpus) for corpus in CORPORA]
        shares = {"counted_as_speech": float(speech.mean()), "familiar": float(familiar.mean())}
        rows[name] = {"ua": float(np.mean(per_corpus)), **shares}
    return rows


def _of_corpus(utterances: Sequence[Utterance], corpus: str) -> list[int]:
    return [index for index, item in enumerate(utterances) if item.corpus == corpus]


def _evenly(utterances: Sequence[Utterance], corpus: str) -> list[int]:
    indices = _of_corpus(utterances, corpus)
    return [indices[i] for i in np.unique(np.linspace(0, len(indices) - 1, DISTURBED_EACH).astype(int))]


def _ua(scores: np.ndarray, utterances: Sequence[Utterance], labels: Sequence[str], corpus: str) -> float:
    inside = _of_corpus(utterances, corpus)
    return evaluation(scores[inside], [utterances[index] for index in inside], labels).ua


def backgrounds(recognizer: Any, data: Path) -> float:
    """Share of the held-out recordings without speech with the label "no speech"."""
    silent = [item for item in read_corpora(data) if item.label == NO_SPEECH and item.split == "test"]
    return float(1 - scored(recognizer, [load_audio(item.path) for item in silent])[1].mean())


def no_speech(recognizer: Any) -> dict[str, float]:
    """Share of synthetic noise with the label "no speech", by family; drawn with another seed than in training."""
    rates = {}
    for family in FAMILIES:
        sounds = [synthetic_noise(family, number, seed=SYNTHETIC_SEED) for number in range(SYNTHETIC_EACH)]
        rates[family] = float(1 - scored(recognizer, sounds)[1].mean())
    return rates


def gender(model: str, utterances: Sequence[Utterance], clips: Sequence[np.ndarray]) -> dict[str, Any]:
    """Scores of the second answer, the gender, on each corpus that labels it."""
    recognizer = genser.load(model, task="gender")
    labelled = [index for index, item in enumerate(utterances) if item.gender in recognizer.labels]
    items = [replace(utterances[index], label=utterances[index].gender) for index in labelled]
    scores = scored(recognizer, [clips[index] for index in labelled])[0]
    found = {}
    for name in CORPORA:
        if inside := _of_corpus(items, name):
            found[name] = summary_of(scores[inside], [items[index] for index in inside], recognizer.labels)
    return found


def held_out_clips(data: Path) -> tuple[list[Utterance], list[np.ndarray]]:
    """Clips of the held-out speakers, and their waveforms."""
    kept, _ = for_task(read_corpora(data), "emotion", find_label_map(LABELS))
    held_out = [item for item in kept if item.split == "test"]
    return held_out, [load_audio(item.path) for item in held_out]


def compare(model: str, other: str, data: Path) -> dict[str, Any]:
    """UA of one file minus that of another, by corpus, over all, and under every disturbance, with paired intervals."""
    first, second = genser.load(model), genser.load(other)
    held_out, clips = held_out_clips(data)
    found: dict[str, Any] = {}
    for name, disturb in CONDITIONS.items():
        inputs = [disturb(clip) for clip in clips]
        ours, theirs = scored(first, inputs)[0], scored(second, inputs)[0]
        found[name] = {"all": difference(ours, theirs, held_out, first.labels)}
        for corpus in CORPORA:
            inside = _of_corpus(held_out, corpus)
            chosen = [held_out[index] for index in inside]
            found[name][corpus] = difference(ours[inside], theirs[inside], chosen, first.labels)
    return found


def measure(model: str, data: Path, exact: str | None = None) -> dict[str, Any]:
    """Everything that the card reports; given the same model in float32, also the cost of eight bits."""
    recognizer = genser.load(model)
    held_out, clips = held_out_clips(data)
    scores, speech, familiar = scored(recognizer, clips)
    found = {}
    for name, inside in groups().items():
        indices = [index for index, item in enumerate(held_out) if inside(item)]
        found[name] = summary_of(scores[indices], [held_out[index] for index in indices], recognizer.labels)
        found[name]["familiar"] = float(familiar[indices].mean())
    rates = no_speech(recognizer)
    compared = {}
    if exact is not None:
        compared["eight_bits"] = difference(scores, scored(genser.load(exact), clips)[0], held_out, recognizer.labels)
    return {
        **compared,
        "precision": "int8" if exact is not None else "float32",
        "held_out_speakers": sorted({"/".join(item.speaker_key) for item in held_out}),
        "held_out": found,
        "gender": gender(model, held_out, clips),
        "disturbed": disturbed(recognizer, held_out, clips),
        "no_speech": {
            "families": rates,
            "synthetic": float(np.mean(list(rates.values()))),
            "backgrounds": backgrounds(recognizer, data),
            "clips": float(1 - speech.mean()),
        },
    }


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--against", help="another file of the same labels")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    if given.against:
        found = compare(given.model, given.against, given.data)
        given.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(json.dumps({name: row["all"] for name, row in found.items()}, indent=1))
        return
    found = measure(given.model, given.data)
    given.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(json.dumps({name: (row["ua"], row["ece"]) for name, row in found["held_out"].items()}, indent=1))


if __name__ == "__main__":
    main()
