"""The bench: fair selection, stored runs, resumption after a stop, and a report from the stored runs alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import genser.bench.comparison
import genser.bench.runner
from genser._version import __version__
from genser.bench import task as bench_work
from genser.bench.comparison import Bench
from genser.bench.plan import load_plan
from genser.bench.pool_runs import System, pool
from genser.bench.runner import BenchSettings
from genser.bench.runs import INDEX, Protocol, bench_result, entries, load_run
from genser.bench.task import SelectTask, perform, start_worker, trace_of, workers
from genser.bench.trace import Trace
from genser.cli.bench import bench as bench_verb
from genser.data.splits import Fold
from genser.data.utterance import Utterance
from genser.errors import ConfigError, GenserError, ManifestError, StoreError
from genser.metrics.bootstrap import Resampling
from genser.report import bench as bench_report
from genser.report.bench import report_bench
from genser.report.document import write_report
from genser.training.data import Dataset

CLASSES = ("calm", "cross", "merry")
QUICK = Resampling(50)
RECIPE = """
encoder: {kind: fbank}
network: {depth: 1, heads: 2}
objective: {time_power: 4.0, mixup: 0.5, noise: 0.3}
optimizer: {lr: 5.0e-3, ema: 0.5}
sampler: {steps: 4}
batch_size: 16
steps: 12
"""
PLAN = """
seeds: 2
ablation_seeds: 1
inner_share: 0.25
steps: [0, 2]
heads:
  transport: {}
  linear: {grid: {optimizer.lr: [1.0e-6, 2.0e-2]}}
ablations:
  k: {path.k: [4]}
  read-out: {state: {sampler.readout: state}}
"""


costly = pytest.mark.no_cover
"""Tests that train many heads, on lines that others cover: measuring them takes much of their time."""

TASKS = 2 * (2 + 2 * 2 + 1)
"""For two folds: two candidates of `linear`; each seed of two heads; one seed of k. Nothing for the read-out."""


def dataset(seed=0, speakers=8):
    """Three classes that each lift one dimension of every state, three clips of each for every speaker."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), 3 * speakers)
    features = random.standard_normal((len(labels), 3, 16)).astype(np.float32)
    features[np.arange(len(labels)), :, labels] += 2.5
    items = [
        Utterance(f"/corpus/s{place // 9}/{place}.wav", CLASSES[label], f"s{place // 9}", corpus="toy")
        for place, label in enumerate(labels)
    ]
    return Dataset(tuple(items), features, CLASSES, (), 0)


def halves(data):
    """Two folds: the first and the second half of the speakers are tested."""
    first = np.arange(len(data.utterances)) < len(data.utterances) // 2
    sides = [(~first, first), (first, ~first)]
    return [Fold(f"toy {n}", *map(np.flatnonzero, side), True) for n, side in enumerate(sides)]


def plan_file(folder, text):
    """A plan with its own recipe, so that no test depends on a packaged recipe."""
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "plan.yaml").write_text(f"recipe: {folder}/recipe.yaml\n{text}")
    return str(folder / "plan.yaml")


def a_plan(tmp_path, text=PLAN):
    return load_plan(plan_file(tmp_path, text))


def a_bench(tmp_path, data=None, **changes):
    data = data or dataset()
    protocol = Protocol("toy-kfold-2", "toy", "emotion", "kfold", 2)
    given = {"dataset": data, "folds": halves(data), "protocol": protocol, "plan": a_plan(tmp_path)}
    return Bench(**given | {"encoder": "fake", "fingerprint": "f" * 8, "folder": tmp_path / "out"} | changes)


def selections(bench):
    return [task for fold in bench.folds for head in bench.plan.heads for task in bench.selections(fold, head)]


def trainings(bench):
    return [task for fold in bench.folds for head in bench.plan.heads for task in bench.trainings(fold, head)]


