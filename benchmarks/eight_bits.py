"""Compares which products of an encoder run in eight bits: time, scores, labels and accuracy.

    python benchmarks/eight_bits.py MANIFEST [--model base] [--clips 210] [--split train] [--json FILE]

The model is an int8 file of three or more Whisper layers, as ``genser export`` writes it. Each row quantises some of
the products that the file keeps in float32, with the exporter's own code. The rows "MatMulNBits" use that operator of
ONNX Runtime for all products. Times are processor times of one thread, in turn, as a share of the file's. "error" is
the root mean square of the differences of scores to the file's, "labels" the share of clips with the same label, and
"UA gained" is in points, with an interval from resamples of speakers. Compare choices on the split "train"; the split
"test" serves for one last look at the one chosen.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _common import Claim, alternated, parser
from _model import clip_of
from onnx import helper, numpy_helper

from genser.audio import load_audio
from genser.data.manifest import read_manifest
from genser.export.quantize import SCOPES, quantize_rows
from genser.inference.load import find_model
from genser.inference.onnx_file import read_metadata
from genser.metrics.bootstrap import paired_bootstrap
from genser.onnx_runtime import cpu_session

ROLES = ("query", "key", "value", "output", "first", "second")
"""The products of a Whisper layer in the order of the graph: four of attention, two of the feed-forward block."""

LONGEST = 160_000  # samples of a clip
SMALLEST = 1 << 16  # elements of a matrix of the encoder; those of the front end and the head are smaller
Chosen = Callable[[int, str], bool]

ROWS: dict[str, Chosen] = {
    "the file": lambda _layer, _role: False,
    "second matrix of the third layer": lambda layer, role: layer == 2 and role == "second",
    "second matrices": lambda _layer, role: role == "second",
    "all but value and output of two layers": lambda layer, role: layer > 1 or role not in ("value", "output"),
    "all": lambda _layer, _role: True,
}


def opened(path: Path) -> onnx.ModelProto:
    """The graph of a file, with its weights in float32."""
    model = onnx.load_model(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [one for one in graph.node if one.op_type == "Cast" and one.input[0] in weights]:
        wide = numpy_helper.to_array(weights[node.input[0]]).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(wide, node.output[0]))
        graph.node.remove(node)
    return model


def products(model: onnx.ModelProto) -> Iterator[tuple[int, str, onnx.NodeProto]]:
    """Layer, role and node of each product with a matrix of the encoder."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    count = 0
    for node in model.graph.node:
        if node.op_type in ("MatMul", "MatMulInteger") and node.input[1] in weights:
            dims = weights[node.input[1]].dims
            if len(dims) == 2 and np.prod(dims) >= SMALLEST:
                yield count // len(ROLES), ROLES[count % len(ROLES)], node
                count += 1


def quantized(path: Path, chosen: Chosen) -> bytes:
    """The file with further products in eight bits."""
    model = opened(path)
    for layer, role, node in products(model):
        if node.op_type == "MatMul" and chosen(layer, role):
            node.metadata_props.add(key=SCOPES, value="'encoder'")
    quantize_rows(model, "encoder")
    for entries, key in ((model.graph.initializer, "name"), (model.graph.node, "output")):
        unique = {str(getattr(one, key)): one for one in entries}.values()  # constants that the file had already
        kept = [type(one).FromString(one.SerializeToString()) for one in unique]
        del entries[:]
        entries.extend(kept)
    return model.SerializeToString()


def blocked(path: Path, block: int) -> bytes:
    """The file with its float32 products as ``MatMulNBits``, with a scale for each block of weights."""
    model = opened(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for _, _, node in products(model):
        if node.op_type != "MatMul":
            continue
        matrix = numpy_helper.to_array(weights[node.input[1]])
        rows, columns = matrix.shape
        blocks = matrix.T.reshape(columns, rows // block, block)
        scales = np.maximum(np.abs(blocks).max(axis=2) / 127, 1e-12).astype(np.float32)
        numbers = np.rint(blocks / scales[..., None] + 128).astype(np.uint8)
        name, inputs = node.output[0], [node.input[0]]
        for kind, values in (("bytes", numbers), ("scales", scales.reshape(-1))):
            graph.initializer.append(numpy_helper.from_array(values, f"{name}_{kind}"))
            inputs.append(f"{name}_{kind}")
        sizes = {"K": rows, "N": columns, "bits": 8, "block_size": block, "accuracy_level": 4}
        node.CopyFrom(helper.make_node("MatMulNBits", inputs, [name], domain="com.microsoft", **sizes))
    if not any(one.domain == "com.microsoft" for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model.SerializeToString()


def scores(session: Any, waveform: np.ndarray) -> np.ndarray:
    """Class probabilities of a waveform, shape (classes,)."""
    given = {"waveform": waveform[None], "lengths": np.array([len(waveform)])}
    return session.run(["scores"], given)[0][0]


def measure(claim: Claim, arguments: argparse.Namespace) -> None:
    path = find_model(arguments.model)
    labels = read_metadata(path)["labels"]
    graphs = {name: quantized(path, chosen) for name, chosen in ROWS.items()}
    graphs |= {f"MatMulNBits, blocks of {block}": blocked(path, block) for block in (32, 128)}
    sessions = {name: cpu_session(path, 1, content=content) for name, content in graphs.items()}
    items = [one for one in read_manifest(arguments.manifest) if one.split == arguments.split and one.label in labels]
    items = [items[index] for index in np.random.default_rng(0).permutation(len(items))[: arguments.clips]]
    waveforms = [load_audio(one.path)[:LONGEST] for one in items]
    truth = np.array([labels.index(one.label) for one in items])
    speakers = np.array(["/".join(one.speaker_key) for one in items])
    claim.settings |= {"model": arguments.model, "clips": len(items), "split": arguments.split}
    found = {name: np.array([scores(one, waveform) for waveform in waveforms]) for name, one in sessions.items()}
    file = found["the file"]
    times = {
        length: alternated([partial(scores, one, clip_of(length)) for one in sessions.values()], arguments.repeats)
        for length in (1, 3, 10)
    }
    for number, (name, ours) in enumerate(found.items()):
        ua = paired_bootstrap(ours, file, truth, speakers, classes=len(labels)).interval
        claim.add(
            name,
            **{f"time, {length} s": of[number].processor / of[0].processor for length, of in times.items()},
            error=float(np.sqrt(np.mean((ours - file) ** 2))),
            labels=float(np.mean(ours.argmax(1) == file.argmax(1))),
            **{"UA gained": 100 * ua.estimate, "from": 100 * ua.low, "to": 100 * ua.high},
        )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("manifest", type=Path)
    options.add_argument("--model", default="base")
    options.add_argument("--clips", type=int, default=210, help="clips, drawn evenly")
    options.add_argument("--split", default="train")
    arguments = options.parse_args()
    claim = Claim("eight_bits", "less time, the same scores and labels", file=arguments.json)
    measure(claim, arguments)
    claim.report(arguments.json)


if __name__ == "__main__":
    main()
