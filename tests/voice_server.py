"""A server of the formula voices, in a process of its own, on a free port."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from voices import PitchRecognizer

from genser.serving.app import config_from_environment, create_app


def app():
    """Make the application of the voices."""
    return create_app(config_from_environment(), PitchRecognizer)


def gated_app():
    """Make the application of the voices, of which the middle one is taken for a machine."""
    return create_app(config_from_environment(), lambda: PitchRecognizer(machine="middle"))


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
        """Ask it to stop; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self._reader.join(5)
        return status


def slow_app():
    """Make the application of voices that take their time."""

    class Slow(PitchRecognizer):
        def predict_many(self, sources, *, workers=1):
            for prediction in super().predict_many(sources):
                time.sleep(0.25)
                yield prediction

    return create_app(config_from_environment(), Slow)


@contextmanager
def running(factory="voice_server:app", **options):
    """Run a server with options of ServerConfig; stop it at the end."""
    imports = "from genser.serving.run import serve; from genser.serving.config import ServerConfig"
    code = f"{imports}; serve(ServerConfig(**{options | {'port': 0}!r}), {factory!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
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
