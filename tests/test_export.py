import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from toys import LABELS, frames, toy_folder
from voices import babble, hush

import genser
from genser.encoders import Pooling
from genser.encoders.batches import padded
from genser.encoders.whisper import WhisperConfig, WhisperEncoder
from genser.errors import ConfigError, MissingExtraError, ModelError
from genser.export import onnx as export
from genser.export.check import BATCHES, Parity, measure_parity
from genser.export.quantize import SCOPES, SPARED, halve_exactly, quantize_rows
from genser.inference.backend import ModelOutput
from genser.inference.onnx_backend import OnnxBackend
from genser.inference.onnx_file import read_metadata
from genser.inference.torch_backend import load_backend, run_model
from genser.model.folder import load_model, load_speech_model, save_model
from genser.onnx_runtime import import_onnxruntime
from genser.training.calibration import Calibration, fit_in_domain_score

torch.set_num_threads(1)


def session_of(path):
    return import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_graph_has_the_promised_face(toys):
    session = session_of(toys.float32)
    inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
    assert inputs == {"waveform": ("tensor(float)", 2), "lengths": ("tensor(int64)", 1)}
    waveform = np.random.default_rng(0).standard_normal((3, 9_000)).astype(np.float32)
    optional = {node.name: node.type for node in session.get_overridable_initializers()}
    assert optional == {"shift": "tensor(float)"}
    outputs = session.run(None, {"waveform": waveform, "lengths": np.array([9_000, 400, 5_000])})
    shapes = {node.name: value.shape for node, value in zip(session.get_outputs(), outputs, strict=True)}
    assert shapes == {"scores": (3, 3), "trajectory": (3, 3, 3), "states": (3, 3, 64), "speech": (3,)} | {
        "features": (3, 3, 64)
    }


@settings(max_examples=12)
@given(st.lists(st.integers(400, 60_000), min_size=1, max_size=5), st.integers(0, 99))
def test_float32_equals_torch_at_any_length_and_batch(toys, lengths, seed):
    random = np.random.default_rng(seed)
    batch, sizes = padded([(0.1 * random.standard_normal(length)).astype(np.float32) for length in lengths])
    batch += np.where(np.arange(batch.shape[1]) < sizes[:, None], 0, 9).astype(np.float32)  # padding must not matter
    model = load_speech_model(load_model(toys.folder))
    wanted, found = run_model(model, batch, sizes), OnnxBackend(toys.float32).run(batch, sizes)
    for name in ("scores", "trajectory", "speech", "features"):  # the head enlarges rounding errors
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=5e-4)


def test_a_shift_moves_the_scores_of_the_graph_and_of_torch_alike(toys):
    random = np.random.default_rng(0)
    batch, sizes = padded([(0.1 * random.standard_normal(9_000)).astype(np.float32)] * 2)
    model, graph = load_speech_model(load_model(toys.folder)), OnnxBackend(toys.float32)
    plain = graph.run(batch, sizes)
    shift = random.standard_normal(plain.features.shape[1:]).astype(np.float32)
    moved = graph.run(batch, sizes, shift)
    np.testing.assert_allclose(moved.scores, run_model(model, batch, sizes, shift).scores, atol=1e-4)
    assert np.abs(moved.scores - plain.scores).max() > 1e-3
    np.testing.assert_array_equal(graph.run(batch, sizes, 0 * shift).scores, plain.scores)


@pytest.fixture(scope="module")
def wary(tmp_path_factory):
    """A model over gated statistics of levelled sound with an exponent for each clip, and its graph."""
    root, random = tmp_path_factory.mktemp("wary"), np.random.default_rng(0)
    pooling = Pooling(("speech-mean", "loud-mean", "std"), (1, 2), level=True)
    folder = toy_folder(root / "wary", pooling=pooling, gendered="flat")
    made = load_model(folder)
    model = load_speech_model(made)
    batch, sizes = padded([(0.1 * random.standard_normal(9_000)).astype(np.float32) for _ in range(40)])
    features = model.encoder(torch.from_numpy(batch), torch.from_numpy(sizes))
    fit_in_domain_score(made.head, features[:20], ["toy"] * 20)
    middle = float(made.head.in_domain.distance(features).median())
    Calibration(3.0, 0.5, middle, 9.0).apply(made.head)
    exponents = made.head.exponent(made.head.in_domain_score(features))
    assert exponents.min() < 1.5 < 2 < exponents.max()
    save_model(folder, made.head, made.encoder, made.fingerprint, gender=made.gender)
    path = export.export_onnx(folder, root / "wary.onnx").path
    return SimpleNamespace(model=load_speech_model(load_model(folder)), path=path, batch=batch, sizes=sizes)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-7, 1.0])
