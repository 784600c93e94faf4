"""Finds channels with different sound, such as the two sides of a call.

Two channels differ if the correlation of their samples over the whole recording is between −0.3 and 0.3. The two sides
of a call have about 0, and 0.2 if each is in the other one with a tenth of its amplitude. Stereo music and speech in
front of two microphones mostly have more than 0.3. A channel with less than 1/1000 of the energy of the loudest one
(−30 dB) counts as empty, and differs from none.
"""

import numpy as np

DIFFERENT = 0.3
"""Correlation (without its sign) below which two channels differ."""
EMPTY = 1e-3
"""Share of the largest energy below which a channel is empty."""


def mixed_remark(count: int) -> str:
    """The remark on a recording with so many different channels, which were mixed."""
    return f"{count} different channels were mixed to one."


class Likeness:
    """Counts the channels that differ from each other, from blocks of any size.

    Args:
        channels: Number of channels.
    """

    def __init__(self, channels: int) -> None:
        self._products = np.zeros((channels, channels))

    def add(self, frames: np.ndarray) -> None:
        """Take frames of shape (frames, channels), without their mean, which is an offset of the recorder."""
        centred = frames - [channel.mean() for channel in frames.T]  # several times as fast as frames.mean(axis=0)
        self._products += centred.T @ centred

    @property
    def different(self) -> int:
        """Number of channels so far of which each differs from all others; 0 without sound."""
        energies = np.diag(self._products)
        found: list[int] = []
        for index in np.flatnonzero(energies > EMPTY * energies.max()):
            bounds = DIFFERENT * np.sqrt(energies[index] * energies[found])
            if (np.abs(self._products[index, found]) < bounds).all():
                found.append(int(index))
        return len(found)
