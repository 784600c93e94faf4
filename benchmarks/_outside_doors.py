"""Doors to what other people's systems make: profiles over HTTP, answers of peers, and models of the hub.

An input that stands for several files or replies holds them one after the other, with a line of ``--`` between two.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import _doors
import numpy as np
import soundfile
from _doors import Connection, Door, Refused, fixed, refusing
from _model import clip_of

BREAK = b"\n--\n"
CLASSES = ("anger", "happiness", "sadness", "neutral")
HEAD = b"HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"


def sound(seconds: float = 0.3) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, clip_of(seconds), 16_000, format="FLAC")
    return file.getvalue()


def form(**files: bytes) -> bytes:
    """The head and the body of a request with files."""
    parts = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n%s\r\n' % (name.encode(), content)
        for name, content in files.items()
    )
    body = parts + b"--b--\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(body)
    return HEAD + kind + body


@cache
def profile_of_tiny() -> bytes:
    import genser
    from genser.inference.profile import Profile, features_id, training_mean

    metadata = genser.load("tiny", threads=1).metadata
    shift = np.full(training_mean(metadata).shape, 0.01, np.float32)
    return json.dumps(Profile(features_id(metadata), shift, 20, 61.5).to_dict(), indent=1).encode()


def profile_requests(_folder: Path) -> list[bytes]:
    clip = sound()
    raw = b"Content-Length: %d\r\n\r\n" % len(clip) + clip
    return [
        b"POST /v1/predict?trajectory=true " + form(file=clip, profile=profile_of_tiny()),
        b"POST /v1/profile " + HEAD + raw,
        b"POST /v1/profile?channel=each " + form(file=clip),
        b"POST /v1/segments " + form(profile=profile_of_tiny(), file=clip),
    ]


def answered(connection: Connection, request: bytes) -> None:
    """Send a request; 500 is a fault, and anything but success a refusal."""
    answer = connection.exchange(request)
    if b"HTTP/1.1 500" in answer:
        raise AssertionError(answer[:300])
    if not answer[9:12].startswith(b"2"):
        raise Refused


def profile_http(_folder: Path) -> Callable[[bytes], Any]:
    connection = Connection()
    return lambda data: answered(connection, data)


def profile_part(_folder: Path) -> Callable[[bytes], Any]:
    """A profile in a request that is otherwise good."""
    connection, clip = Connection(), sound(0.1)
    return lambda data: answered(connection, b"POST /v1/predict " + form(file=clip, profile=data))


ANSWERS = ("Anger.", "**Sadness**\n\nThe voice is low.", "<|HAPPY|><|Speech|>so good", "生气/angry", "happy, not sad")


def free_answer(folder: Path) -> Callable[[bytes], Any]:
    """What a prompted model or SenseVoice says: the class in it, its score, and its line in the file of answers."""
    from genser.peers.funasr_models import TAGS, read_tags
    from genser.peers.mapping import ClassMapping
    from genser.peers.peer import PeerInfo
    from genser.peers.prompts import read_answer
    from genser.peers.scoring import AnswerFile

    info = PeerInfo("toy", "none", "none", "none")

    def work(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for answer, classes in ((read_answer(text, CLASSES), CLASSES), (read_tags(text), TAGS)):
            ClassMapping.of(classes, CLASSES).probabilities([answer])
            with AnswerFile.open(folder, info) as file:
                file.add("a", None, answer)
            kept = AnswerFile.open(folder, info)
            assert kept.find("a", None) == answer, "the file of answers holds another one"
            assert kept.path
            kept.path.unlink()

    return work


def reply(body: Any, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n") -> bytes:
    content = json.dumps(body).encode()
    return head + b"Content-Length: %d\r\n\r\n" % len(content) + content


def service_replies(_folder: Path) -> list[bytes]:
    strengths = [{"name": "Joy", "score": 0.4}, {"name": "Anger", "score": 0.1}]
    groups = [{"id": "unknown", "predictions": [{"text": "hm", "emotions": strengths}]}]
    predictions = [{"results": {"predictions": [{"models": {"prosody": {"grouped_predictions": groups}}}]}}]
    return [
        reply({"choices": [{"message": {"role": "assistant", "content": "anger"}}]}),
        reply({"candidates": [{"content": {"parts": [{"text": "sad"}, {"text": "ness"}]}}]}),
        BREAK.join((reply({"job_id": "12-ab"}), reply({"state": {"status": "COMPLETED"}}), reply(predictions))),
        reply({"error": {"message": "no"}}, b"HTTP/1.1 403 Forbidden\r\n"),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{"job_id": "1-a"}\r\n0\r\n\r\n',
    ]


class Answering(socket.socket):
    """A connection whose other end has already answered."""

    def setsockopt(self, *_: Any) -> None:
        """Options of TCP."""


@contextlib.contextmanager
def answering(replies: Iterator[bytes]) -> Iterator[None]:
    """Let every connection of this process end at one that gives the next reply."""
    real, others = socket.create_connection, []

    def connected(*_: Any, **__: Any) -> socket.socket:
        ours, other = socket.socketpair()
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            other.send(next(replies))
        other.shutdown(socket.SHUT_WR)
        others.append(other)
        return Answering(fileno=ours.detach())

    socket.create_connection = connected
    try:
        yield
    finally:
        socket.create_connection = real
        for other in others:
            other.close()


def service(_folder: Path) -> Callable[[bytes], Any]:
    """What a hosted system answers, from its status line on."""
    from genser.peers import hosted
    from genser.peers.catalog import catalog
    from genser.peers.peer import PeerRequest

    hosted.PAUSE, hosted.TIMEOUT = 0.0, 0.2
    makes = {b"choices": hosted.openai, b"candidates": hosted.gemini, b"": hosted.hume}
    names = {hosted.openai: "openai", hosted.gemini: "gemini", hosted.hume: "hume"}
    for name in names.values():
        os.environ[catalog()[name].key] = "key"
    clip = clip_of(0.05)

    def work(data: bytes) -> None:
        make = next(made for word, made in makes.items() if word in data)
        request = PeerRequest(names[make], "model", "none", "emotion", CLASSES, url="http://127.0.0.1:9")
        replies = data.split(BREAK)
        with answering(iter([*replies, *[replies[-1]] * 100_000])):
            answer = make(request)(clip)
        assert all(isinstance(score, float) for score in answer.scores.values())

    return refusing(work)


WAVE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WAVE |= {"conv_dim": (8, 8), "conv_stride": (20, 16), "conv_kernel": (20, 16), "num_feat_extract_layers": 2}
WAVE |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
SMALL_WHISPER = {"d_model": 64, "encoder_layers": 1, "encoder_attention_heads": 1, "encoder_ffn_dim": 64}
SMALL_WHISPER |= {"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 16, "vocab_size": 60}
SMALL_WHISPER |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
FAMILIES = ("hubert", "wavlm", "whisper")
FILES = ("config.json", "preprocessor_config.json")


@cache
def hub_folders() -> dict[str, dict[str, bytes]]:
    """The files of a small classifier of each family, as it is published on the hub."""
    import transformers

    found = {}
    for family in FAMILIES:
        is_whisper = family == "whisper"
        sizes: dict[str, Any] = SMALL_WHISPER if is_whisper else WAVE
        config = transformers.AutoConfig.for_model(family, **sizes, id2label=dict(enumerate(CLASSES)), label2id={})
        extractor = transformers.WhisperFeatureExtractor if is_whisper else transformers.Wav2Vec2FeatureExtractor
        with TemporaryDirectory(prefix="genser-fuzz-") as folder:
            transformers.AutoModelForAudioClassification.from_config(config).save_pretrained(folder)
            extractor().save_pretrained(folder)
            found[family] = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return found


def hub_texts(_folder: Path) -> list[bytes]:
    """The family and both configurations of each folder; the last one also has an index of its weights."""
    texts = [BREAK.join((family.encode(), *map(files.__getitem__, FILES))) for family, files in hub_folders().items()]
    return [*texts, texts[-1] + BREAK + b'{"weight_map": {"a": "model.safetensors"}}']


def hub_weights(_folder: Path) -> list[bytes]:
    return [files["model.safetensors"] for files in hub_folders().values()]


def use_hub_folder(path: Path, family: str) -> None:
    """Load a folder as an encoder and as a classifier, and give both a clip."""
    from genser.encoders import EncoderConfig, encode, load_encoder
    from genser.peers.audio_classifier import load
    from genser.peers.peer import PeerRequest

    encoder = load_encoder(EncoderConfig("whisper" if family == "whisper" else "hubert", str(path)))
    with contextlib.suppress(RuntimeError):  # its callers take it for a problem of the clip
        encode(encoder, [clip_of(0.5)])
    peer = load(PeerRequest("toy", str(path), "none", "emotion", CLASSES))
    with contextlib.suppress(Exception):  # likewise
        peer(clip_of(0.5))


def quiet_transformers() -> None:
    from transformers.utils import logging as messages

    messages.set_verbosity(logging.CRITICAL)
    messages.disable_progress_bar()


def hub_config(folder: Path) -> Callable[[bytes], Any]:
    """A folder with damaged configurations and good weights."""
    quiet_transformers()

    def work(data: bytes) -> None:
        name, *texts = data.split(BREAK)
        family = name.decode("ascii", "replace")
        family = family if family in FAMILIES else FAMILIES[len(data) % len(FAMILIES)]
        path = folder / family
        path.mkdir(exist_ok=True)
        has_index = len(texts) > len(FILES)
        for file, content in hub_folders()[family].items():
            (path / file).write_bytes(content)
        for file, content in zip((*FILES, "model.safetensors.index.json"), texts, strict=False):
            (path / file).write_bytes(content)
        if has_index:
            (path / "model.safetensors").rename(path / "shard.safetensors")
        use_hub_folder(path, family)

    return refusing(work)


def hub_tensors(folder: Path) -> Callable[[bytes], Any]:
    """A folder with damaged weights and a good configuration."""
    quiet_transformers()

    def work(data: bytes) -> None:
        family = next((name for name in FAMILIES if name.encode() in data[:4096]), "whisper")
        path = folder / family
        path.mkdir(exist_ok=True)
        for file, content in hub_folders()[family].items():
            (path / file).write_bytes(content)
        (path / "model.safetensors").write_bytes(data)
        use_hub_folder(path, family)

    return refusing(work)


def own_weights(_folder: Path) -> list[bytes]:
    return [content for name, content in _doors.toy()[1].items() if name == "head.safetensors"]


def own_model(folder: Path) -> Callable[[bytes], Any]:
    """A model folder of genser from the hub with damaged weights and right checksums, as a hostile one would have."""
    import genser
    from genser.model.folder import _checksum

    path, encoder = folder / "model", folder / "encoder.safetensors"
    path.mkdir()
    encoder.write_bytes(_doors.toy()[2])
    for name, content in _doors.toy()[1].items():
        (path / name).write_bytes(content)
    clip = clip_of(0.5)

    def work(data: bytes) -> None:
        config = json.loads(_doors.toy()[1]["config.json"])
        config["files"]["head.safetensors"] = hashlib.sha256(data).hexdigest()
        (path / "head.safetensors").write_bytes(data)
        (path / "config.json").write_text(json.dumps({**config, "checksum": _checksum(config)}), "utf-8")
        json.dumps(genser.load(path, threads=1, encoder=f"whisper:{encoder}").predict((clip, 16_000)).to_dict())

    return refusing(work)


OUTSIDE = (
    Door("HTTP profiles", 1, False, profile_requests, profile_http),
    Door("profile of a request", 1, True, lambda _: [profile_of_tiny()], profile_part),
    Door("answers of prompted models", 1, True, fixed(*ANSWERS), free_answer),
    Door("answers of services", 1, True, service_replies, service),
    Door("hub configurations", 0.3, True, hub_texts, hub_config),
    Door("hub weights", 0.3, False, hub_weights, hub_tensors),
    Door("hub model weights", 0.3, False, own_weights, own_model),
)