class Inline:
    """A pool that runs tasks at once in this process, and can stop after some of them."""

    def __init__(self):
        self.left = 10**6
        self.done = 0

    def submit(self, work, *arguments):
        future = Future()
        if self.done == self.left:
            future.set_exception(KeyboardInterrupt())
            return future
        self.done += 1
        future.set_result(work(*arguments))
        return future


@contextmanager
def one_process(folder):
    """Benches in this process, with one thread."""
    pool_here, threads = Inline(), torch.get_num_threads()

    @contextmanager
    def here(data, jobs):
        (folder / "arrays").mkdir(exist_ok=True)
        np.save(folder / "arrays/features.npy", data.features)
        start_worker(replace(data, features=None), str(folder / "arrays"), ("features",))
        yield pool_here

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(genser.bench.comparison, "workers", here)
        yield pool_here
    torch.set_num_threads(threads)


@pytest.fixture
def inline(tmp_path):
    with one_process(tmp_path) as pool_here:
        yield pool_here


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an uninterrupted bench, made once; nothing may change it."""
    folder = tmp_path_factory.mktemp("whole")
    with one_process(folder) as pool_here:
        a_bench(folder).run()
    assert pool_here.done == TASKS
    return folder / "out"


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of that folder where a bench of this test looks for its runs."""
    shutil.copytree(whole, tmp_path / "out")


@pytest.fixture
def words(monkeypatch):
    """Reports without pictures, which take most of the time."""
    monkeypatch.setattr(bench_report, "write_report", partial(write_report, formats=("json", "md")))


def contents(folder):
    """Every result but the measured times."""
    found = {}
    for path in sorted((folder / "runs").glob("*.npz")):
        run = load_run(path)
        found[path.name] = (run.probabilities.tobytes(), {n: p.tobytes() for n, p in run.steps.items()}, run.spec)
    for path in sorted((folder / "candidates").glob("*.json")):
        found[path.name] = path.read_text()
    return found


def test_a_bench_measures_every_head_seed_fold_and_ablation(whole):
    pooled = {one.system: one for one in pool(bench_result(whole).runs)}
    transport, linear = System("transport", "fake"), System("linear", "fake")
    assert set(pooled) == {
        transport,
        linear,
        System("transport", "fake", "k", "4"),
        System("transport", "fake", "read-out", "state"),
    }
    assert [pooled[one].seeds for one in (transport, linear)] == [(0, 1), (0, 1)]
    assert sorted(pooled[transport].steps) == [0, 2]
    assert not pooled[linear].steps
    assert all(len(one.labels) == 72 for one in pooled.values())
    assert all(run.cost.parameters > 0 < run.cost.train_seconds for run in pooled[linear].runs)
    assert len(set(pooled[linear].speakers)) == 8
    assert not any("/corpus" in str(run.spec) + str(run.utterances[:1]) for run in pooled[linear].runs)


@costly
def test_an_ablation_of_the_sampler_alone_needs_no_training(tmp_path, inline):
    bench = a_bench(tmp_path)
    bench.run()
    factors = [variant.spec.factor for one in trainings(bench) for variant in one.variants]
    assert factors.count("read-out") == 2
    assert inline.done == TASKS


def test_candidates_are_compared_inside_the_training_side(tmp_path, inline, finished):
    bench = a_bench(tmp_path)
    compared = selections(bench)
    assert len(compared) == 4
    for task in compared:
        fold = next(fold for fold in bench.folds if set(task.train) <= set(fold.train))
        assert set(task.test) <= set(fold.train)
        voices = [{bench.dataset.utterances[place].speaker for place in side} for side in (task.train, task.test)]
        assert not voices[0] & voices[1]
    bench.run()
    for fold in bench.folds:
        assert bench.chosen(fold, bench.plan.head("linear"))["optimizer.lr"] == 0.02
    chosen = {run.spec.settings["recipe"]["optimizer"]["lr"] for run in bench_result(bench.folder).runs}
    assert chosen == {0.005, 0.02}, "the head's own, and what was chosen"


