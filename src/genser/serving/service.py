"""What all routes of a process share: the model, its batches, thread pools, limits and metrics."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import Depends, Request

from genser.audio import SAMPLE_RATE, AudioLimits
from genser.files import usable_cores
from genser.inference.load import found_device
from genser.inference.recognizer import Recognizer
from genser.serving.batching import Batcher
from genser.serving.config import ServerConfig
from genser.serving.limits import Admission
from genser.serving.metrics import Metrics

BATCHES = {"cpu": 1, "gpu": 16}
"""Most clips in a batch. On a CPU they run one by one, so a larger batch only delays its first results."""


class Service:
    """The model of a process and everything around it.

    Args:
        config: The server's settings.
        recognizer: The loaded model.
    """

    def __init__(self, config: ServerConfig, recognizer: Recognizer) -> None:
        cores = usable_cores()
        self.config, self.recognizer, self.metrics = config, recognizer, Metrics()
        self.name = Path(config.model).name.removesuffix(".onnx") if config.model else "base"
        self._recognizers: dict[str, Recognizer] = {}
        self.admission = Admission(config, self.metrics)
        max_batch = config.max_batch or BATCHES["cpu" if found_device(config.device) == "cpu" else "gpu"]
        self.batcher = Batcher(self.metrics, max_batch, config.max_queue, cores)
        cure = "Send it to /v1/segments, or split it; the option --max-duration of genser serve raises the limit."
        self.clip_limits = AudioLimits(
            max_duration=config.max_duration, max_channels=config.max_channels, cure_of_longer=cure
        )
        self.recording_limits = AudioLimits(max_duration=config.max_recording, max_channels=config.max_channels)
        self.decoders = ThreadPoolExecutor(cores, "genser-decoder")
        self.recorders = ThreadPoolExecutor(config.max_recordings, "genser-recording")
        self.live = ThreadPoolExecutor(cores, "genser-live")

    def recognizer_of(self, task: str | None) -> Recognizer:
        """The model for a task; None is the first that it was trained for.

        Raises:
            ConfigError: The model was not trained for it.
        """
        if task is None:
            return self.recognizer
        if task not in self._recognizers:
            self._recognizers[task] = self.recognizer.for_task(task)
        return self._recognizers[task]

    def start(self) -> None:
        """Warm up the model and start the batches."""
        self.recognizer.predict_waveforms([np.zeros(SAMPLE_RATE, np.float32)])
        self.batcher.start()

    def stop(self) -> None:
        """Finish the accepted work."""
        self.batcher.stop()
        for pool in (self.decoders, self.recorders, self.live):
            pool.shutdown(cancel_futures=True)


async def _service_of(request: Request) -> Service:
    return request.app.state.service


Serving = Annotated[Service, Depends(_service_of)]
