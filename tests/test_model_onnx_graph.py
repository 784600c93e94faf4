"""The graph of a file run by torch gives what ONNX Runtime gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from genser.errors import ModelError
from genser.export.check import measure_parity
from genser.inference.load import MODELS
from genser.inference.onnx_backend import OnnxBackend
from genser.inference.torch_backend import load_backend
from genser.model.onnx_graph import OnnxGraph

BATCHES = ((0.025,), (0.5,), (1.0, 3.0, 2.2), (0.04, 4.1, 1.7))  # s


def parity_of(path: Path):
    return measure_parity(OnnxBackend(path, 1).run, load_backend(path).run, BATCHES)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_toy_scores_as_on_the_cpu(toys, precision):
    parity = parity_of(getattr(toys, precision))
    assert parity.difference < (1e-5 if precision == "float32" else 1e-3)
    assert parity.agreement == 1


@pytest.mark.parametrize("name", ["base", "tiny"])
def test_the_bundled_models_score_as_on_the_cpu(name):
    """Eight-bit values are rounded as there; a rounding error before that may move one to its neighbour."""
    parity = parity_of(MODELS / f"{name}.onnx")
    assert parity.difference < 3e-3
    assert parity.agreement == 1
    assert parity.batch_difference < 1e-2


def one_operator(operator: str, inputs: list[np.ndarray | None], outputs: int, **attributes) -> onnx.ModelProto:
    """A model of one operator with the inputs a, b, …"""
    names = [chr(ord("a") + number) if value is not None else "" for number, value in enumerate(inputs)]
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs, strict=True)
        if value is not None
    ]
    results = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(operator, names, results, **attributes)
    made = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph([node], "one", given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def f(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def b(*shape: int, kind: type = np.uint8) -> np.ndarray:
    info = np.iinfo(kind)
    return np.random.default_rng(1).integers(info.min, info.max, shape, endpoint=True).astype(kind)


CASES = {
    "slice backwards": ("Slice", [f(2, 9), i(-1), i(np.iinfo(np.int64).min), i(1), i(-2)], 1, {}),
    "slice from the end": ("Slice", [f(2, 9), i(-4, 0), i(np.iinfo(np.int64).max, 1), i(1, 0)], 1, {}),
    "slice of nothing": ("Slice", [f(2, 9), i(5), i(5), i(1)], 1, {}),
    "split unevenly": ("Split", [f(2, 10)], 4, {"axis": 1, "num_outputs": 4}),
    "split to sizes": ("Split", [f(2, 9), i(4, 5)], 2, {"axis": 1}),
    "reshape with 0 and -1": ("Reshape", [f(2, 9, 4), i(0, -1)], 1, {}),
    "expand both": ("Expand", [f(3, 1), i(2, 1, 4)], 1, {}),
    "tile": ("Tile", [f(2, 3), i(2, 4)], 1, {}),
    "gather one": ("Gather", [f(2, 9, 3), np.array(-2)], 1, {"axis": 1}),
    "gather a table": ("Gather", [f(9, 3), np.array([[1, 0], [8, 2]])], 1, {}),
    "gather elements": ("GatherElements", [f(2, 9), np.array([[1, 0], [8, 2]])], 1, {"axis": 1}),
    "scatter elements": ("ScatterElements", [f(2, 9), np.array([[1, 0], [8, 2]]), f(2, 2)], 1, {"axis": 1}),
    "pad some axes": ("Pad", [f(2, 9), i(1, 2), np.array(7, np.float32), i(-1)], 1, {}),
    "pad all axes": ("Pad", [f(2, 9), i(0, 1, 2, 0)], 1, {}),
    "unsqueeze twice": ("Unsqueeze", [f(2, 9), i(0, -1)], 1, {}),
    "squeeze": ("Squeeze", [f(2, 1, 9, 1), i(1)], 1, {}),
    "transpose": ("Transpose", [f(2, 3, 4)], 1, {}),
    "shape in part": ("Shape", [f(2, 3, 4)], 1, {"start": 1, "end": -1}),
    "gemm": ("Gemm", [f(3, 2), f(5, 3), f(5)], 1, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    "convolution": ("Conv", [f(2, 4, 20), f(6, 2, 3), f(6)], 1, {"strides": [2], "pads": [2, 1], "group": 2}),
    "layer norm": ("LayerNormalization", [f(2, 3, 8), f(8), f(8)], 1, {"axis": -1, "epsilon": 1e-3}),
    "mean of all": ("ReduceMean", [f(2, 3, 4)], 1, {"keepdims": 0}),
    "maximum of rows": ("ReduceMax", [f(2, 3, 4), i(-1, 0)], 1, {}),
    "no axes, no sum": ("ReduceSum", [f(2, 3), i()], 1, {"noop_with_empty_axes": 1}),
    "quantise rows": ("QuantizeLinear", [9 * f(3, 8), np.float32([0.1, 1, 2]), np.uint8([128, 0, 9])], 1, {"axis": 0}),
    "product of bytes": ("MatMulInteger", [b(3, 8), b(8, 5, kind=np.int8), np.array(128, np.uint8)], 1, {}),
    "divide whole numbers": ("Div", [i(7, -7), i(2, 2)], 1, {}),
    "remainder": ("Mod", [i(7, -7), i(4, 4)], 1, {}),
    "clip above": ("Clip", [f(9), None, np.array(0.5, np.float32)], 1, {}),
    "tanh form of gelu": ("Gelu", [f(9)], 1, {"approximate": "tanh"}),
    "range": ("Range", [np.array(3), np.array(9), np.array(2)], 1, {}),
    "largest of three": ("Max", [f(9), f(1), np.array(0.1, np.float32)], 1, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_onnx_defines(case, tmp_path):
    operator, inputs, outputs, attributes = CASES[case]
    model = one_operator(operator, inputs, outputs, **attributes)
    onnx.save(model, tmp_path / "m.onnx")
    given = {chr(ord("a") + number): value for number, value in enumerate(inputs) if value is not None}
    wanted = ReferenceEvaluator(model).run(None, given)
    found = OnnxGraph(tmp_path / "m.onnx", "cpu")(**{name: torch.tensor(value) for name, value in given.items()})
    for expected, value in zip(wanted, found.values(), strict=True):
        assert tuple(value.shape) == expected.shape
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-5)


def test_shapes_are_known_without_waiting_for_the_device(toys, monkeypatch):
    """Tensors on the device meta have no values: reading one would fail, as reading one from a GPU would wait."""
    graph = OnnxGraph(toys.int8, "cpu")
    away = torch.device("meta")
    monkeypatch.setattr(graph, "device", away)
    for name in ("_constants", "_defaults"):
        moved = {
            key: value.to(away) if value.ndim and value.is_floating_point() else value
            for key, value in getattr(graph, name).items()
        }
        monkeypatch.setattr(graph, name, moved)
    monkeypatch.setattr("genser.model.onnx_graph.full_precision", lambda _: torch.no_grad())
    outputs = graph(waveform=torch.zeros(2, 16_000), lengths=torch.tensor([16_000, 9_000]))
    assert {value.device for value in outputs.values()} == {away}
    assert outputs["scores"].shape == (2, 3)


def test_constants_are_computed_once(tmp_path):
    weight = numpy_helper.from_array(f(3, 3), "w")
    nodes = [helper.make_node("Abs", ["w"], ["positive"]), helper.make_node("Add", ["x", "positive"], ["y"])]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (3, 3)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    loaded = OnnxGraph(tmp_path / "m.onnx", "cpu")
    assert [node.operator for node in loaded._nodes] == ["Add"]
    np.testing.assert_array_equal(loaded(x=torch.zeros(3, 3))["y"], np.abs(f(3, 3)))


def test_an_unknown_operator_is_named(tmp_path):
    onnx.save(one_operator("Hardmax", [f(3)], 1), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"m\.onnx has the ONNX operator Hardmax, which genser runs on the CPU only"):
        OnnxGraph(tmp_path / "m.onnx", "cpu")
