"""Reports how much of each clip is recognised."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from genser.audio import SAMPLE_RATE
from genser.inference.decode_ahead import Clip

Progress = Callable[[float, float], None]
"""Called with the seconds of a clip that are recognised, and the length of the clip in seconds."""


class ClipProgress:
    """Counts the windows of clips as the model returns them, in any order.

    Args:
        report: Called for every window.
    """

    def __init__(self, report: Progress) -> None:
        self._report = report
        self._samples: defaultdict[int, int] = defaultdict(int)

    def of(self, owners: Sequence[Clip], windows: Sequence[np.ndarray]) -> Callable[[Sequence[int]], None]:
        """A function that takes the indices of windows that are done; ``owners`` has the clip of each window."""

        def done(indices: Sequence[int]) -> None:
            for index in indices:
                clip = owners[index]
                self._samples[id(clip)] += len(windows[index])
                seconds = self._samples[id(clip)] / SAMPLE_RATE
                self._report(seconds, max(seconds, clip.stream.duration if clip.stream else 0.0))

        return done
