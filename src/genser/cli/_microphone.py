"""The microphone, through sounddevice from the extra [live]."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from genser.errors import AudioError, MissingExtraError

CHUNK = 0.05  # s
WAITING_CHUNKS = 600  # 30 s: beyond it the model is too slow, and the sound is given up


@contextmanager
def heard(device: str | None = None) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Open an input; yield its rate in Hz and its chunks of shape (samples,), which end with Ctrl-C.

    Raises:
        MissingExtraError: sounddevice is not installed.
        AudioError: There is no such input, or the model cannot keep up.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is there, the system's PortAudio is not
        raise MissingExtraError("live", "Listening to the microphone") from error
    waiting: queue.Queue[np.ndarray] = queue.Queue(WAITING_CHUNKS)
    chosen = int(device) if device is not None and device.isdigit() else device
    try:
        rate = round(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        stream = sounddevice.InputStream(
            samplerate=rate,
            blocksize=round(CHUNK * rate),
            device=chosen,
            channels=1,
            dtype="float32",
            callback=lambda block, _frames, _time, _status: _keep(waiting, block),
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"The input {device or 'of the system'} cannot be opened: {error}") from error
    with stream:
        yield rate, _chunks(waiting)


def _keep(waiting: queue.Queue, block: np.ndarray) -> None:
    if not waiting.full():
        waiting.put_nowait(block[:, 0].copy())


def _chunks(waiting: queue.Queue) -> Iterator[np.ndarray]:
    try:
        while True:
            if waiting.full():
                raise AudioError("The model is slower than the sound: 30 s wait already. Take a smaller model.")
            yield waiting.get()
    except KeyboardInterrupt:
        return
