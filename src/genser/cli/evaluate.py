"""``genser evaluate``: score a model on a manifest, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from genser.cli._notes import note
from genser.errors import ConfigError, counted, each_once

if TYPE_CHECKING:
    from genser.bench.score_manifest import Progress, Scored
    from genser.data.labels import LabelMap
    from genser.data.utterance import Utterance
    from genser.inference.class_prior import ClassPrior
    from genser.metrics.bootstrap import Resampling
    from genser.peers.catalog import PeerChoice
    from genser.peers.scoring import PeerScores
    from genser.report.document import Document


def evaluate(
    model: str,
    manifest: Path,
    *,
    encoder: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    split: str | None = None,
    speakers: Literal["unseen", "all"] = "unseen",
    task: str = "emotion",
    labels: str | None = None,
    classes: str | None = None,
    prior: str | None = None,
    profile: Path | None = None,
    steps: str = "1,2,4,10,20",
    store: Path = Path("features"),
    device: str = "cpu",
    resamples: int = 2000,
    send_audio_to: str | None = None,
) -> int:
    """Measure a model on labelled clips: accuracy (WA, UA, F1), confusion and calibration, with intervals.

    Speakers are resampled for the intervals if there are five or more, else clips; the report then says what the
    intervals do not cover. Speakers that the model was trained on are omitted, as far as it records them.

    Example: genser evaluate model mine.csv --split test -o report

    Args:
        model: Model folder, ONNX file, name of a bundled model, "hf:owner/name" on the hub, or "peer:NAME[=WEIGHTS]"
            for a finished classifier of another package (see docs/peers.md).
        manifest: Table (CSV, JSON lines or Parquet) with the columns path and label.
        encoder: Present source of the encoder of a model folder, if it was moved: "kind:path", a path, or a hub id.
        output: Folder for report.json, report.md, report.html and pictures; by default the report is printed.
        split: Score only the rows of this split: train, validation or test; all rows if omitted.
        speakers: "unseen" omits the speakers that the model was trained on, "all" scores all.
        task: emotion or gender.
        labels: Label map for the labels of the manifest, by name or as file.toml:name; if omitted, they stay as they
            are.
        classes: Classes that can occur, such as anger,happiness,neutral; clips of other classes are omitted.
        prior: Share of each class, such as anger=0.2,neutral=0.8; equal shares if omitted.
        profile: Adapt the model first, by a file of genser adapt. Evaluate without it as well, and compare.
        steps: Numbers N of transport steps to compare (model folders without --profile only; the N of an ONNX file is
            fixed).
        store: Folder of the feature store (model folders only).
        device: Where the model runs: "cpu", a GPU such as "cuda" or "cuda:1", or "auto": the GPU if there is one, else
            the CPU.
        resamples: Number of bootstrap resamples.
        send_audio_to: The hosted peer to which every clip may be sent, or NAME=URL for another server of its form.

    Returns:
        0 on success, 1 if some clips could not be read; they count as wrong.
    """
    from genser.bench.score_manifest import under
    from genser.cli._outputs import check_folder
    from genser.cli._progress import progress_bars
    from genser.data.labels import find_label_map
    from genser.data.manifest import read_manifest
    from genser.inference.load import found_device
    from genser.metrics.bootstrap import Resampling
    from genser.peers.catalog import PeerChoice
    from genser.report.document import check_formats, to_markdown, write_report

    if output is not None:
        check_folder(output)
        check_formats()
    peer = PeerChoice.of(model.removeprefix("peer:"), send_audio_to) if model.startswith("peer:") else None
    if peer and profile:
        raise ConfigError("--profile fits models of genser, and a peer is none. Omit it.")
    device = found_device(device)
    resampling, counts = Resampling(resamples), _step_counts(steps)
    utterances = read_manifest(manifest, check_files=False)
    label_map = find_label_map(labels) if labels else None
    choose = _Choice(utterances, task, label_map, split, speakers, classes, prior)
    with progress_bars() as bars:
        progress = lambda done, total: bars("evaluate", done, total)  # noqa: E731
        if peer is not None:
            scored, details = _score_peer(peer, choose, device, output, progress)
        else:
            scored, details = _score_model(model, choose, store, encoder, counts, device, progress, profile), None
    scored = under(scored, choose.class_prior)
    about = {"model": model, "manifest": str(manifest), "task": task, "split": split or "all", "speakers": speakers}
    settings = {"classes": classes, "prior": prior, "profile": str(profile or "")}
    about |= {name: value for name, value in settings.items() if value}
    title = f"Evaluation of {peer.name if peer else Path(model).name}"
    document = _document(scored, details, title, about, resampling)
    for line in scored.problems:
        note(line)
    if any("does not exist" in problem for problem in scored.problems):
        note(f"genser: Relative paths start at the folder of the table, {manifest.parent.absolute()}.")
    if output is None:
        print(to_markdown(document))
    else:
        for warning in document.data["warnings"]:
            choose.say(warning)
        for path in write_report(document, output):
            note(path)
    return 1 if scored.problems else 0


def _document(
    scored: "Scored", details: "PeerScores | None", title: str, about: Mapping[str, str], resampling: "Resampling"
) -> "Document":
    """The report on the scores of a model, or of a peer with its details."""
    from genser.bench.score_manifest import speaker_warnings
    from genser.metrics.evaluate import evaluate as score
    from genser.report.evaluation import evaluation_document

    predictions = scored.predictions
    evaluation = score(predictions, resampling=resampling)
    if details is not None and not details.gives_scores:
        evaluation = replace(evaluation, calibration=None)
    warnings = [*speaker_warnings(scored.utterances, scored.info), *_clip_warnings(scored)]
    return evaluation_document(
        evaluation,
        title=title,
        about={**about, **(details.about() if details else {})},
        steps={
            count: score(replace(predictions, probabilities=rows), resampling=resampling)
            for count, rows in sorted(scored.steps.items())
        },
        warnings=[*warnings, *(details.warnings() if details else ())],
    )


def _clip_warnings(scored: "Scored") -> list[str]:
    """Sentences on clips that the scores count in another way than genser predict would answer."""
    from genser.bench.score_manifest import late_ends

    late = late_ends(scored.utterances)
    warnings = [late] if late else []
    if scored.refused:
        clips = counted(scored.refused, "clip", "clips")
        warnings.append(
            f"For {clips} of {len(scored.utterances):,}, genser predict answers 'no speech'. These scores do not use "
            "the speech gate: they take the class with the highest score for each clip."
        )
    return warnings


def _score_model(
    model: str,
    choose: "_Choice",
    store: Path,
    encoder: str | None,
    steps: list[int],
    device: str,
    progress: "Progress",
    profile: Path | None,
) -> "Scored":
    """Score with a model folder, from stored features, or with an ONNX file or a profile, from audio."""
    from genser.bench.score_manifest import score_folder, score_recognizer
    from genser.cli._extras import training_extra
    from genser.cli._outputs import check_folder
    from genser.inference.load import find_model, load

    located = find_model(model)
    if profile or not located.is_dir():
        recognizer = load(located, encoder=encoder, device=device, profile=profile)
        return score_recognizer(recognizer, choose, progress=progress)
    with training_extra("Evaluating a model folder"):
        check_folder(store)
        return score_folder(located, choose, store, encoder=encoder, steps=steps, device=device, progress=progress)


def _score_peer(
    peer: "PeerChoice", choose: "_Choice", device: str, output: Path | None, progress: "Progress"
) -> "tuple[Scored, PeerScores]":
    """Score with a finished classifier of another package, and say how its classes were mapped."""
    from genser.bench.score_manifest import score_manifest_peer

    if peer.url:
        note(f"genser: every clip is sent to {peer.url} ({peer.name}, {peer.weights}).")
    data = (choose.utterances, choose.task, choose.label_map, lambda: choose.class_prior.labels)
    folder = output / "answers" if output else None
    scored, details = score_manifest_peer(peer, choose, *data, device=device, folder=folder, progress=progress)
    note(f"genser: {peer.name}: {details.mapping}")
    return scored, details


@dataclass
class _Choice:
    """Chooses the utterances to score, once the classes of the model are known; says at once what they lack.

    Attributes:
        class_prior: The classes that can occur.
        say: Prints a sentence, each only once.
    """

    utterances: "list[Utterance]"
    task: str
    label_map: "LabelMap | None"
    split: str | None
    speakers: str
    classes: str | None
    prior: str | None
    class_prior: "ClassPrior" = field(init=False)
    say: Callable[[str], None] = field(
        init=False, default_factory=lambda: each_once(lambda sentence: note(f"genser: {sentence}"))
    )

    def __call__(self, known: Sequence[str], info: Mapping[str, Any]) -> "list[Utterance]":
        from genser.bench.score_manifest import labelled, speaker_warnings, unseen
        from genser.inference.class_prior import ClassPrior
        from genser.metrics.few import few_remarks

        self.class_prior = ClassPrior.of(known, self.classes, self.prior)
        occurring = self.class_prior.labels if self.classes or self.prior else None
        given = self.utterances, known, self.task, self.label_map, self.split, occurring
        inside, other, unlabelled = labelled(*given)
        kept = inside if self.speakers == "all" else unseen(inside, info)
        if other:
            counts = ", ".join(f"{name} {count}" for name, count in other.most_common())
            self.say(f"Clips of classes that cannot occur are omitted: {counts}. See --classes.")
        if unlabelled:
            words = counted(unlabelled, "row without a class is", "rows without a class are")
            self.say(f"{words} omitted: no label of the task {self.task!r}, or one that --labels drops.")
        if trained := len(inside) - len(kept):
            words = counted(trained, "clip of training speakers is", "clips of training speakers are")
            self.say(f"{words} omitted. See --speakers.")
        labels = [item.label for item in kept]
        support = [labels.count(name) for name in self.class_prior.labels]
        speakers = {item.speaker_key for item in kept}
        count = 0 if None in speakers else len(speakers)
        for sentence in (*speaker_warnings(kept, info), *few_remarks(support, self.class_prior.labels, count)):
            self.say(sentence)
        return kept


def _step_counts(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--steps must be numbers of steps separated by commas, such as 1,4,20, got {text!r}.")
    return sorted({int(part) for part in parts})