def test_silence_and_constants_have_scores(wary, value):
    batch, sizes = np.full((2, 9_000), value, np.float32), np.array([9_000, 400])
    wanted = run_model(wary.model, batch, sizes)
    np.testing.assert_allclose(OnnxBackend(wary.path).run(batch, sizes).scores, wanted.scores, atol=1e-4)


@pytest.mark.parametrize("seconds", [[0.5], [1.7, 0.3, 3.9]])
def test_gated_statistics_of_any_length_and_batch(wary, seconds):
    batch, sizes = padded([np.concatenate([hush(0.1), babble(length - 0.2), hush(0.1)]) for length in seconds])
    wanted, found = run_model(wary.model, batch, sizes), OnnxBackend(wary.path).run(batch, sizes)
    for name in ("scores", "states", "familiar", "gender"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-3)


def test_an_exponent_for_each_clip_is_in_the_graph(wary):
    """In-domain and other clips have different exponents, in torch and in the file alike."""
    wanted = run_model(wary.model, wary.batch, wary.sizes)
    found = OnnxBackend(wary.path).run(wary.batch, wary.sizes)
    for name in ("scores", "trajectory", "familiar"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-3)
    (prediction,) = genser.load(wary.path).predict_waveforms([wary.batch[0, :9_000]])
    assert prediction.to_dict()["familiar"] == pytest.approx(float(wanted.familiar[0]), abs=1e-3)
    assert prediction.speech is None


def test_gated_statistics_are_weighted_means_over_the_frames_of_the_file(wary):
    waveform = np.concatenate([babble(0.4), hush(0.3)])
    recognizer, encoder = genser.load(wary.path), wary.model.encoder
    states = recognizer.embed_frames((waveform, 16_000)).states
    batch, sizes = map(torch.from_numpy, padded([waveform]))
    expected, mask = frames(encoder, batch, sizes)
    assert states.shape == (35, 2, 64)
    np.testing.assert_allclose(states, expected[0].transpose(0, 1), atol=1e-3)
    weights = encoder._weights(batch, mask)["loud"][0]
    assert weights[22:].sum() < 0.01
    means = np.einsum("f,fsd->sd", weights, states)
    np.testing.assert_allclose(recognizer.embed([(waveform, 16_000)])[0, 2:4], means, atol=1e-3)


def test_a_shift_does_not_move_the_gender(wary):
    graph = OnnxBackend(wary.path)
    plain = graph.run(wary.batch[:2], wary.sizes[:2])
    shift = np.random.default_rng(0).standard_normal(plain.features.shape[1:]).astype(np.float32)
    moved = graph.run(wary.batch[:2], wary.sizes[:2], shift)
    assert np.abs(moved.scores - plain.scores).max() > 1e-3
    np.testing.assert_array_equal(moved.gender, plain.gender)
    assert np.ptp(plain.gender) > 1e-3


def test_the_file_answers_with_the_gender_if_asked(wary):
    recognizer = genser.load(wary.path, task="gender")
    wanted = run_model(wary.model, wary.batch, wary.sizes).gender
    np.testing.assert_allclose(recognizer.scores(list(wary.batch)), wanted, atol=1e-4)
    assert recognizer.labels == ("female", "male")


def test_int8_keeps_the_labels_and_is_smaller(toys):
    model, graph = load_speech_model(load_model(toys.folder)), OnnxBackend(toys.int8)
    parity = measure_parity(lambda *batch: run_model(model, *batch), graph.run, seed=7)
    assert parity.agreement >= 0.99
    assert 1e-6 < parity.difference <= 0.1
    assert parity.clips == sum(map(len, BATCHES)) + 1


def test_the_metadata_of_an_exported_file(toys):
    metadata = read_metadata(toys.int8)
    assert metadata["labels"] == list(LABELS)
    assert (metadata["precision"], metadata["license"], metadata["speech_threshold"]) == ("int8", "CC0", 0.5)
    assert metadata["fingerprint"] == load_model(toys.folder).fingerprint
    assert metadata["info"]["utterances"] == 12
    assert metadata["head"]["sampler"]["steps"] == 2


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_no_trace_of_the_maker_stays(toys, kind):
    content = getattr(toys, kind).read_bytes()
    for trace in (str(Path(export.__file__).parent), str(toys.folder.parent), "stack_trace", ".py"):
        assert trace.encode() not in content


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_the_graph_is_valid_onnx_with_one_operator_of_onnx_runtime(toys, kind):
    model = onnx.load(getattr(toys, kind))
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {"", "com.microsoft"}
    assert {node.op_type for node in model.graph.node if node.domain} == {"MultiHeadAttention"}


