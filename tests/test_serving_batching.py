"""The queue in front of the model: bounded, ordered, and without a lost or swapped answer."""

import threading

import numpy as np
import pytest

from genser.audio import SAMPLE_RATE
from genser.errors import AudioError, ModelError
from genser.inference.class_prior import ClassPrior
from genser.inference.prediction import Prediction
from genser.serving.batching import Batcher
from genser.serving.errors import Problem
from genser.serving.metrics import Metrics
from genser.serving.segments import BatchedScorer, Cancelled


class Gate:
    """A recogniser that answers with the first sample of each sound, when it is let."""

    labels = ("a", "b")

    def __init__(self):
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches = []

    def predict_waveforms(self, waveforms):
        values = [float(waveform[0]) for waveform in waveforms]
        self.batches.append(values)
        self.entered.release()
        assert self.open.wait(10)
        if any(value < 0 for value in values):
            raise ModelError("a negative sound")
        return [
            Prediction("x", None, error="too loud")
            if value > 900
            else Prediction("x", "a", {"a": value, "b": 1 - value})
            for value in values
        ]

    def trajectory(self, waveform):
        return np.zeros((1, 2))


def sound(value, seconds=0.1):
    return np.full(round(seconds * SAMPLE_RATE), value, np.float32)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def batcher(gate):
    batcher = Batcher(Metrics(), max_batch=4, max_queue=8)
    batcher.start()
    yield batcher
    gate.open.set()
    batcher.stop()


def hold(gate, batcher):
    """Occupy the thread; what is submitted then waits."""
    (first,) = batcher.submit(gate, [sound(0.0)])
    assert gate.entered.acquire(timeout=10)
    return first


def test_what_waits_is_taken_together_and_answered_in_order(gate, batcher):
    hold(gate, batcher)
    promises = batcher.submit(gate, [sound(i / 8) for i in range(1, 7)])
    gate.open.set()
    assert [promise.result(10).scores["a"] for promise in promises] == [i / 8 for i in range(1, 7)]
    assert [len(batch) for batch in gate.batches] == [1, 4, 2]


def test_a_full_queue_refuses_all_or_nothing_and_says_when_to_come_again(gate, batcher):
    hold(gate, batcher)
    promises = batcher.submit(gate, [sound(0.5)] * 7)
    with pytest.raises(Problem) as refused:
        batcher.submit(gate, [sound(0.5)] * 2)
    assert refused.value.status == 503
    assert refused.value.retry_after >= 1
    promises += batcher.submit(gate, [sound(0.25)])
    with pytest.raises(Problem) as refused:
        batcher.submit(gate, [sound(0.5)] * 9)
    assert refused.value.status == 413
    gate.open.set()
    assert [promise.result(10).scores["a"] for promise in promises] == [0.5] * 7 + [0.25]


def test_a_cancelled_sound_is_never_recognised(gate, batcher):
    hold(gate, batcher)
    promises = batcher.submit(gate, [sound(0.25), sound(0.5), sound(0.75)])
    promises[1].cancel()
    gate.open.set()
    assert promises[2].result(10).scores["a"] == 0.75
    assert gate.batches[1] == [0.25, 0.75]


def test_live_sound_goes_first(gate, batcher):
    hold(gate, batcher)
    slow = batcher.submit(gate, [sound(0.25)])
    live = batcher.submit(gate, [sound(0.75)], urgent=True)
    gate.open.set()
    assert {promise.result(10).label for promise in slow + live} == {"a"}
    assert gate.batches[1][0] == 0.75


def test_live_sound_finds_room_in_a_full_queue(gate, batcher):
    hold(gate, batcher)
    waiting = batcher.submit(gate, [sound(0.5)] * 8)
    live = batcher.submit(gate, [sound(0.75)], urgent=True)
    with pytest.raises(Problem):
        batcher.submit(gate, [sound(0.25)])
    gate.open.set()
    assert [promise.result(10).label for promise in waiting + live] == ["a"] * (len(waiting) + 1)