@costly
def test_the_test_side_decides_nothing(tmp_path, inline):
    """A test side with random features leaves every choice and every trained weight as it was."""
    data = dataset()
    fold = halves(data)[:1]
    spoilt = replace(data, features=data.features.copy())
    spoilt.features[fold[0].test] = 1e3 * np.random.default_rng(1).standard_normal((36, 3, 16))
    found = []
    for name, one in (("clean", data), ("spoilt", spoilt)):
        (tmp_path / name).mkdir()
        bench = a_bench(tmp_path / name, one, folds=fold)
        bench.run()
        scores = [json.loads(path.read_text())["ua"] for path in sorted((bench.folder / "candidates").iterdir())]
        weights = [task.fit(one)[0].state_dict() for task in trainings(bench)[:3]]
        found.append((scores, bench.chosen(fold[0], bench.plan.head("linear")), weights))
    assert found[0][:2] == found[1][:2]
    for clean, other in zip(found[0][2], found[1][2], strict=True):
        assert all(torch.equal(clean[name], other[name]) for name in clean)


@costly
def test_a_stopped_bench_continues_and_equals_an_uninterrupted_one(tmp_path, inline, whole):
    inline.left = 7
    with pytest.raises(KeyboardInterrupt):
        a_bench(tmp_path).run()
    assert 0 < len(contents(tmp_path / "out")) < len(contents(whole))
    inline.done, inline.left = 0, 100
    stages = []
    a_bench(tmp_path).run(lambda *stage: stages.append(stage))
    assert inline.done == TASKS - 7
    assert contents(tmp_path / "out") == contents(whole)
    assert stages[0][1:] == (4, 4)
    assert stages[-1][1:] == (10, 10)
    a_bench(tmp_path).run()
    assert inline.done == 7, "a finished bench trains nothing"


@costly
def test_a_run_with_other_data_or_settings_is_never_reused(tmp_path, inline, finished):
    relabelled = dataset()
    items = list(relabelled.utterances)
    items[5] = replace(items[5], label=CLASSES[0])
    a_bench(tmp_path, replace(relabelled, utterances=tuple(items))).run()
    assert inline.done == TASKS - 2, "only the selection on the fold that tests the clip is reused"
    inline.done = 0
    a_bench(tmp_path, fingerprint="another").run()
    assert inline.done == TASKS
    a_bench(tmp_path, plan=a_plan(tmp_path, PLAN + "settings: {steps: 13}")).run()
    assert inline.done == 2 * TASKS
    result = bench_result(tmp_path / "out")
    assert {run.spec.settings["recipe"]["steps"] for run in result.runs} == {13}, "the report covers the last plan only"


def test_a_run_depends_on_the_speakers_and_the_files_of_its_clips(tmp_path):
    data = dataset()
    fold = replace(halves(data)[0], speaker_independent=False)
    hashes = {item.path: "a" for item in data.utterances}

    def name(items=data.utterances, hashes=hashes):
        bench = a_bench(tmp_path, replace(data, utterances=tuple(items)), folds=[fold], hashes=hashes)
        return bench._spec(fold, bench.plan.heads[0], 0, {}, None, (fold.train, fold.test)).name

    def changed(side, **changes):
        return [replace(item, **changes) if index == side[0] else item for index, item in enumerate(data.utterances)]

    first = name()
    assert name() == first
    assert name(changed(fold.test, text="other words")) == first, "no head reads it"
    others = [name(changed(side, speaker=speaker)) for side in (fold.test, fold.train) for speaker in ("x", None)]
    others += [name(hashes=hashes | {data.utterances[side[0]].path: "b"}) for side in (fold.test, fold.train)]
    assert len({first, *others}) == 7