def test_a_graph_that_is_not_the_model_is_refused_and_leaves_no_file(toys, tmp_path, monkeypatch):
    proto = onnx.load(toys.float32)

    def altered(_model):
        for tensor in proto.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.size > 1000:
                tensor.CopyFrom(numpy_helper.from_array(values + np.float32(0.05), tensor.name))
        return proto

    monkeypatch.setattr(export, "_exported", altered)
    with pytest.raises(ModelError, match="differs from the model: over 13 clips"):
        export.export_onnx(toys.folder, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_where_the_export_fails(toys, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"before")

    def fail(_model):
        raise ModelError("cannot be traced")

    monkeypatch.setattr(export, "_exported", fail)
    with pytest.raises(ModelError, match="traced"):
        export.export_onnx(toys.folder, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"before"


def test_wrong_words_are_refused_before_any_work(toys, tmp_path):
    with pytest.raises(ConfigError, match="float16"):
        export.export_onnx(toys.folder, tmp_path / "m.onnx", "float16")
    with pytest.raises(ConfigError, match="does not exist"):
        export.export_onnx(toys.folder, tmp_path / "no" / "m.onnx")
    with pytest.raises(ModelError, match="not a model folder"):
        export.export_onnx(tmp_path, tmp_path / "m.onnx")


def test_a_missing_onnx_names_the_extra(toys, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match="train"):
        export.export_onnx(toys.folder, tmp_path / "m.onnx")


def test_a_model_that_cannot_be_traced_is_named(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("data-dependent")

    folder = toy_folder(tmp_path / "m")
    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ModelError, match=r"m-encoder cannot be exported by torch .*data-dependent"):
        export.export_onnx(folder, tmp_path / "m.onnx")


@pytest.mark.parametrize("field", ["difference", "agreement", "batch_difference"])
def test_parity_refuses_each_kind_of_distance(field):
    good = {"difference": 0.0, "agreement": 1.0, "batch_difference": 0.0, "clips": 5}
    Parity(**good).check("float32")
    with pytest.raises(ModelError):
        Parity(**good | {field: 0.9 if field == "agreement" else 0.11}).check("int8")


def test_parity_takes_not_a_number_for_far_away():
    def run(waveforms, _lengths):
        scores = np.full((len(waveforms), 2), np.nan)
        return ModelOutput(scores, scores, scores, None)

    with pytest.raises(ModelError):
        measure_parity(run, run, ((0.1,),)).check("int8", tolerance=1.0)


def linear(weight, scope="encoder"):
    """A graph x → x @ weight for x of shape (batch, frames, width)."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    node.metadata_props.add(key=SCOPES, value=f"['', '{scope}', '{scope}.layers.0', 'matmul']")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, ["batch", "frames", weight.shape[0]])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def product(model, x):
    return import_onnxruntime().InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 99), st.sampled_from([1e-30, 1e-3, 1.0, 1e4]))
def test_rows_of_any_scale_are_quantised_alone(batch, frames, seed, scale):
    random = np.random.default_rng(seed)
    weight = random.standard_normal((64, 80)).astype(np.float32)
    x = (scale * random.standard_normal((batch, frames, 64))).astype(np.float32)
    model = linear(weight)
    assert quantize_rows(model, "encoder") == 1
    found = product(model, x)
    size = np.abs(x).max(axis=2, keepdims=True) * np.abs(weight).max()
    assert np.all(np.abs(found - x @ weight) <= 0.02 * 8 * size + 1e-20)
    np.testing.assert_array_equal(found[:1, :1], product(model, x[:1, :1]))


def test_rows_of_zeros_stay_zeros():
    model = linear(np.ones((64, 64), np.float32))
    quantize_rows(model, "encoder")
    np.testing.assert_array_equal(product(model, np.zeros((1, 2, 64), np.float32)), 0)


@given(seed=st.integers(0, 10_000), spread=st.floats(0.0, 3.0), rows=st.integers(64, 97))
@settings(max_examples=30, deadline=None)
def test_two_products_of_bytes_fit_into_sixteen_bits(seed, spread, rows):
    """As processors without VNNI add them: the largest byte of an activation times two weights under each other."""
    random = np.random.default_rng(seed)
    model = linear(
        (random.standard_normal((rows, 64)) * np.exp(spread * random.standard_normal((rows, 1)))).astype("f")
    )
    quantize_rows(model, "encoder")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (matrix,) = (tensor.astype(int) for tensor in weights.values() if tensor.dtype == np.int8)
    pairs = np.abs(matrix[: rows // 2 * 2]).reshape(-1, 2, 64).sum(axis=1)
    assert 255 * pairs.max() <= np.iinfo(np.int16).max
    assert np.maximum(pairs.max(axis=0), np.abs(matrix).max(axis=0)).min() >= 126  # and no bit is given away


def test_only_large_matrices_of_the_named_part_are_quantised():
    assert quantize_rows(linear(np.ones((64, 64), np.float32), scope="head"), "encoder") == 0
    assert quantize_rows(linear(np.ones((4, 4), np.float32)), "encoder") == 0


def test_halving_changes_no_number_and_leaves_what_does_not_fit():
    random = np.random.default_rng(0)
    exact = random.standard_normal((64, 80)).astype(np.float16).astype(np.float32)
    for weight, halved in ((exact, 1), (random.standard_normal((64, 80)).astype(np.float32), 0), (exact * 1e5, 0)):
        model = linear(weight)
        x = random.standard_normal((1, 3, 64)).astype(np.float32)
        wanted = product(model, x)
        assert halve_exactly(model) == halved
        np.testing.assert_array_equal(product(model, x), wanted)


def test_the_default_of_an_input_is_not_halved():
    """A profile's shift of many features is zeros, which float16 holds, and has the type that the input declares."""
    model = linear(np.zeros((64, 80), np.float32))
    (weight,) = model.graph.initializer
    model.graph.input.append(helper.make_tensor_value_info(weight.name, onnx.TensorProto.FLOAT, weight.dims))
    assert halve_exactly(model) == 0


def test_the_command_writes_a_file_that_the_library_loads(tmp_path, capsys, monkeypatch, toys):
    from genser.cli.export import export as command

    proto = onnx.load(toys.float32)
    del proto.metadata_props[:]
    monkeypatch.setattr(export, "_exported", lambda _model: proto)
    (tmp_path / "card.md").write_text("# Toy\n")
    assert command(toys.folder, output=tmp_path / "m.onnx", card=tmp_path / "card.md") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "100 % of the labels agree" in said.err
    assert read_metadata(tmp_path / "m.onnx")["card"] == "# Toy\n"
    assert json.dumps(read_metadata(tmp_path / "m.onnx"))


@pytest.mark.parametrize(("kind", "second"), [("ridge", "network"), ("network", "regression")])
def test_heads_without_transport_can_be_exported_and_used(tmp_path, kind, second):
    prior = 16.0 if kind == "ridge" else 0.0
    folder = toy_folder(tmp_path / "m", kind=kind, gendered=second, ridge_prior=prior, exponent=2.0)
    path = export.export_onnx(folder, tmp_path / "m.onnx").path
    assert measure_parity(OnnxBackend(path, 1).run, load_backend(path).run, ((0.5,), (1.0, 2.2))).difference < 1e-5
    waveform = (0.1 * np.random.default_rng(0).standard_normal(9_000)).astype(np.float32)
    for task in ("emotion", "gender"):
        recognizer, expected = genser.load(path, task=task), genser.load(folder, task=task)
        np.testing.assert_allclose(recognizer.scores([waveform]), expected.scores([waveform]), atol=1e-4)
        assert recognizer.trajectory(waveform) is recognizer.states(waveform) is None


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("self_attn.v_proj", {0, 1}),
        ("attention.q_proj", {0, 1}),
        ("fc2", {0, 1}),
        ("feed_forward.output_dense", {0, 1}),
        ("fc1", set()),
        ("feed_forward.intermediate_dense", set()),
    ],
)
@pytest.mark.parametrize("path", ["layers.{}", "layers.slice(None, -1, None).{}"])
def test_what_later_layers_build_on_stays_exact(module, spared, path):
    for layer in (0, 1, 2, 3, 10, 12, 21):
        scope = f"encoder', 'encoder.encoder.{path.format(layer)}.{module}"
        found = quantize_rows(linear(np.ones((64, 64), np.float32), scope=scope), "encoder")
        assert found == (layer not in spared), layer


def names_of(module):
    return {name for name, part in module.named_modules() if isinstance(part, torch.nn.Linear) and SPARED.search(name)}


def test_the_spared_modules_exist_in_whisper():
    encoder = WhisperEncoder(WhisperConfig(dim=64, layers=4, heads=1, inner=96))
    attention = {f"layers.{layer}.self_attn.{part}_proj" for layer in (0, 1) for part in ("q", "k", "v", "out")}
    assert names_of(encoder) == attention | {f"layers.{layer}.fc2" for layer in (0, 1)}


def test_the_spared_modules_exist_in_hubert():
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
    model = transformers.HubertModel(transformers.HubertConfig(**size, num_conv_pos_embedding_groups=2))
    parts = ("q_proj", "k_proj", "v_proj", "out_proj")
    attention = {f"encoder.layers.{layer}.attention.{part}" for layer in (0, 1) for part in parts}
    assert names_of(model) == attention | {f"encoder.layers.{n}.feed_forward.output_dense" for n in (0, 1)}
