"""``genser adapt``: learns a profile from unlabelled recordings."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from genser.cli._notes import note
from genser.errors import ConfigError, counted


def adapt(
    *paths: str,
    output: Annotated[str, Parameter(alias="-o", allow_leading_hyphen=True)],
    model: str | None = None,
    encoder: str | None = None,
    channel: str | None = None,
    threads: int | None = None,
    device: str = "cpu",
) -> int:
    """Learn from unlabelled recordings what their microphone, room, language or speaker does to the features.

    The result, a profile, is a small JSON file for genser predict --profile and genser serve --profile. Use recordings
    of one kind; those of one speaker help most. Ten clips suffice for most of the effect, with a mix of emotions.

    Example: genser adapt calls/ -o calls.json

    Args:
        paths: Audio files, folders (searched to any depth) or patterns.
        output: The profile to write.
        model: "base" (default) or "tiny", an ONNX file, a model folder, or "hf:owner/name". The profile fits
            this model only.
        encoder: Present source of the encoder of a model folder, if it was moved: "kind:path", a path, or a hub id.
        channel: Channel to use: a number from 1, "each", or "mix" (default).
        threads: CPU cores to use; all if omitted.
        device: Where the model runs: "cpu", a GPU such as "cuda" or "cuda:1" (needs the extra [train]), or "auto": the
            GPU if there is one, else the CPU.

    Returns:
        0 if all went well, 1 if some inputs could not be read; the profile is then learned from the others.
    """
    from genser.audio.mixing import check_channel
    from genser.cli._channels import MixedChannels
    from genser.cli._inputs import find_inputs
    from genser.cli._outputs import check_file, output_path
    from genser.inference.load import load

    inputs, path = find_inputs(paths), output_path(output)
    if not isinstance(path, Path):
        raise ConfigError("A profile is a local file. Name it with -o.")
    check_file(path, inputs)
    mixed = MixedChannels(is_chosen=channel is not None)
    chosen = check_channel("mix" if channel is None else int(channel) if channel.isdecimal() else channel)
    recognizer = load(model, threads=threads, device=device, encoder=encoder)
    failures: list[str] = []
    profile = recognizer.learn_profile(inputs, channel=chosen, report=failures.append, remark=mixed.others)
    profile.save(path)
    clips = counted(profile.clips, "clip")
    note(f"genser: Profile of {clips} with speech, {profile.duration:.0f} s → {path}")
    for sentence in (profile.remark, *mixed.hint()):
        if sentence:
            note(f"genser: {sentence}")
    for failure in failures:
        note(f"genser: {failure}")
    if failures:
        note(f"genser: The profile lacks {counted(len(failures), 'input')} that failed.")
    return 1 if failures else 0
