"""``genser bench meld``: from an archive of MELD's shape and a HuBERT to the paper's tables and its Figure 1."""

import csv
import json
import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import yaml
from test_bench import one_process
from test_encoders_hubert import SIZES
from transformers import HubertConfig, HubertModel

import genser.bench
from genser.bench.runs import bench_result
from genser.cli.bench import bench
from genser.errors import ConfigError, ManifestError
from genser.report import bench as bench_report
from genser.report.document import Picture, write_report

COLUMNS = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
EMOTIONS = ("anger", "joy", "neutral", "sadness")
SPEAKERS = ("Monica", "Chandler", "Rachel", "A passer-by")


def film(path, pitch, samples=8000):
    """A video of four pictures with a hum."""
    time = np.arange(samples) / 16_000
    sound = (8000 * np.sin(2 * np.pi * pitch * time)).astype(np.int16)[None]
    with av.open(str(path), "w") as file:
        pictures, voice = file.add_stream("mpeg4", rate=8), file.add_stream("aac", rate=16_000)
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "yuv420p"
        for _ in range(4):
            file.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        frame = av.AudioFrame.from_ndarray(sound, "s16", "mono")
        frame.sample_rate = 16_000
        file.mux(voice.encode(frame))
        for stream in (pictures, voice):
            file.mux(stream.encode())


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Eight clips for training, four for validation and eight for the test: each emotion has its pitch."""
    root = tmp_path_factory.mktemp("MELD.Raw")
    for split, clips in {"train": 8, "dev": 4, "test": 8}.items():
        (root / FOLDERS[split]).mkdir()
        with (root / f"{split}_sent_emo.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS.split(","))
            for n in range(clips):
                emotion, speaker = EMOTIONS[n % 4], SPEAKERS[n // 2 % 4]
                row = (n + 1, f"Line {n}.", speaker, emotion, "neutral", n // 2, n % 2, 1, 1, "0:0:1,0", "0:0:1,5")
                table.writerow(row)
                pitch = 200 + 200 * (n % 4) + 7 * n + len(split)
                film(root / FOLDERS[split] / f"dia{n // 2}_utt{n % 2}.mp4", pitch)
    return root


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    """A HuBERT with random weights, as transformers writes it."""
    folder = tmp_path_factory.mktemp("hubert") / "tiny"
    torch.manual_seed(0)
    HubertModel(HubertConfig(num_conv_pos_embeddings=16, **SIZES)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The packaged plan of the paper, with a smaller network and fewer steps."""
    packaged = yaml.safe_load((Path(genser.bench.__file__).parent / "plans/paper.yaml").read_text())
    packaged["settings"] = {"steps": 5, "batch_size": 8, "network.depth": 1, "network.heads": 2, "precision": "float32"}
    packaged["heads"]["linear"]["settings"]["steps"] = 20
    path = tmp_path_factory.mktemp("plan") / "paper.yaml"
    path.write_text(yaml.safe_dump(packaged, sort_keys=False))
    return path


@pytest.fixture
def documents(monkeypatch):
    """The reports that are written, of which only the words are: drawing all pictures takes half a minute."""
    found = []

    def written(document, folder):
        found.append(document)
        return write_report(document, folder, formats=("json", "md"))

    monkeypatch.setattr(bench_report, "write_report", written)
    return found


def test_an_official_split_runs_with_a_clip_on_both_sides_and_the_report_names_it(
    archive, hubert, plan, tmp_path, caplog, documents
):
    root = tmp_path / "MELD.Raw"
    shutil.copytree(archive, root)
    copied = f"{FOLDERS['test']}/dia1_utt0.mp4"
    (root / copied).write_bytes((root / "train_splits/dia1_utt0.mp4").read_bytes())
    options = {"encoder": [str(hubert)], "plan": str(plan), "store": tmp_path / "store", "output": tmp_path / "out"}
    with one_process(tmp_path):
        assert bench("meld", root, task="emotion", resamples=20, **options) == 0
    warning = f"1 test clip has the same bytes as a clip of the training or validation side, such as {copied} "
    assert warning + "(train_splits/dia1_utt0.mp4)" in caplog.text
    assert warning in (tmp_path / "out/report.md").read_text().replace("\\", "")
    assert "8 test utterances" in (tmp_path / "out/report.md").read_text()