@costly
def test_results_of_another_version_are_kept_and_named(tmp_path, inline, finished, words, caplog):
    a_bench(tmp_path).run()
    assert inline.done == 0
    report_bench(tmp_path / "out", resampling=QUICK)
    assert f"Made by genser {__version__} from" in (tmp_path / "out/report.md").read_text()
    assert not caplog.records
    for path in (tmp_path / "out/runs").iterdir():
        replace(load_run(path), version="0.0.9").save(path.parent)
    a_bench(tmp_path).run()
    a_bench(tmp_path, plan=replace(a_plan(tmp_path), seeds=3)).run()
    assert inline.done == 4, "only the new seed of two heads on two folds"
    assert [record.getMessage() for record in caplog.records] == [
        "genser: toy-kfold-2, fake: results that genser 0.0.9 has stored are kept, although the training of this "
        f"version, {__version__}, may differ; name another --output to make all of them anew."
    ] * 2
    report_bench(tmp_path / "out", resampling=QUICK)
    text = (tmp_path / "out/report.md").read_text()
    assert f"Made by genser 0.0.9 and {__version__} from" in text
    assert "training of these versions of genser may differ" in text


def test_the_version_of_a_candidate_counts(tmp_path, inline, finished, caplog):
    for path in (tmp_path / "out/candidates").iterdir():
        path.write_text(path.read_text().replace(__version__, "0.0.8"))
    a_bench(tmp_path).run()
    assert "genser 0.0.8 has stored are kept" in caplog.text
    assert inline.done == 0


def test_more_seeds_keep_those_that_are_there(tmp_path, inline, finished):
    a_bench(tmp_path, plan=replace(a_plan(tmp_path), seeds=3)).run()
    assert inline.done == 2 * 2
    assert pool(bench_result(tmp_path / "out").runs)[0].seeds == (0, 1, 2)


def test_a_leaking_fold_is_refused_before_anything_is_trained(tmp_path, inline):
    data = dataset()
    wrong = Fold("wrong", np.arange(40), np.arange(40, 72), True)
    with pytest.raises(ManifestError, match="speaker toy s4"):
        a_bench(tmp_path, data, folds=[wrong])
    with pytest.raises(ConfigError, match="jobs must be at least 1, got 0"):
        BenchSettings("loso", (), tmp_path, tmp_path, jobs=0)


def test_speaker_dependent_protocols_are_marked_in_every_output(tmp_path, inline):
    protocol = Protocol("toy-random-2", "toy", "emotion", "random", 2, speaker_dependent=True)
    a_bench(tmp_path, protocol=protocol).run()
    _, written = report_bench(tmp_path / "out", resampling=QUICK)
    names = {path.name: path for path in written}
    assert json.loads(names["report.json"].read_text())["protocols"][0]["protocol"]["speaker_dependent"] is True
    for name in ("report.md", "report.html"):
        text = names[name].read_text()
        assert "Speaker-dependent" in text
        assert "toy-random-2, speaker-dependent" in text
        assert "toy-random-2" not in text.replace("toy-random-2, speaker-dependent", "").replace(
            "toy-random-2-speaker-dependent", ""
        )
    pictures = [path.name for path in written if path.suffix == ".png"]
    assert len(pictures) >= 6
    assert all("speaker-dependent" in name for name in pictures)


def test_the_report_has_choices_ablations_steps_and_figure_one(tmp_path, finished, words):
    result, written = report_bench(tmp_path / "out", title="Toy", notes=("A note.",), resampling=QUICK)
    text = next(path for path in written if path.suffix == ".md").read_text()
    for words in (
        "# Toy",
        "A note.",
        "transport 1, linear 2",
        "optimizer.lr 0.02",
        "training seeds resampled as well",
        "Ablation of transport on fake: k",
        "Ablation of transport on fake: read-out",
        "Table 3",
        "From speech to class\n\nTransport on toy-kfold-2, fake, test clips of toy 0.",
    ):
        assert words in text, words
    assert "Unfinished" not in text
    assert len(result.runs) == 2 * (2 * 2 + 2)


