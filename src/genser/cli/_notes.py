"""Lines on standard error."""

import sys


def note(line: object) -> None:
    """Print a line on standard error; the name of a file can neither break it nor control the terminal."""
    from genser.data.text import printable

    print(printable(str(line)), file=sys.stderr, flush=True)


def notes(text: object) -> None:
    """Print a text of several lines on standard error, such as a list of faulty rows or commands to copy."""
    for line in str(text).split("\n"):
        note(line)
