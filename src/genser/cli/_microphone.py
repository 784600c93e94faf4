"""Audio from the microphone, through sounddevice from the extra [live]."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from genser.errors import AudioError, MissingExtraError

BLOCK = 0.05  # s
WAITING_BLOCKS = 600  # 30 s of audio that the model has not processed yet; more means that it is too slow


@contextmanager
def open_microphone(device: str | None = None) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Open an input device; yield its rate in Hz and its blocks of shape (samples,), which end with Ctrl-C.

    Raises:
        MissingExtraError: sounddevice is not installed.
        AudioError: There is no such device, or the model cannot keep up.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is installed, the library PortAudio is not
        raise MissingExtraError("live", "Recognising the microphone's audio") from error
    waiting: queue.Queue[np.ndarray] = queue.Queue(WAITING_BLOCKS)
    chosen = int(device) if device is not None and device.isdigit() else device

    def keep(block: np.ndarray, *_) -> None:
        if not waiting.full():
            waiting.put_nowait(block[:, 0].copy())

    try:
        rate = round(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        stream = sounddevice.InputStream(
            samplerate=rate,
            blocksize=round(BLOCK * rate),
            device=chosen,
            channels=1,
            dtype="float32",
            callback=keep,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        name = "The default input device" if device is None else f"The input device {device!r}"
        raise AudioError(f"{name} cannot be opened: {error}. See: python -m sounddevice.") from error
    with stream:
        yield rate, _blocks(waiting)


def _blocks(waiting: queue.Queue) -> Iterator[np.ndarray]:
    try:
        while True:
            if waiting.full():
                raise AudioError("The model is too slow for live audio: 30 s are waiting. Use a smaller model.")
            yield waiting.get()
    except KeyboardInterrupt:
        return
