"""The how-tos of docs/extend.md, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/extend.md").read_text("utf-8")
HOW_TOS = re.findall(r"^## (An? .*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)

CHECK = "# Check\n"
"""First line of a block that is run."""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the checkout's sources; the bundled models are linked."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("models", "__pycache__"))
    (root / "src/genser/models").symlink_to(ROOT / "src/genser/models", target_is_directory=True)
    return root


def blocks(text):
    """(language, path in the first comment, content) of every fenced block of a how-to."""
    for language, content in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        first, _, rest = content.partition("\n")
        named = first.startswith("# src/")
        yield language, first.removeprefix("# ") if named else None, rest if named else content


def apply(path, diff):
    """Delete every line marked ``-``; put every line marked ``+`` where the line above it is or was."""
    lines = path.read_text("utf-8").splitlines()
    at = 0
    for line in diff.splitlines():
        if line.startswith("+"):
            lines.insert(at, line[1:])
            at += 1
            continue
        assert lines.count(line[1:]) == 1, f"{line[1:]!r} is not a line of {path.name}"
        at = lines.index(line[1:])
        if line.startswith("-"):
            del lines[at]
        else:
            at += 1
    path.write_text("\n".join(lines) + "\n", "utf-8")


def test_there_is_a_how_to_for_everything_that_has_a_table():
    assert [title for title, _ in HOW_TOS] == [
        *("A corpus reader", "An encoder", "A head", "An output format", "A recipe", "A verb")
    ]


@pytest.mark.parametrize(("title", "text"), HOW_TOS, ids=[title for title, _ in HOW_TOS])
def test_a_how_to_works(title, text, package, tmp_path):
    found = list(blocks(text))
    assert found[-1][2].startswith(CHECK)
    for language, path, content in found:
        if content.startswith(CHECK):
            here = {**os.environ, "PYTHONPATH": str(package / "src")}
            done = subprocess.run(
                [sys.executable, "-c", content], cwd=tmp_path, env=here, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        elif language == "diff":
            apply(package / path, content)
        else:
            (package / path).write_text(content, "utf-8")
