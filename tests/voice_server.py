"""A server of the synthetic voices, in a process of its own, on a free port."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from voices import PITCHES, RATE, PitchRecognizer, babble, hush

from genser.serving.app import config_from_environment, create_app

TALK = np.concatenate([part for pitch in PITCHES for part in (hush(1.0), babble(2.0, pitch))] + [hush(1.0)])
"""The three voices one after another, with pauses."""


def encoded(sound, format="WAV", rate=RATE, subtype=None):
    """Return the bytes of an audio file."""
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=format, subtype=subtype)
    return file.getvalue()


def problem(response, status):
    """Check that a response is a problem of this status; return its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    members = response.json()
    assert members["status"] == status
    assert members["title"]
    return members["detail"]


def app():
    """Make the application of the voices."""
    return create_app(config_from_environment(), PitchRecognizer())


def gated_app():
    """Make the application of the voices; its speech gate rejects the middle one."""
    return create_app(config_from_environment(), PitchRecognizer(machine="middle"))


def unfamiliar_app():
    """Make the application of the voices as a model to which every clip is out of domain."""
    return create_app(config_from_environment(), PitchRecognizer(familiar=0.1))


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process, self.log = process, []
        self.port = None
        for line in process.stderr:
            self.log.append(line)
            if match := re.search(r"running on http://[^:]+:(\d+)", line):
                self.port = int(match[1])
                break
        assert self.port, "".join(self.log)
        self.url = f"http://127.0.0.1:{self.port}"
        self._reader = threading.Thread(target=lambda: self.log.extend(process.stderr), daemon=True)
        self._reader.start()

    def memory(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self._reader.join(5)
        return status


def slow_app():
    """Make the application of the voices with a slow model."""

    class Slow(PitchRecognizer):
        def predict_waveforms(self, waveforms):
            time.sleep(0.25 * len(waveforms))
            return super().predict_waveforms(waveforms)

    return create_app(config_from_environment(), Slow())


@contextmanager
def running(factory="voice_server:app", *, cores=None, **options):
    """Run a server with options of ServerConfig, on so many cores if given; stop it at the end."""
    imports = "from genser.serving.run import serve; from genser.serving.config import ServerConfig"
    if cores:
        imports = f"import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{cores}]); {imports}"
    code = f"{imports}; serve(ServerConfig(**{options | {'port': 0}!r}), {factory!r})"
    folders = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment)
    server = None
    try:
        server = Server(process)
        yield server
    finally:
        if server and process.poll() is None:
            server.stop()
        process.kill()
        process.wait()
