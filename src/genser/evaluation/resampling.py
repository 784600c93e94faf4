"""What a bootstrap draws: utterances inside strata, or whole clusters such as speakers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genser.errors import ConfigError

_CHUNK_CELLS = 4_000_000  # weights held at once: 16 MB of float32, whatever the number of resamples


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap is drawn.

    Attributes:
        resamples: Number of resampled test sets.
        level: Coverage of the interval, in (0, 1).
        seed: Seed of the draws; the same seed draws the same test sets for every system.
        resample_seeds: Whether training seeds are drawn as well, so that the interval also covers training noise.
    """

    resamples: int = 2000
    level: float = 0.95
    seed: int = 0
    resample_seeds: bool = False

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ConfigError(f"resamples must be at least 1, got {self.resamples}: 2000 is a good number")
        if not 0 < self.level < 1:
            raise ConfigError(f"level must lie between 0 and 1, got {self.level}: 0.95 is usual")


@dataclass(frozen=True)
class Units:
    """What is drawn.

    Attributes:
        unit: ``"speaker"`` or ``"utterance"``.
        of_row: Index of the unit that each row belongs to, shape (n,).
        strata: Indices of the units that are drawn among each other.
    """

    unit: str
    of_row: np.ndarray
    strata: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, rows: int, groups: np.ndarray | None, strata: np.ndarray | None) -> "Units":
        """Units of `rows` utterances: their groups where given, else the utterances inside each stratum.

        Raises:
            ConfigError: If lengths differ or there is only one group.
        """
        for name, given in (("groups", groups), ("strata", strata)):
            if given is not None and len(given) != rows:
                raise ConfigError(f"{len(given)} {name} do not fit {rows} utterances: give one each")
        if groups is None:
            inverse = np.zeros(rows, dtype=np.int64) if strata is None else _codes(strata)
            return cls(
                "utterance", np.arange(rows), tuple(np.flatnonzero(inverse == s) for s in range(inverse.max() + 1))
            )
        of_row = _codes(groups)
        if of_row.max() == 0:
            raise ConfigError(f"{str(groups[0])!r} is the only speaker: leave groups out to resample clips instead")
        return cls("speaker", of_row, (np.arange(of_row.max() + 1),))

    @property
    def count(self) -> int:
        """How many units there are."""
        return sum(len(stratum) for stratum in self.strata)

    def resample(self, rows: np.ndarray, resampling: Resampling) -> np.ndarray:
        """Sum `rows` (n, columns) over each resampled test set: (resamples, columns)."""
        totals = np.zeros((self.count, rows.shape[1]))
        np.add.at(totals, self.of_row, rows)
        return np.concatenate([weights @ totals for weights in self._weights(resampling)])

    def _weights(self, resampling: Resampling) -> Iterator[np.ndarray]:
        """How often each unit is drawn, in chunks of shape (resamples, units)."""
        random = np.random.default_rng(resampling.seed)
        chunk = max(1, _CHUNK_CELLS // self.count)
        for start in range(0, resampling.resamples, chunk):
            weights = np.empty((min(chunk, resampling.resamples - start), self.count))
            for stratum in self.strata:
                weights[:, stratum] = multiplicities(random, len(weights), len(stratum))
            yield weights


def _codes(names: np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(names), return_inverse=True)[1].reshape(-1)


def multiplicities(random: np.random.Generator, draws: int, units: int) -> np.ndarray:
    """Draw `units` of `units` with replacement, `draws` times, and count: far quicker than a multinomial."""
    drawn = random.integers(0, units, size=(draws, units)) + units * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units)
