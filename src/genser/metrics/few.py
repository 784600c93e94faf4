"""Intervals of one test set, and what they do not cover: few speakers, unknown speakers, few clips.

An interval that is far too narrow misleads more than none. With fewer than :data:`FEW_SPEAKERS` speakers clips are
resampled, see :mod:`genser.metrics.bootstrap`, and a sentence says that other speakers are not covered. With few clips
the resamples repeat the same few answers, so there is no interval, and a sentence says why.
"""

from collections.abc import Sequence

import numpy as np

from genser.errors import counted
from genser.metrics.bootstrap import FEW_SPEAKERS, Interval, Resampling, score_intervals

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
    remarks = few_remarks(labels, classes, speakers)
    if len(labels) < FEW_CLIPS:
        return {}, tuple(remarks)
    intervals = score_intervals(decisions, labels, classes=len(classes), groups=speakers, resampling=resampling)
    if _rarest(labels, classes)[1] < FEW_CLIPS_OF_A_CLASS:
        intervals = {name: one for name, one in intervals.items() if name not in CLASS_MEANS}
    right = decisions == labels
    if right.all() or not right.any():
        share = "right" if right.all() else "wrong"
        return {}, (*remarks, f"There are no intervals, since all answers are {share}: resamples would not differ.")
    if intervals and speaker_remark(speaker_count(speakers)):
        remarks.append("Clips were resampled within each class for the intervals.")
    return intervals, tuple(remarks)


def few_remarks(labels: np.ndarray, classes: Sequence[str], speakers: np.ndarray | None) -> list[str]:
    """Sentences on what a test set is too small for, which are known before anything is scored.

    Args:
        labels: True class indices, shape (n,).
        classes: Class names.
        speakers: Speaker of each clip, shape (n,); None if they are unknown.
    """
    remark = speaker_remark(speaker_count(speakers))
    remarks = [remark] if remark else []
    if len(labels) < FEW_CLIPS:
        clips = counted(len(labels), "clip is", "clips are")
        return [*remarks, f"There are no intervals, since {clips} too few. Test {FEW_CLIPS} or more."]
    rare, support = _rarest(labels, classes)
    if support < FEW_CLIPS_OF_A_CLASS:
        clips = counted(support, "clip is", "clips are")
        remarks.append(
            f"{' and '.join(CLASS_MEANS.values())} have no interval, as {clips} too few for the class {rare!r}: test "
            f"{FEW_CLIPS_OF_A_CLASS} or more of each class."
        )
    return remarks


def speaker_count(speakers: np.ndarray | None) -> int:
    """Number of different speakers, of the speaker of each clip; 0 if unknown."""
    return 0 if speakers is None else len(set(speakers.tolist()))


def _rarest(labels: np.ndarray, classes: Sequence[str]) -> tuple[str, int]:
    """The class with the fewest clips, of those that occur, and their number."""
    support = np.bincount(labels, minlength=len(classes))
    rare = int(np.where(support, support, len(labels) + 1).argmin())
    return classes[rare], int(support[rare])


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
