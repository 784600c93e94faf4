"""What all routes of a process share: the model, its batches, thread pools, limits and metrics."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import Depends, Request

from genser.audio import SAMPLE_RATE, AudioLimits
from genser.files import usable_cores
from genser.inference.recognizer import Recognizer
from genser.serving.batching import Batcher
from genser.serving.config import ServerConfig
from genser.serving.limits import Admission
from genser.serving.metrics import Metrics


class Service:
    """The model of a process and everything around it.

    Args:
        config: The server's settings.
        recognizer: The loaded model.
    """

    def __init__(self, config: ServerConfig, recognizer: Recognizer) -> None:
        cores = usable_cores()
        self.config, self.recognizer, self.metrics = config, recognizer, Metrics()
        self.name = Path(config.model).stem if config.model else "base"
        self.labels = list(recognizer.labels)
        self.admission = Admission(config, self.metrics)
        self.batcher = Batcher(recognizer, self.metrics, config.max_batch, config.max_queue, cores)
        self.clip_limits = AudioLimits(max_duration=config.max_duration, max_channels=config.max_channels)
        self.recording_limits = AudioLimits(max_duration=config.max_recording, max_channels=config.max_channels)
        self.decoders = ThreadPoolExecutor(cores, "genser-decoder")
        self.recorders = ThreadPoolExecutor(config.max_recordings, "genser-recording")
        self.live = ThreadPoolExecutor(cores, "genser-live")

    def start(self) -> None:
        """Warm up the model and start the batches."""
        self.recognizer.predict_waveforms([np.zeros(SAMPLE_RATE, np.float32)])
        self.batcher.start()

    def stop(self) -> None:
        """Finish the accepted work."""
        self.batcher.stop()
        for pool in (self.decoders, self.recorders, self.live):
            pool.shutdown(cancel_futures=True)


def _service_of(request: Request) -> Service:
    return request.app.state.service


Serving = Annotated[Service, Depends(_service_of)]