def test_one_command_makes_the_papers_tables_and_its_figure(archive, hubert, plan, tmp_path, capsys, documents):
    def command():
        options = {"encoder": [str(hubert)], "plan": str(plan), "store": tmp_path / "store", "output": tmp_path / "out"}
        return bench("meld", archive, resamples=20, **options)

    with one_process(tmp_path) as pool:
        assert command() == 0
        printed = capsys.readouterr().err
        done = pool.done
        assert done == 2 * 2, "two heads for two tasks"
        before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").iterdir()}
        assert command() == 0
        assert pool.done == done, "the second call only writes the report"
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").iterdir()} == before

    cost = printed.split("Cost with tiny", 1)[1].split("not counted")[0]
    assert "20 clips of 0.6 s" in cost
    assert re.search(r"transport 2 runs of 5 steps at .+; linear 2 runs of 20 steps at", cost)
    assert "disk: 0.1 MB" in cost
    assert {(run.spec.protocol.name, run.spec.head) for run in bench_result(tmp_path / "out").runs} == {
        (name, head) for name in ("meld-official", "meld-official-gender") for head in ("transport", "linear")
    }
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [len(one["classes"]) for one in report["protocols"]] == [4, 2]
    text = (tmp_path / "out/report.md").read_text()
    for table in ("Table 1: accuracy for speech emotion", "Table 2: accuracy for gender", "Table 3: accuracy in %"):
        assert table in text
    assert re.search(r"\| model \| type \| MELD \|", text), "our rows stand in the column of the published ones"
    figures = [one for one in documents[0].blocks if isinstance(one, Picture) and one.name.endswith("-curves")]
    assert len(figures) == 2
    figures[0].draw().savefig(tmp_path / "figure-1.png", dpi=30)


def test_the_folder_of_a_corpus_must_be_whole_or_declared_incomplete(archive, hubert, plan, tmp_path, monkeypatch):
    options = {"encoder": [str(hubert)], "plan": str(plan), "store": tmp_path / "store", "output": tmp_path / "out"}
    with pytest.raises(ConfigError, match="Name one folder"):
        bench("meld", archive, archive, **options)
    part = tmp_path / "part"
    part.mkdir()
    for path in archive.iterdir():
        (part / path.name).symlink_to(path)
    (part / "train_splits").unlink()
    (part / "train_splits").mkdir()
    for path in sorted((archive / "train_splits").iterdir())[1:]:
        (part / "train_splits" / path.name).symlink_to(path)
    with pytest.raises(ManifestError, match=r"1 clip or table is missing, such as train/dia0_utt0.*--incomplete"):
        bench("meld", part, **options)
    assert not (tmp_path / "out").exists()
    seen = []
    monkeypatch.setattr("genser.bench.estimate.estimate", lambda *_: [])
    monkeypatch.setattr("genser.bench.runner.run_bench", lambda settings, *_: seen.append(settings) or ())
    monkeypatch.setattr("genser.report.bench.report_bench", lambda *_, **__: (None, []))
    monkeypatch.setattr("genser.report.bench.score_lines", lambda _: [])
    assert bench("meld", part, incomplete=True, **options) == 0
    assert [(one.protocol, one.task, one.incomplete) for one in seen] == [
        ("official", "emotion", True),
        ("official", "gender", True),
    ]
    seen.clear()
    assert bench("meld", archive, labels="seven", **options) == 0
    assert [(one.task, one.incomplete) for one in seen] == [("emotion", False)]