def test_an_unfinished_bench_is_reported_as_such(tmp_path, inline, words):
    with pytest.raises(StoreError, match="no finished runs"):
        report_bench(tmp_path / "out")
    inline.left = 4 + 5 + 4  # the choice, the first fold, and of the second fold all but the last seed of linear
    with pytest.raises(KeyboardInterrupt):
        a_bench(tmp_path).run()
    _, written = report_bench(tmp_path / "out", resampling=QUICK)
    text = next(path for path in written if path.suffix == ".md").read_text()
    assert "Unfinished: 1 of 12 runs are missing." in text
    assert "Seeds omitted because folds are missing: linear 1." in text


def test_several_protocols_and_encoders_share_a_folder(tmp_path, inline, finished, words):
    a_bench(tmp_path, encoder="other", fingerprint="o").run()
    loso = Protocol("toy-loso", "toy", "emotion", "loso", 2)
    a_bench(tmp_path, protocol=loso).run()
    a_bench(tmp_path).run()
    known = [(one.protocol, one.encoder) for one in entries(tmp_path / "out")]
    assert sorted(known) == [("toy-kfold-2", "fake"), ("toy-kfold-2", "other"), ("toy-loso", "fake")]
    result, written = report_bench(tmp_path / "out", resampling=QUICK)
    assert {run.spec.protocol.name for run in result.runs} == {"toy-kfold-2", "toy-loso"}
    assert "transport · other" in next(path for path in written if path.suffix == ".md").read_text()


def test_a_damaged_index_is_named(tmp_path):
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(StoreError, match="not the index of a bench"):
        entries(tmp_path)


@pytest.mark.parametrize("load", [load_run, Trace.load])
@pytest.mark.parametrize("damage", ["member", "end", "method", "encryption", "empty", "header"])
def test_a_damaged_archive_is_named(tmp_path, load, damage):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, about=np.arange(1000), times=np.arange(1000))
    data = bytearray(path.read_bytes())
    if damage == "member":
        data[60:70] = bytes(byte ^ 0xFF for byte in data[60:70])
    elif damage in ("method", "encryption"):
        entry = data.index(b"PK\x01\x02")
        data[entry + (10 if damage == "method" else 8)] = 99
    data = {"end": data[:-9], "empty": b"", "header": b"\x93NUMPY\x01\0"}.get(damage, data)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"a\.npz is not a .* is damaged .* Delete it and run the bench again"):
        load(path)


@pytest.mark.parametrize("text", ["", "5", "{}", '{"ua": null}', '{"ua": 0.5}', "[" * 9999])
def test_a_damaged_score_of_a_candidate_is_named(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="Delete it and run the bench again"):
        SelectTask(None, None, None, "cpu", path).ua()


def test_a_trace_leads_from_speech_to_class(tmp_path, finished):
    bench = a_bench(tmp_path)
    (path,) = (tmp_path / "out/traces").iterdir()
    trace = Trace.load(path)
    assert trace.times[0] == pytest.approx(0.97)
    assert trace.times[-1] == pytest.approx(0.03)
    assert trace.states.shape == (6, 36, 16)
    np.testing.assert_array_equal(trace.states[0], trace.starts)
    task = trainings(bench)[0]
    head, _ = task.fit(bench.dataset)
    again = trace_of(head, bench.dataset, task.test)
    np.testing.assert_allclose(again.states, trace.states, atol=1e-6)
    np.testing.assert_array_equal(again.labels, bench.dataset.labels[task.test])


def test_processes_give_what_one_process_gives(tmp_path, whole):
    a_bench(tmp_path, jobs=2).run()
    assert contents(tmp_path / "out") == contents(whole)


class Dies:
    """A task whose process is killed."""

    done = False

    def __call__(self, data):
        os.kill(os.getpid(), signal.SIGKILL)


class Fails(Dies):
    """A task that refuses."""

    def __call__(self, data):
        raise ManifestError("not like this")


