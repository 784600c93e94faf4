"""docs/architecture.md against the code. To renew its picture and table: python tests/test_architecture.py."""

import ast
import re
from pathlib import Path

import pytest
from test_house import FLOOR, ROOMS, SOURCE, room_imports

PAGE = Path(__file__).resolve().parent.parent / "docs/architecture.md"
START, END = "<!-- rooms -->\n", "<!-- end of rooms -->"
WIDTH = 60  # columns of the picture
GROUND = ("errors", "files", "storage", "hub", "config", "onnx_runtime", "caches", "plugins", "_version")
CONTENTS = {
    "cli": "the command line, one file per verb",
    "serving": "HTTP, WebSocket and the web page",
    "report": "reports of evaluations and benches: JSON, Markdown, HTML, pictures",
    "scale": "bulk runs: blocks of rows to Parquet shards, on one machine or on a Ray cluster",
    "sklearn": "heads and encoders as estimators of scikit-learn",
    "bench": "heads × encoders × folds × seeds: protocols, runs, summaries",
    "export": "a model folder as one ONNX file, checked against torch",
    "output": "predictions and timelines as tables, annotations and pictures",
    "peers": "finished classifiers of other packages, scored on the same clips",
    "training": "recipes, Algorithm 1, calibration, adaptation of an encoder",
    "inference": "recognisers: clips to predictions, with ONNX Runtime or torch",
    "data": "manifests, corpora, splits, labels, the feature store",
    "model": "heads, feature transform, in-domain score, speech gate; what the ONNX graph computes",
    "segments": "emotion over time: speech, chunks, smoothing, segments, streams",
    "encoders": "speech to pooled hidden states (X_c, x_1), Eq. 1",
    "audio": "any source to mono float32 at 16 kHz; augmentation",
    "transport": "the mathematics of the paper: codes, schedule, path, objective, sampler",
    "metrics": "accuracy, calibration, bootstrap intervals; NumPy only",
}


def picture():
    """The floors from the top, each room in a box, and the table of rooms."""
    border = "+" + "-" * (WIDTH - 2) + "+"
    lines = ["```text", border]
    for floor in reversed(ROOMS):
        rooms = [room for room in floor.split() if not room.startswith("_")]
        space = WIDTH - 1 - len(rooms)
        boxes = [room.center(space // len(rooms)) for room in rooms[:-1]]
        boxes.append(rooms[-1].center(space - sum(map(len, boxes))))
        lines += ["|" + "|".join(boxes) + "|", border]
    lines += ["```", "", "| room | what is in it | imports |", "|---|---|---|"]
    edges = room_imports()
    for room, content in CONTENTS.items():
        below = sorted(edges.get(room, set()) - set(GROUND), key=lambda other: (-FLOOR[other], other))
        lines.append(f"| `{room}` | {content} | {', '.join(below)} |")
    ground = "errors raised for users; files written in one step; mappings to dataclasses; "
    ground += "dependencies without telemetry and caches; registries that other packages extend"
    names = ", ".join(f"`{name}`" for name in GROUND if not name.startswith("_"))
    return (
        "\n".join(
            [
                *lines,
                f"| {names} | {ground} | |",
            ]
        )
        + "\n"
    )


def renewed(text):
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{picture()}\n{END}{rest.partition(END)[2]}"


def test_the_picture_and_the_table_show_the_real_rooms_and_imports():
    text = PAGE.read_text("utf-8")
    assert text == renewed(text), "To renew them: python tests/test_architecture.py"


def test_the_table_has_every_room():
    assert {*CONTENTS, *GROUND, "__main__"} == set(FLOOR)


NAMED = sorted(set(re.findall(r"`((?:\w+/)*\w+\.py)(?::(\w+))?`", PAGE.read_text("utf-8"))))


@pytest.mark.parametrize(("path", "name"), [pair for pair in NAMED if not pair[0].startswith("tests/")])
def test_a_named_file_and_function_exist(path, name):
    tree = ast.parse((SOURCE / path).read_text("utf-8"))
    functions = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    defined = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    assert not name or name in defined


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
