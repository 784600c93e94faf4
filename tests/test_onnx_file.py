import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genser.errors import ModelError
from genser.inference import onnx_file
from genser.inference.onnx_file import read_metadata, sealed

GRAPH = bytes([0x08, 0x0A, 0x12, 0x03]) + b"abc" + bytes([0x3A, 0x04]) + b"gggg"  # ir_version, producer, graph
METADATA = {"labels": ["anger", "Überraschung"], "license": "terms", "head": {"power": 1.5}}
SEALED = sealed(GRAPH, METADATA)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def test_what_is_sealed_is_read(path):
    path.write_bytes(SEALED)
    found = read_metadata(path)
    assert METADATA.items() <= found.items()
    assert found["format"] == onnx_file.FORMAT


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_no_altered_byte_goes_unnoticed(tmp_path_factory, place, change):
    content = bytearray(SEALED)
    content[place] ^= change
    path = tmp_path_factory.getbasetemp() / "altered.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        read_metadata(path)


@given(st.integers(0, len(SEALED) - 1))
def test_no_cut_goes_unnoticed(tmp_path_factory, size):
    path = tmp_path_factory.getbasetemp() / "cut.onnx"
    path.write_bytes(SEALED[:size])
    with pytest.raises(ModelError):
        read_metadata(path)


@given(st.binary(min_size=1, max_size=40))
def test_nothing_is_added_unnoticed(tmp_path_factory, more):
    path = tmp_path_factory.getbasetemp() / "longer.onnx"
    path.write_bytes(SEALED + more)
    with pytest.raises(ModelError):
        read_metadata(path)


@given(st.binary(max_size=200))
def test_any_other_file_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"other\.onnx"):
        read_metadata(path)


def test_altered_metadata_is_named_so(path):
    path.write_bytes(SEALED.replace(b"terms", b"tarms"))
    with pytest.raises(ModelError, match="was altered after it was exported: its checksum differs"):
        read_metadata(path)


def test_a_second_seal_is_refused(path):
    path.write_bytes(SEALED + sealed(GRAPH, METADATA))
    with pytest.raises(ModelError, match="something was added"):
        read_metadata(path)


def test_a_foreign_model_is_named_so(path):
    path.write_bytes(GRAPH)
    with pytest.raises(ModelError, match="carries no genser metadata"):
        read_metadata(path)


def test_a_missing_file_is_named(path):
    with pytest.raises(ModelError, match="does not exist"):
        read_metadata(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("format", [0, 2, "1", None])
def test_another_format_names_both_versions(path, format, monkeypatch):
    monkeypatch.setattr(onnx_file, "FORMAT", format)
    monkeypatch.setattr(onnx_file, "__version__", "9.9")
    path.write_bytes(sealed(GRAPH, METADATA))
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"made by genser 9\.9 in format .*; this is genser"):
        read_metadata(path)


def test_onnx_reads_the_entry_as_metadata(path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "g", [], [])
    content = sealed(onnx.helper.make_model(graph).SerializeToString(), METADATA)
    (entry,) = onnx.load_from_string(content).metadata_props
    assert json.loads(entry.value)["labels"] == METADATA["labels"]
