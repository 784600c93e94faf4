"""The site of docs/ builds without a warning: every link, anchor and page of the navigation exists."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_site_builds_strictly_and_asks_no_other_host(tmp_path):
    pytest.importorskip("zensical")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("mkdocs.yml", "SECURITY.md"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "build/site"
    asked = re.findall(
        r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\"> ]+)", (built / "index.html").read_text()
    )
    assert asked == []
    broken = [path.name for path in built.rglob("*.html") if "```" in path.read_text("utf-8")]
    assert broken == [], "A fenced block is not read as one: its first line may name a language and nothing else."
    pages = {path.relative_to(tmp_path / "docs").with_suffix("") for path in (tmp_path / "docs").rglob("*.md")}
    assert pages == {path.relative_to(built).with_suffix("") for path in built.rglob("*.html")} - {Path("404")}


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
