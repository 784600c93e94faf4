"""The hint on results that are unlike the training recordings, with its cures as commands to copy."""

import shlex
from collections.abc import Sequence
from typing import Any

from genser.errors import counted

MOST_NAMED = 3  # inputs in a command


def unfamiliar_hint(
    count: int,
    what: str,
    inputs: Sequence[str],
    recognizer: Any,
    model: str | None,
    options: str = "",
    *,
    channel: int | str = "mix",
    is_adapted: bool = False,
) -> str:
    """What it means that results are unfamiliar, and how to recognise them better.

    A cure that is applied already, and one that cannot help, is omitted.

    Args:
        count: Number of results with an in-domain score below ½.
        what: Kind of result, such as ``"recording"``.
        inputs: Inputs as the command named them, without those that failed.
        recognizer: The model, with the profile and the classes that were used.
        model: As ``--model`` was given.
        options: Further options to repeat, such as ``"--segments"``.
        channel: As ``--channel`` was given.
        is_adapted: Whether each input had a profile of its own.
    """
    is_named = 0 < len(inputs) <= MOST_NAMED and "-" not in inputs
    names = " ".join(map(shlex.quote, inputs)) if is_named else "RECORDINGS"
    chosen = f" --model {shlex.quote(model)}" if model else ""
    chosen += f" --channel {channel}" if channel != "mix" else ""
    again = " ".join(filter(None, ["genser predict", options, names])) + chosen
    lines = [
        f"{counted(count, f'{what} is', f'{what}s are')} unlike the recordings that the model was trained on (voice, "
        "language, room, microphone, or very short). Expect more errors."
    ]
    if len(recognizer.labels) == len(recognizer.metadata["labels"]) > 2:
        classes = ",".join(map(shlex.quote, recognizer.labels[:4]))
        lines += [
            "If you know which classes can occur, name them here:",
            f"    {again} --classes {classes}",
        ]
    if recognizer.metadata.get("task") != "gender" and recognizer.profile is None and not is_adapted:
        lines += [
            "If the recordings are of one kind, adapt the model to them:",
            f"    genser adapt {names}{chosen} -o profile.json",
            f"    {again} --profile profile.json",
        ]
    return "\n".join(lines)