def test_a_killed_process_and_a_failing_task_are_reported():
    with pytest.raises(GenserError, match="fewer --jobs"), workers(dataset(), 1) as running:
        perform(running, [Dies()], lambda *_: None)
    with pytest.raises(ManifestError, match="not like this"), workers(dataset(), 1) as running:
        perform(running, [Fails()], lambda *_: None)


def test_a_stop_does_not_wait_for_the_runs_at_hand():
    with pytest.raises(KeyboardInterrupt), workers(dataset(), 1) as running:  # noqa: PT012
        running.submit(len, "a").result()
        running.submit(time.sleep, 3600)
        raise KeyboardInterrupt


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_bench import a_bench

if __name__ == "__main__":
    a_bench(Path({folder!r}), jobs=2).run()
"""


def children_of(pid):
    lines = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout.split("\n")[1:]
    return [int(line.split()[0]) for line in lines if line.strip() and int(line.split()[1]) == pid]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes")
def test_a_killed_bench_leaves_no_process_and_continues(tmp_path, inline, whole):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    started = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/runs/*.npz")) and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    workers_of = children_of(started.pid)
    started.kill()
    started.wait()
    kept = {path.name for path in tmp_path.glob("out/runs/*.npz")}
    assert kept
    while any(Path(f"/proc/{pid}").exists() for pid in workers_of) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers_of if Path(f"/proc/{pid}").exists()]
    a_bench(tmp_path).run()
    assert contents(tmp_path / "out") == contents(whole)


@pytest.fixture
def home(tmp_path):
    """A small corpus of tones: the pitch is the class, the overtone the speaker."""
    rows = ["path,label,speaker,gender,corpus"]
    time_axis = np.arange(8000) / 16_000
    random = np.random.default_rng(0)
    for speaker in range(6):
        for take in range(6):
            label = ("low", "high")[take % 2]
            tone = np.sin(2 * np.pi * (200 + 400 * (take % 2)) * time_axis)
            tone += 0.3 * np.sin(2 * np.pi * (900 + 150 * speaker) * time_axis)
            path = tmp_path / f"{speaker}-{take}.wav"
            soundfile.write(path, 0.2 * tone + 0.02 * random.standard_normal(8000), 16_000)
            rows.append(f"{path},{label},s{speaker},{('female', 'male')[speaker % 2]},home")
    (tmp_path / "home.csv").write_text("\n".join(rows))
    return tmp_path


VERB = (
    "settings: {steps: 30, batch_size: 16}\nseeds: 1\nheads: {linear: {settings: {optimizer.lr: 2.0e-2}}, majority: {}}"
)


def options_of(home):
    plan = plan_file(home, VERB)
    return {"encoder": ["fbank"], "plan": plan, "store": home / "features", "output": home / "o"}


def test_the_verb_goes_from_sound_to_report(home, inline, capsys):
    options = options_of(home)
    manifests = (home / "home.csv",)
    assert bench_verb("kfold-speaker", *manifests, k=3, resamples=50, **options) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert float(re.search(r"home-kfold-3: linear · fbank-80: UA (\S+) %", printed.err)[1]) > 70
    assert "home-kfold-3: majority · fbank-80: UA 50.0 %" in printed.err
    assert (home / "o/report.html").exists()
    done = inline.done
    assert bench_verb("kfold-speaker", *manifests, k=3, resamples=50, task="gender", **options) == 0
    assert "Table 2" in (home / "o/report.md").read_text()
    assert inline.done == 2 * done
    (home / "o/report.md").unlink()
    assert bench_verb(report_only=True, output=home / "o", resamples=50, title="Again") == 0
    assert (home / "o/report.md").read_text().startswith("# Again")
    assert inline.done == 2 * done


def test_an_encoder_is_loaded_once(home, inline, words, monkeypatch):
    loaded = []
    load = genser.bench.runner.load_encoder
    monkeypatch.setattr(
        genser.bench.runner, "load_encoder", lambda *given, **more: loaded.append(1) or load(*given, **more)
    )
    assert bench_verb("loso", home / "home.csv", resamples=50, **options_of(home)) == 0
    assert loaded == [1]


def test_a_run_is_made_anew_once_a_file_has_another_content(home, inline, words):
    call = partial(bench_verb, "loso", home / "home.csv", resamples=50, **options_of(home))
    assert call() == 0
    done = inline.done
    shutil.copy(home / "0-1.wav", home / "0-0.wav")
    assert call() == 0
    assert inline.done == 2 * done, "the clip trains or tests in every fold"
    assert call() == 0
    assert inline.done == 2 * done


def test_too_few_clips_for_the_components_lower_their_number_and_are_noted(tmp_path, inline, words):
    plan = a_plan(tmp_path, "settings: {feature_transform.components: 40}\n" + PLAN.replace("inner_share: 0.25", ""))
    a_bench(tmp_path, plan=plan).run()
    recipes = [run.spec.settings["recipe"] for run in bench_result(tmp_path / "out").runs]
    assert {recipe["feature_transform"]["components"] for recipe in recipes} == {32}, "36 training clips"
    report_bench(tmp_path / "out", resampling=QUICK)
    text = (tmp_path / "out/report.md").read_text()
    assert "too few clips for 40 principal components; at least 16 were used" in text, "27 clips train for selection"


def test_a_packaged_plan_runs_with_filter_banks(home, inline, words):
    short = ["steps=2", "batch_size=16"]
    options = options_of(home) | {"plan": "quick", "setting": short}
    assert bench_verb("kfold-speaker", home / "home.csv", k=2, resamples=50, **options) == 0
    assert {run.spec.head for run in bench_result(home / "o").runs} == {"transport", "linear"}


def test_the_encoder_is_the_recipes_unless_one_is_named(home, inline, words):
    options = options_of(home) | {"encoder": None}
    assert (
        bench_verb("loso", home / "home.csv", resamples=50, setting=["feature_transform.components=0"], **options) == 0
    )
    assert {run.spec.encoder for run in bench_result(home / "o").runs} == {"fbank-80"}


def test_augmented_copies_are_encoded_if_the_plan_trains_on_them(home, monkeypatch, inline, words):
    seen = []

    @contextmanager
    def here(data, jobs):
        seen.append(data.augmented.shape)
        bench_work._shared["dataset"] = data
        yield inline

    monkeypatch.setattr(genser.bench.comparison, "workers", here)
    options = options_of(home)
    assert (
        bench_verb("kfold-speaker", home / "home.csv", k=2, resamples=50, setting=["augmented_copies=2"], **options)
        == 0
    )
    assert seen == [(36, 2, 1, 160)]
    assert "augmented copies" in (home / "o/report.md").read_text()


def test_unreadable_clips_are_reported_and_omitted(home, inline, words, capsys):
    (home / "bad.wav").write_text("no sound")
    with (home / "home.csv").open("a") as file:
        file.write(f"\n{home / 'bad.wav'},low,s1,male,home")
    options = options_of(home)
    assert bench_verb("kfold-speaker", home / "home.csv", k=2, resamples=50, **options) == 1
    assert "bad.wav" in capsys.readouterr().err
    assert "The features of 1 row could not be computed" in (home / "o/report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name a protocol"),
        (("loso",), "and its manifests or its folder"),
        (("emobx", Path("x.csv")), "x.csv"),
    ],
)
def test_a_wrong_call_says_what_is_missing(tmp_path, arguments, words):
    with pytest.raises(GenserError, match=words):
        bench_verb(*arguments, encoder=["fbank"], output=tmp_path)


def test_a_setting_without_a_value_is_refused(home):
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        bench_verb("loso", home / "home.csv", encoder=["fbank"], setting=["steps"])