def test_long_sounds_do_not_pile_up_in_one_batch(gate, batcher):
    hold(gate, batcher)
    promises = batcher.submit(gate, [sound(0.5, 40.0), sound(0.5, 40.0)])
    gate.open.set()
    for promise in promises:
        promise.result(10)
    assert [len(batch) for batch in gate.batches] == [1, 1, 1]


def test_one_sound_that_breaks_the_model_does_not_spoil_the_others(gate, batcher):
    hold(gate, batcher)
    promises = batcher.submit(gate, [sound(0.25), sound(-1.0), sound(0.75)])
    gate.open.set()
    assert promises[0].result(10).scores["a"] == 0.25
    assert promises[2].result(10).scores["a"] == 0.75
    with pytest.raises(ModelError, match="negative"):
        promises[1].result(10)
    assert batcher.is_alive


def test_stopping_finishes_what_was_taken_and_takes_no_more(gate, batcher):
    hold(gate, batcher)
    promises = batcher.submit(gate, [sound(0.5)] * 5)
    stopper = threading.Thread(target=batcher.stop)
    stopper.start()
    while batcher.is_alive:
        pass
    with pytest.raises(Problem, match="stopping"):
        batcher.submit(gate, [sound(0.5)])
    gate.open.set()
    stopper.join(10)
    assert all(promise.done() for promise in promises)


def test_work_in_a_thread_waits_for_room_and_ends_when_cancelled(gate, batcher):
    scorer, outcome = BatchedScorer(gate, ClassPrior.of(gate.labels), batcher), []

    def work():
        try:
            scorer.gated_scores([sound(0.5)] * 40)
        except Cancelled:
            outcome.append("cancelled")

    thread = threading.Thread(target=work)
    thread.start()
    assert gate.entered.acquire(timeout=10)
    batcher.submit(gate, [sound(0.5)])  # there is room left for others
    scorer.cancelled.set()
    thread.join(10)
    assert outcome == ["cancelled"]


def test_models_never_share_a_batch(gate, batcher):
    other = Gate()
    other.open.set()
    hold(gate, batcher)
    promises = [batcher.submit(model, [sound(n / 8)])[0] for n, model in enumerate((gate, other, other, gate), 1)]
    gate.open.set()
    assert [promise.result(10).scores["a"] for promise in promises] == [1 / 8, 2 / 8, 3 / 8, 4 / 8]
    assert other.batches == [[2 / 8, 3 / 8]]


def test_work_in_a_thread_gets_scores(gate, batcher):
    gate.open.set()
    scorer = BatchedScorer(gate, ClassPrior.of(gate.labels), batcher)
    rows, spoken, _ = scorer.gated_scores([sound(i / 64) for i in range(40)])
    np.testing.assert_allclose(rows[:, 0], np.arange(40) / 64)
    assert spoken.all()
    with pytest.raises(AudioError, match="too loud"):
        BatchedScorer(gate, ClassPrior.of(gate.labels), batcher).gated_scores([sound(901.0)])


def test_workers_share_what_waits(gate):
    batcher = Batcher(Metrics(), max_batch=4, max_queue=16, workers=2)
    batcher.start()
    held = batcher.submit(gate, [sound(0.0)]) + batcher.submit(gate, [sound(0.0)])
    assert all(gate.entered.acquire(timeout=10) for _ in held)
    promises = batcher.submit(gate, [sound(i / 8) for i in range(1, 7)])
    gate.open.set()
    assert [promise.result(10).scores["a"] for promise in promises] == [i / 8 for i in range(1, 7)]
    batcher.stop()
    assert sorted(value for batch in gate.batches for value in batch) == [0.0, 0.0, *(i / 8 for i in range(1, 7))]
    assert max(len(batch) for batch in gate.batches) <= 3
    assert not batcher.is_alive
