"""A recognition leaves no file behind: onnxruntime is imported without its telemetry, which would keep a database."""

import os
import subprocess
import sys
from pathlib import Path

CLIP = Path(__file__).resolve().parent.parent / "examples" / "synthetic.flac"
RECOGNIZE = """
import sys, time
import genser
recognizer = genser.load()
assert recognizer.predict(sys.argv[1]).label
assert recognizer.segments(sys.argv[1])
time.sleep(2)  # the telemetry of onnxruntime works in a thread
"""


def test_a_recognition_creates_no_file_in_the_home_or_cache_folder(tmp_path):
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    variables |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", RECOGNIZE, str(CLIP)], env=variables, check=True)
    assert list(tmp_path.rglob("*")) == []
