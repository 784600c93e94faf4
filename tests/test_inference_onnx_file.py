"""Metadata and checksum of ONNX files, in format 2 and in format 1."""

import hashlib
import json

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from genser.errors import ModelError
from genser.inference import onnx_file
from genser.inference.load import BUNDLED, MODELS
from genser.inference.onnx_file import FORMAT, read_metadata, sealed
from genser.onnx_runtime import import_onnxruntime

METADATA = {"labels": ["anger", "Überraschung"], "license": "terms", "head": {"exponent": 1.5}, "info": {"a": ['{"}']}}


def identity():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


GRAPH = identity()
SEALED = sealed(GRAPH, METADATA)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "refused.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"refused\.onnx"):
        read_metadata(path)


def test_metadata_is_read_back(path):
    path.write_bytes(SEALED)
    found = read_metadata(path)
    assert METADATA.items() <= found.items()
    assert found["format"] == FORMAT


def test_other_programs_read_the_metadata(path):
    path.write_bytes(SEALED)
    by_onnx = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    by_runtime = import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta()
    assert by_onnx == by_runtime.custom_metadata_map
    assert json.loads(by_onnx["genser"]) == read_metadata(path)


def test_metadata_that_are_nested_too_deep_are_refused(tmp_path_factory):
    start = SEALED.rfind(onnx_file.START)
    refused(tmp_path_factory, SEALED[:start] + onnx_file.START + b'{"a":' * 100_000)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_no_altered_byte_is_accepted(tmp_path_factory, place, change):
    content = bytearray(SEALED)
    content[place] ^= change
    refused(tmp_path_factory, content)


@given(st.integers(0, len(SEALED) - 1))
def test_no_cut_file_is_accepted(tmp_path_factory, size):
    refused(tmp_path_factory, SEALED[:size])


@given(st.binary(min_size=1, max_size=40))
def test_no_appended_bytes_are_accepted(tmp_path_factory, more):
    refused(tmp_path_factory, SEALED + more)


@given(st.binary(max_size=200))
def test_any_other_file_is_refused(tmp_path_factory, content):
    refused(tmp_path_factory, content)


@pytest.mark.parametrize(
    "changes", [{"labels": None}, {"labels": [["a"]]}, {"labels": "ab"}, {"speech_threshold": "x"}]
)
def test_unusable_metadata_with_a_right_checksum_is_refused(path, changes):
    path.write_bytes(sealed(GRAPH, METADATA | changes))
    with pytest.raises(ModelError, match=r"The metadata of .*model\.onnx"):
        read_metadata(path)


@pytest.mark.parametrize("content", [SEALED + SEALED, SEALED + GRAPH, GRAPH + SEALED[:-64], SEALED[:-200] + SEALED])
def test_joined_files_are_refused(tmp_path_factory, content):
    refused(tmp_path_factory, content)


def test_an_altered_file_is_named(path):
    path.write_bytes(SEALED.replace(b"terms", b"tarms"))
    with pytest.raises(ModelError, match="was changed or cut short: its checksum differs"):
        read_metadata(path)


def test_a_model_of_another_program_is_named(path):
    path.write_bytes(GRAPH)
    with pytest.raises(ModelError, match="has no genser metadata"):
        read_metadata(path)


def test_a_missing_file_is_named(path):
    with pytest.raises(ModelError, match="does not exist"):
        read_metadata(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("format", [0, 3, "1", None])
def test_an_unknown_format_is_named_with_both_versions(path, format, monkeypatch):
    monkeypatch.setattr(onnx_file, "FORMAT", format)
    monkeypatch.setattr(onnx_file, "__version__", "9.9")
    path.write_bytes(sealed(GRAPH, METADATA))
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"made by genser 9\.9 in format .*\. This is genser"):
        read_metadata(path)


@pytest.mark.parametrize("model", BUNDLED)
def test_a_bundled_file_is_read_and_its_checksum_kept(model, path):
    content = (MODELS / f"{model}.onnx").read_bytes()
    path.write_bytes(content)
    metadata = read_metadata(path)
    assert metadata["format"] == FORMAT
    assert len(metadata["labels"]) == 7
    end = content.rfind(b"\n\x06genser")
    for place in (0, 1000, len(content) // 2, end - 8, end + 100, len(content) - 100):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ModelError):
            read_metadata(path)
    for changed in (content[:-1], content[:end], content + b"\x00"):
        path.write_bytes(changed)
        with pytest.raises(ModelError):
            read_metadata(path)


def test_a_file_of_format_1_is_read_and_its_checksum_kept(path):
    """Its one entry holds the digest of the graph and of the other values, with sorted keys."""
    plain = {**METADATA, "format": 1, "genser": "0.1.0"}
    digest = hashlib.sha256(GRAPH + json.dumps(plain, sort_keys=True).encode()).hexdigest()
    entry = onnx.ModelProto()
    entry.metadata_props.add(key="genser", value=json.dumps({**plain, "checksum": digest}))
    content = GRAPH + entry.SerializeToString()
    path.write_bytes(content)
    assert read_metadata(path)["format"] == 1
    for changed in (content[:-1], content + b"\x00", content.replace(b'"checksum"', b'"checksun"'), b"\x00" + content):
        path.write_bytes(changed)
        with pytest.raises(ModelError):
            read_metadata(path)
