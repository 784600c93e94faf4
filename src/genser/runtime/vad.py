"""Where speech is: silero-vad's network over frames of 32 ms, run causally and without its package.

The network is bundled (MIT, `models/LICENSE-silero-vad`). Its scores do not depend on how the sound is chunked: on
48 s of speech, blocks of 1 to 512 frames and the package's own frame-by-frame model agreed to the last bit.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

FRAME = 512  # samples scored at once: 32 ms
CONTEXT = 64  # samples before them that the network sees as well
MOST_FRAMES = 512  # run at once: bounds the memory
MODEL = Path(__file__).parents[1] / "models" / "silero_vad.onnx"


@lru_cache(maxsize=1)
def _session():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # an LSTM over frames has nothing to share
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


class SpeechDetector:
    """Speech probability of every frame of a sound that comes in pieces."""

    def __init__(self) -> None:
        self._session = _session()
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._rest = np.empty(0, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take mono 16 kHz samples of shape (samples,); return the probabilities of the frames they complete."""
        samples = np.concatenate([self._rest, samples])
        frames = len(samples) // FRAME
        self._rest = samples[frames * FRAME :]
        whole = samples[: frames * FRAME].reshape(frames, FRAME)
        parts = [self._run(whole[i : i + MOST_FRAMES]) for i in range(0, frames, MOST_FRAMES)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def close(self) -> np.ndarray:
        """Return the probability of the last, unfinished frame, filled up with zeros; empty if there is none."""
        if not len(self._rest):
            return self._rest
        return self.push(np.zeros(FRAME - len(self._rest), np.float32))

    def _run(self, frames: np.ndarray) -> np.ndarray:
        before = np.concatenate([self._context[None], frames[:-1, -CONTEXT:]])
        inputs = {"input": np.concatenate([before, frames], axis=1), "h": self._hidden, "c": self._cell}
        self._context = frames[-1, -CONTEXT:]
        probabilities, self._hidden, self._cell = self._session.run(["speech_probs", "hn", "cn"], inputs)
        return probabilities
