"""Runs the command line in this process, which saves the start of another one."""

import io
import sys
from contextlib import chdir
from os import PathLike
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest

from genser import cli


def run(*words: object, stdin: bytes = b"", cwd: PathLike[str] | str | None = None) -> CompletedProcess[bytes]:
    """Call the program with words, an input and in a folder; return its exit code and what it wrote."""
    files = [io.TextIOWrapper(io.BytesIO(data), "utf-8", write_through=True) for data in (stdin, b"", b"")]
    command = ["genser", *map(str, words)]
    with (
        patch.multiple(sys, argv=command, stdin=files[0], stdout=files[1], stderr=files[2]),
        chdir(cwd or Path.cwd()),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return CompletedProcess(command, ended.value.code, *(file.buffer.getvalue() for file in files[1:]))
