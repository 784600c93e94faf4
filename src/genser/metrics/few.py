"""Intervals of one test set, and what they do not cover: few speakers, unknown speakers, few clips.

An interval that is far too narrow misleads more than none. With fewer than :data:`FEW_SPEAKERS` speakers clips are
resampled, see :mod:`genser.metrics.bootstrap`, and a sentence says that other speakers are not covered. With few clips
the resamples repeat the same few answers, so there is no interval, and a sentence says why. Evaluations, benches and
model cards follow the same rule, :func:`without_interval`.
"""

from collections.abc import Sequence

import numpy as np

from genser.errors import counted
from genser.metrics.bootstrap import FEW_SPEAKERS, Interval, Resampling, score_intervals
from genser.metrics.classification import METRICS

FEW_CLIPS = 30
"""Number of clips below which no score has an interval."""

FEW_CLIPS_OF_A_CLASS = 10
"""Number of clips of the rarest class below which the means over the classes have no interval."""

CLASS_MEANS = {"ua": "UA", "macro_f1": "macro F1"}


def intervals_of(
    decisions: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    speakers: np.ndarray | None,
    resampling: Resampling,
) -> tuple[dict[str, Interval], tuple[str, ...]]:
    """Intervals of the scores, without those that would mislead, and sentences on what they do not cover.

    Args:
        decisions: Decided class indices, shape (n,).
        labels: True class indices, shape (n,).
        classes: Class names.
        speakers: Speaker of each clip, shape (n,); None if they are unknown.
        resampling: How to draw.
    """
    support = np.bincount(labels, minlength=len(classes))
    remarks = few_remarks(support, classes, speaker_count(speakers))
    if not (names := METRICS.keys() - without_interval(support)):
        return {}, tuple(remarks)
    right = decisions == labels
    if are_alike(right):
        share = "right" if right.all() else "wrong"
        return {}, (*remarks, f"There are no intervals, since all answers are {share}: resamples would not differ.")
    if speaker_remark(speaker_count(speakers)):
        remarks.append("Clips were resampled within each class for the intervals.")
    found = score_intervals(decisions, labels, classes=len(classes), groups=speakers, resampling=resampling)
    return {name: one for name, one in found.items() if name in names}, tuple(remarks)


def without_interval(support: np.ndarray) -> frozenset[str]:
    """Names of the scores that have no interval on a test set, by the number of clips of each class."""
    if support.sum() < FEW_CLIPS:
        return frozenset(METRICS)
    return frozenset(CLASS_MEANS) if support[support > 0].min() < FEW_CLIPS_OF_A_CLASS else frozenset()


def are_alike(right: np.ndarray) -> bool:
    """Whether all answers are right or all are wrong, so that resamples would not differ; any shape."""
    return bool(right.all() or not right.any())


def few_remarks(support: Sequence[int] | np.ndarray, classes: Sequence[str], speakers: int) -> list[str]:
    """Sentences on what a test set is too small for, which are known before anything is scored.

    Args:
        support: Number of clips of each class.
        classes: Class names.
        speakers: Number of speakers; 0 if unknown.
    """
    remark, support = speaker_remark(speakers), np.asarray(support)
    remarks, lacking = [remark] if remark else [], without_interval(support)
    if len(lacking) == len(METRICS):
        clips = counted(int(support.sum()), "clip is", "clips are")
        return [*remarks, f"There are no intervals, since {clips} too few. Test {FEW_CLIPS} or more."]
    if lacking:
        count, rare = min((int(count), name) for count, name in zip(support, classes, strict=True) if count)
        clips = counted(count, "clip is", "clips are")
        remarks.append(
            f"{' and '.join(CLASS_MEANS.values())} have no interval, as {clips} too few for the class {rare!r}: test "
            f"{FEW_CLIPS_OF_A_CLASS} or more of each class."
        )
    return remarks


def speaker_count(speakers: np.ndarray | None) -> int:
    """Number of different speakers, of the speaker of each clip; 0 if unknown."""
    return 0 if speakers is None else len(set(speakers.tolist()))


def speaker_remark(count: int) -> str | None:
    """A sentence on the clips of too few known speakers for an interval over speakers; None if there are enough."""
    if count >= FEW_SPEAKERS:
        return None
    if not count:
        return (
            "The speakers are unknown, so the scores and intervals say nothing about other speakers. Name the speaker "
            "of every clip in the column 'speaker'."
        )
    only = "a single speaker" if count == 1 else f"{count} speakers only"
    return (
        f"The clips are of {only}, so the scores and intervals say nothing about other speakers. Test "
        f"{FEW_SPEAKERS} or more speakers."
    )
