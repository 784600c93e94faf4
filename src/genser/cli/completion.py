"""``genser completion``: completes verbs and options in a shell."""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a script with which a shell completes the verbs and options of genser when you press Tab.

    Example: genser completion bash > ~/.local/share/bash-completion/completions/genser

    Args:
        shell: bash, zsh or fish.

    Returns:
        0.
    """
    from genser.cli import app

    print(app.generate_completion(shell=shell))
    return 0
