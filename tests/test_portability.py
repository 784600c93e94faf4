"""Systems other than Linux: genser works where functions and modules that only Linux or Unix has are missing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = (
    *("sched_getaffinity", "sched_setaffinity", "memfd_create", "posix_fadvise", "splice"),  # Linux alone
    *("mkfifo", "fork", "forkpty", "getuid", "geteuid", "getgid", "getloadavg", "nice", "setsid", "uname"),
    *("O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "chown", "fchmod", "killpg", "getpgid", "sendfile"),
)
"""Attributes of os that macOS or Windows lacks."""

MODULES = ("resource", "pwd", "grp", "termios", "tty")
"""Modules that Windows lacks; genser imports fcntl only if os.name is not "nt"."""

REMOVE = f"""
import multiprocessing, os, sys
import numpy, onnxruntime, soundfile, soxr, torch  # other packages load before anything is removed

for name in {NAMES!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in {MODULES!r}:
    sys.modules[name] = None  # importing it now raises ImportError
known = multiprocessing.get_context

def get_context(method=None):
    if method not in (None, "spawn"):
        raise ValueError(f"cannot find context for {{method!r}}")
    return known(method)

multiprocessing.get_context = get_context
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""

USE = """
from pathlib import Path

import numpy as np

import genser
from genser.data import features
from genser.data.store import FeatureStore
from genser.files import atomic_write, usable_cores

recognizer = genser.load()
clip, folder = {clip!r}, Path({folder!r})
prediction = recognizer.predict(clip)
assert abs(sum(prediction.scores.values()) - 1) < 1e-4
assert [found.label for found in recognizer.predict_many([clip, clip])] == [prediction.label] * 2
assert recognizer.segments(clip)
assert usable_cores() >= 1
atomic_write(folder / "note.txt", b"kept")
assert (folder / "note.txt").read_bytes() == b"kept"

KEYS = ["0" * 64, "1" * 64]
store = FeatureStore(folder / "store", "fingerprint", (2, 3))
rows = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
with store.writing():
    store.add_many(KEYS, rows)
again = FeatureStore(folder / "store", "fingerprint", (2, 3))
assert np.array_equal(again.rows(KEYS[::-1]), rows[::-1])

features.MANY_CORES = 0  # so that processes decode
with features.decoding_pool() as pool:
    assert pool.submit(abs, -1).result() == 1
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_recognition_and_the_feature_store_use_no_function_that_other_systems_lack(tmp_path):
    run(REMOVE + USE.format(clip=str(ROOT / "examples/synthetic.flac"), folder=str(tmp_path)))


def test_every_module_can_be_imported_on_other_systems():
    modules = [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        for path in sorted((ROOT / "src/genser").rglob("*.py"))
        if not path.stem.startswith("__")
    ]
    others = "import transformers, fastapi, uvicorn, matplotlib, prometheus_client, yaml, rich.progress, cyclopts"
    run(f"{others}\n{REMOVE}\nfrom importlib import import_module\nfor name in {modules!r}:\n    import_module(name)")
