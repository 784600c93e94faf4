"""Metadata and checksum of a model in one ONNX file.

Two entries of ``metadata_props`` lie behind the finished graph. ``genser`` holds JSON. The last, ``genser.sha256``,
holds the SHA-256 of all bytes before its value. Protobuf allows fields to be appended, so every ONNX tool can read the
file. Here both are read from the end of the file, without protobuf: ``get_modelmeta()`` of ONNX Runtime needs a
session, which takes several times as long as reading and hashing 40 MB.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from genser._version import __version__
from genser.errors import ModelError, cause

FORMAT = 2
KEY, SEAL_KEY = "genser", "genser.sha256"
START = b"\n\x06genser\x12"
"""Key of the JSON entry, and the field number of its value. JSON escapes control characters, so it never holds this."""
SEAL = b"r\x51\n\x0dgenser.sha256\x12\x40"
"""Bytes of the last entry before its value of 64 digits."""
DIGITS = 64
EXPORT_AGAIN = "Export the model again with: genser export"


def sealed(graph: bytes, metadata: dict[str, Any]) -> bytes:
    """Append metadata and checksum to a serialised graph.

    Args:
        graph: A serialised ``ModelProto``.
        metadata: JSON values; the format and the version of genser are added.

    Returns:
        Content of an ONNX file.
    """
    from onnx import ModelProto

    entries = ModelProto()
    text = json.dumps({"format": FORMAT, "genser": __version__, **metadata}, ensure_ascii=False)
    entries.metadata_props.add(key=KEY, value=text)
    entries.metadata_props.add(key=SEAL_KEY, value="0" * DIGITS)
    content = graph + entries.SerializeToString(deterministic=True)[:-DIGITS]
    return content + hashlib.sha256(content).hexdigest().encode()


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata of an ONNX file, and check that the file is complete and unaltered.

    Raises:
        ModelError: As :func:`read_checked`.
    """
    return read_checked(path)[1]


def read_checked(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Read an ONNX file, its content and its metadata, and check that it is complete and unaltered.

    Raises:
        ModelError: The file is missing, was not made by genser, was cut short or changed, or has an unknown format.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"The model file {path} does not exist. Check the path.") from error
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be read: {cause(error)}. Check it, or copy it again."
        ) from error
    metadata, end = _json_entry(content, path)
    if metadata.get("format") == 1:
        is_whole = end == len(content) and _digest_1(content, metadata) == metadata.get("checksum")
    else:
        is_whole = content[end:-DIGITS] == SEAL and (
            hashlib.sha256(memoryview(content)[:-DIGITS]).hexdigest().encode() == content[-DIGITS:]
        )
    if not is_whole:
        raise ModelError(f"{path} was changed or cut short: its checksum differs. Copy it again. {EXPORT_AGAIN}.")
    if metadata.get("format") not in (1, FORMAT):
        raise ModelError(
            f"{path} was made by genser {metadata.get('genser')} in format {metadata.get('format')}. This is genser "
            f"{__version__}, which reads formats 1 and {FORMAT}. Use that version of genser, or export the model again."
        )
    labels, threshold = metadata.get("labels"), metadata.get("speech_threshold")
    is_usable = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not is_usable or not isinstance(threshold, float | int | None):
        raise ModelError(f"The metadata of {path} holds no class names or a wrong threshold. {EXPORT_AGAIN}.")
    return content, metadata


def _json_entry(content: bytes, path: Path) -> tuple[dict[str, Any], int]:
    """JSON of the last entry ``genser``, and the position behind it."""
    entry = content.rfind(START)  # from the end, where it lies: a search from the front would take 15 ms for 20 MB
    start = content.find(b"{", entry)
    if min(entry, start) < 0:
        raise ModelError(f"{path} has no genser metadata: it was not made by genser, or was cut short. {EXPORT_AGAIN}.")
    try:
        text = content[start:].decode(errors="surrogateescape")
        metadata, length = json.JSONDecoder().raw_decode(text)
        return metadata, start + len(text[:length].encode(errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The metadata of {path} was changed or cut short ({error}). Copy the file again.") from error


def _digest_1(content: bytes, metadata: dict[str, Any]) -> str:
    """Checksum of format 1: of the graph, and of the JSON of the one entry behind it, with sorted keys."""
    key = content.rfind(START)
    length = len(content) - key
    graph = key - 1 - (length.bit_length() + 6) // 7  # the entry begins with its field number and its length
    digest = hashlib.sha256(memoryview(content)[:graph])
    plain = {name: value for name, value in metadata.items() if name != "checksum"}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    return digest.hexdigest()
