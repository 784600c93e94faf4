"""Finds leaks: the same speaker or the same audio on both sides of a split."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genser.data.columns import known_names
from genser.data.utterance import Utterance
from genser.errors import ManifestError, counted
from genser.files import file_hash

By = Literal["speaker", "bytes"]
MAX_LISTED = 10  # leaks in one error message


@dataclass(frozen=True)
class Leak:
    """One speaker or file that is on both sides.

    Args:
        train: Key of an utterance of the training side.
        test: Key of an utterance of the test side.
        reason: What the two utterances share.
    """

    train: str
    test: str
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.train} (train), {self.test} (test)"


def find_leaks(train: Sequence[Utterance], test: Sequence[Utterance], by: By = "speaker") -> list[Leak]:
    """Find speakers or files that are on both sides of a split.

    The same name in two corpora means two speakers. Parts of one recording are a leak only if their times overlap.

    Args:
        train: Training side.
        test: Test side.
        by: ``"speaker"``, or ``"bytes"`` of the audio files, which are read only if two have the same size.

    Returns:
        One leak per speaker, or per test utterance.

    Raises:
        ManifestError: ``by`` has another value, or an utterance has no speaker.
        OSError: A file cannot be read.
    """
    if by == "speaker":
        return list(_speakers_on_both(train, test))
    if by == "bytes":
        return list(_bytes_on_both(train, test))
    raise ManifestError(f"Leaks can be found by 'speaker' or by 'bytes', not by {by!r}.")


def check_leaks(train: Sequence[Utterance], test: Sequence[Utterance], by: By = "speaker") -> None:
    """Refuse a split with a speaker or the same bytes on both sides.

    Args:
        train: Training side.
        test: Test side.
        by: ``"speaker"`` or ``"bytes"``.

    Raises:
        ManifestError: There are leaks; up to 10 are listed.
    """
    leaks = find_leaks(train, test, by)
    if leaks:
        listed = "".join(f"\n  {leak}" for leak in leaks[:MAX_LISTED])
        more = f"\n  … and {len(leaks) - MAX_LISTED} more" if len(leaks) > MAX_LISTED else ""
        raise ManifestError(
            f"The training and the test side share {len(leaks)} by {by}. Keep each on one side.{listed}{more}"
        )


def speakers_of(utterances: Iterable[Utterance], purpose: str) -> list[tuple[str, str]]:
    """Corpus and speaker of every utterance.

    Args:
        utterances: All must have a speaker.
        purpose: What needs the speakers, as the start of a sentence.

    Raises:
        ManifestError: Some have no speaker; the first is named.
    """
    speakers, unknown = [], []
    for item in utterances:
        if item.speaker_key is None:
            unknown.append(item.key)
        else:
            speakers.append(item.speaker_key)
    if unknown:
        raise ManifestError(
            f"{purpose} needs the speaker of every utterance; {counted(len(unknown), 'has', 'have')} none, such as "
            f"{unknown[0]}. Fill the column 'speaker'. {known_names('speaker')}"
        )
    return speakers


def _speakers_on_both(train: Sequence[Utterance], test: Sequence[Utterance]) -> Iterable[Leak]:
    speakers = speakers_of([*train, *test], "The search for leaks by speaker")
    first_train = dict(zip(reversed(speakers[: len(train)]), reversed(train), strict=True))
    first_test = dict(zip(reversed(speakers[len(train) :]), reversed(test), strict=True))
    for speaker, item in first_test.items():
        if speaker in first_train:
            yield Leak(first_train[speaker].key, item.key, f"speaker {' '.join(filter(None, speaker))}")


def _bytes_on_both(train: Sequence[Utterance], test: Sequence[Utterance]) -> Iterable[Leak]:
    content = _contents({item.path for item in train}, {item.path for item in test})
    sides: dict[str, list[Utterance]] = defaultdict(list)
    for item in train:
        sides[content[item.path]].append(item)
    for item in test:
        twin = next((other for other in sides.get(content[item.path], ()) if _overlap(item, other)), None)
        if twin is not None:
            yield Leak(twin.key, item.key, "the same bytes")


def _contents(train: set[str], test: set[str]) -> dict[str, str]:
    """Content of every file: a hash if a file of the other side has the same size, else its real path."""
    sizes = {path: Path(path).stat().st_size for path in train | test}
    doubtful = {sizes[path] for path in train} & {sizes[path] for path in test}
    names = {path: os.path.realpath(path) for path in sizes}
    return {path: file_hash(path) if size in doubtful else names[path] for path, size in sizes.items()}


def _overlap(one: Utterance, other: Utterance) -> bool:
    def ends(item: Utterance) -> tuple[float, float]:
        return item.start or 0.0, float("inf") if item.end is None else item.end

    (start, end), (other_start, other_end) = ends(one), ends(other)
    return max(start, other_start) < min(end, other_end)
