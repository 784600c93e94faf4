"""Smooths scores over time with a hidden Markov model of the emotion; each chunk is a noisy observation.

The emotion is a continuous-time Markov chain: after a time that is exponentially distributed with mean τ it is drawn
anew from its prior π. Over a gap of Δ seconds it therefore stays by e^{−Δ/τ} or is drawn again, so that

    P(Δ) = e^{−Δ/τ}·I + (1 − e^{−Δ/τ})·1πᵀ.

The model's scores are posteriors p(b | sound); divided by the prior they are, up to a factor, the likelihoods that the
chain needs (Bourlard & Morgan 1994). A window that shares sound with the one before brings only a share of new
evidence, and its log-likelihood counts by that share. Filtering, forward–backward and Viterbi are those of Rabiner
1989.

τ was fitted by maximum likelihood to the times and labels of all 13,708 utterances of MELD (the transcripts' start and
end, gaps between the middles of successive utterances): 3.4 s within one speaker (9,734 pairs), 1.4 s between
successive utterances whoever speaks (12,209 pairs). Smoothing with these values is weak.
Recordings differ: a monologue is slower, a series of independent clips is faster. Unless τ is given, it is therefore
the most probable value given the recording, under a log-normal prior around MELD's value.
"""

import numpy as np

SPEAKER_DURATION = 3.4  # s, τ between utterances of one speaker in MELD
ANY_DURATION = 1.4  # s, τ between successive utterances of any speaker in MELD
FLOOR = 1e-6  # a score of 0 would exclude a class for ever
SPREAD = 1.0  # standard deviation of log τ between recordings, a priori
DURATIONS = np.geomspace(0.1, 60.0, 33)  # s, candidates for τ


class CausalFilter:
    """p(emotion now | all chunks so far), one chunk after another."""

    def __init__(self, prior: np.ndarray, duration: float) -> None:
        self._prior, self._duration = prior, duration
        self._belief, self._time = prior, -np.inf

    def step(self, posterior: np.ndarray, time: float, evidence: float = 1.0) -> np.ndarray:
        """Add a chunk.

        Args:
            posterior: The model's scores, shape (classes,).
            time: Middle of the chunk in seconds; chunks come in order.
            evidence: Share of the chunk that is in no earlier chunk.

        Returns:
            Shape (classes,), sums to 1.
        """
        stay = np.exp(-max(time - self._time, 0.0) / self._duration)
        predicted = stay * self._belief + (1 - stay) * self._prior
        self._belief = _normalized(predicted * likelihoods(posterior, self._prior, evidence))
        self._time = time
        return self._belief


def likelihoods(posteriors: np.ndarray, prior: np.ndarray, evidence: np.ndarray | float = 1.0) -> np.ndarray:
    """Posteriors over prior, to the power of the new evidence; shape (..., classes), up to a factor."""
    ratios = np.maximum(posteriors, FLOOR) / prior
    return (ratios / ratios.max(axis=-1, keepdims=True)) ** np.asarray(evidence)[..., None]


def filtered(
    posteriors: np.ndarray, times: np.ndarray, prior: np.ndarray, duration: float, evidence: np.ndarray
) -> np.ndarray:
    """Forward pass: p(emotion at each chunk | the chunks up to it); shapes as for :func:`smoothed`."""
    chain = CausalFilter(prior, duration)
    rows = [chain.step(*row) for row in zip(posteriors, times, evidence, strict=True)]
    return np.array(rows).reshape(posteriors.shape)


def smoothed(
    posteriors: np.ndarray, times: np.ndarray, prior: np.ndarray, duration: float, evidence: np.ndarray
) -> np.ndarray:
    """Forward–backward: p(emotion at each chunk | the whole recording).

    Args:
        posteriors: The model's scores, shape (chunks, classes), every row sums to 1.
        times: Middles of the chunks in seconds, rising, shape (chunks,).
        prior: π, shape (classes,).
        duration: τ in seconds.
        evidence: Share of each chunk that is in no earlier chunk, shape (chunks,).

    Returns:
        Shape (chunks, classes), every row sums to 1.
    """
    forward = filtered(posteriors, times, prior, duration, evidence)
    seen = likelihoods(posteriors, prior, evidence)
    stays = _stays(times, duration)
    backward = np.ones_like(forward)
    for i in range(len(forward) - 2, -1, -1):
        ahead = seen[i + 1] * backward[i + 1]
        backward[i] = _normalized(stays[i] * ahead + (1 - stays[i]) * (prior @ ahead))
    return forward * backward / (forward * backward).sum(axis=1, keepdims=True)


def fitted_duration(
    posteriors: np.ndarray, times: np.ndarray, prior: np.ndarray, typical: float, evidence: np.ndarray
) -> float:
    """The τ of :data:`DURATIONS` that is most probable given a recording; arguments as for :func:`smoothed`.

    The likelihood of τ is the product of the normalisers of the forward pass. With few chunks τ stays close to the
    typical value; a thousand chunks decide it.

    Args:
        posteriors: The model's scores.
        times: Middles of the chunks in seconds.
        prior: π.
        typical: Median of τ a priori, in seconds.
        evidence: Share of each chunk that is in no earlier chunk.
    """
    score = -((np.log(DURATIONS / typical) / SPREAD) ** 2) / 2
    belief, last = np.tile(prior, (len(DURATIONS), 1)), -np.inf
    for seen, time in zip(likelihoods(posteriors, prior, evidence), times, strict=True):
        stay = np.exp(-max(time - last, 0.0) / DURATIONS)[:, None]
        joint = (stay * belief + (1 - stay) * prior) * seen
        total = joint.sum(axis=1, keepdims=True)
        score, belief, last = score + np.log(total[:, 0]), joint / total, time
    return float(DURATIONS[score.argmax()])


def viterbi(
    posteriors: np.ndarray, times: np.ndarray, prior: np.ndarray, duration: float, evidence: np.ndarray
) -> np.ndarray:
    """The most probable sequence of classes, shape (chunks,) of indices; arguments as for :func:`smoothed`."""
    if not len(posteriors):
        return np.empty(0, int)
    seen, stays = np.log(likelihoods(posteriors, prior, evidence)), _stays(times, duration)
    best, origins = np.log(prior) + seen[0], []
    for stay, likelihood in zip(stays, seen[1:], strict=True):
        moves = best[:, None] + np.log(stay * np.eye(len(prior)) + (1 - stay) * prior)
        origins.append(moves.argmax(axis=0))
        best = moves.max(axis=0) + likelihood
    path = [int(best.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1])


def _stays(times: np.ndarray, duration: float) -> np.ndarray:
    """e^{−Δ/τ} between neighbours, kept below 1 so that a change is never impossible."""
    return np.minimum(np.exp(-np.maximum(np.diff(times), 0.0) / duration), 1 - 1e-9)


def _normalized(row: np.ndarray) -> np.ndarray:
    return row / row.sum()
