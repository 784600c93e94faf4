"""Lines on standard error."""

import sys


def note(line: object) -> None:
    """Print a line on standard error; the name of a file can neither break it nor control the terminal."""
    from genser.data.text import printable

    print(printable(str(line)), file=sys.stderr, flush=True)
