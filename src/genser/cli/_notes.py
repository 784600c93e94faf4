"""Lines on standard error."""

import sys
from contextlib import suppress
from typing import Any, TextIO


class Messages:
    """Standard error, whose text is lost where it cannot be written, such as to a pipe whose reader has gone.

    Messages are remarks on the work: neither the results nor the exit code may depend on who reads them.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Flush what can be flushed; Python also calls this at its exit."""
        with suppress(OSError):
            self._stream.flush()


def note(line: object) -> None:
    """Print a line on standard error; the name of a file can neither break it nor control the terminal."""
    from genser.data.text import printable

    print(printable(str(line)), file=sys.stderr, flush=True)


def notes(text: object) -> None:
    """Print a text of several lines on standard error, such as a list of faulty rows or commands to copy."""
    for line in str(text).split("\n"):
        note(line)
