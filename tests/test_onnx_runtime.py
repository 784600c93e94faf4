"""Sessions of ONNX Runtime keep no memory for every length, and read no file but their own."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from genser.errors import ModelError
from genser.inference.load import find_model, load
from genser.inference.onnx_file import read_metadata, sealed
from genser.onnx_runtime import cpu_session, import_onnxruntime

ELEMENTS = 16


def write_graph(path: Path, weights: TensorProto) -> Path:
    """A graph whose output is its one tensor of weights."""
    output = helper.make_tensor_value_info("y", TensorProto.UINT8, [ELEMENTS])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [output], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def outside(location: str) -> TensorProto:
    """Weights that a graph reads from another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[ELEMENTS], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(ELEMENTS)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_weights_in_the_file_are_read(tmp_path):
    inside = helper.make_tensor("w", TensorProto.UINT8, [ELEMENTS], bytes(range(ELEMENTS)), raw=True)
    session = cpu_session(write_graph(tmp_path / "model.onnx", inside), threads=1)
    assert session.run(None, {})[0].tobytes() == bytes(range(ELEMENTS))


@pytest.mark.parametrize(
    "location", ["near.bin", "./near.bin", "link.bin", "../secret.bin", "{folder}/near.bin", "{folder}/../secret.bin"]
)
@pytest.mark.parametrize("working_folder", [".", "model"])
def test_a_graph_reads_no_weights_from_another_file(tmp_path, monkeypatch, location, working_folder):
    """Neither beside the model nor elsewhere, whatever the working folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "near.bin").write_bytes(bytes(ELEMENTS))
    (tmp_path / "secret.bin").write_bytes(bytes(ELEMENTS))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = write_graph(folder / "model.onnx", outside(location.format(folder=folder)))
    monkeypatch.chdir(tmp_path / working_folder)
    with pytest.raises(Exception, match=r"(?i)external"):
        cpu_session(os.path.relpath(path), threads=1)


HUGE = helper.make_tensor("n", TensorProto.INT64, [1], [10**12])
GRAPHS = {
    "a custom operator": (helper.make_node("Evil", ["waveform"], ["scores"], domain="org.evil"), []),
    "Python as an operator": (helper.make_node("PyOp", ["waveform"], ["scores"], domain="com.microsoft"), []),
    "a tensor of 4 TB": (helper.make_node("ConstantOfShape", ["n"], ["scores"]), [HUGE]),
    "no scores": (helper.make_node("Identity", ["waveform"], ["other"]), []),
    "scores of other classes": (helper.make_node("Identity", ["waveform"], ["scores"]), []),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_is_no_model_is_refused_whatever_its_checksum(tmp_path, name):
    node, weights = GRAPHS[name]
    inputs = [
        helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
    ]
    output = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("org.evil", 1), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [output], weights), opset_imports=domains, ir_version=8
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(sealed(model.SerializeToString(), {"labels": ["a", "b"]} | _settings()))
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load(path, threads=1).predict((np.ones(16_000, np.float32), 16_000))


def _settings() -> dict:
    found = read_metadata(find_model("tiny"))
    return {name: found[name] for name in found.keys() - {"labels", "format", "genser"}}


def _resident() -> int:
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_nothing_is_printed_where_the_name_of_an_operation_is_no_text(tmp_path, capfd):
    inside = helper.make_tensor("w", TensorProto.UINT8, [ELEMENTS], bytes(ELEMENTS), raw=True)
    path = write_graph(tmp_path / "model.onnx", inside)
    path.write_bytes(path.read_bytes().replace(b"Identity", b"Identit\xff"))
    with pytest.raises(UnicodeDecodeError):  # of the message of ONNX Runtime
        cpu_session(path, threads=1)
    assert capfd.readouterr() == ("", "")


def test_memory_does_not_grow_with_the_number_of_lengths():
    """With memory patterns on, the model keeps 17 KB for each of these lengths."""
    session = cpu_session(find_model("tiny"), threads=1)

    def run(lengths: range) -> None:
        for length in lengths:
            session.run(["scores"], {"waveform": np.zeros((1, length), np.float32), "lengths": np.array([length])})

    run(range(4000, 8000, 40))
    before = _resident()
    run(range(4001, 8001, 5))
    assert _resident() - before < 4 << 20


def test_telemetry_is_off_before_the_import(monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    import_onnxruntime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
