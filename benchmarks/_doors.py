"""The doors of genser through which data come that may be damaged or hostile, and good inputs for each."""

import asyncio
import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h11
import numpy as np
import soundfile
from _model import clip_of, random_model

from genser.errors import GenserError

ROOT = Path(__file__).parent.parent
CONTAINERS = {
    "wav": "-c:a pcm_s16le",
    "w64": "-c:a pcm_s16le",
    "flac": "",
    "ogg": "-c:a libvorbis",
    "opus": "-c:a libopus",
    "mp3": "",
    "m4a": "-c:a aac",
    "aac": "",
    "webm": "-c:a libopus",
    "mkv": "-c:a libvorbis",
    "aiff": "",
    "caf": "-c:a pcm_s16be",
    "au": "",
    "wma": "",
    "avi": "-c:a mp2",
    "amr": "-ar 8000 -c:a libopencore_amrnb",
    "ts": "-c:a aac",
    "3gp": "-c:a aac",
}
SOUNDFILE = ("WAV", "FLAC", "OGG", "AIFF", "CAF", "AU", "W64", "RF64", "NIST", "VOC", "MP3")


class Refused(Exception):
    """The input was refused as it should be."""


@dataclass(frozen=True)
class Door:
    """A way for data into genser.

    Attributes:
        name: Name.
        weight: Share of the cases, in %.
        text: Whether the data are text.
        seeds: Makes good inputs; it may use a folder.
        prepare: Makes the function that takes an input; it may use a folder.
    """

    name: str
    weight: float
    text: bool
    seeds: Callable[[Path], list[bytes]]
    prepare: Callable[[Path], Callable[[bytes], Any]]


def refusing(work: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Call a function; the errors that genser raises for users are refusals."""

    def call(data: bytes) -> Any:
        try:
            return work(data)
        except GenserError as error:
            raise Refused from error

    return call


def fixed(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda _folder: [text.encode() for text in texts]


def sounds(_folder: Path) -> list[bytes]:
    """A short clip in every container that libsndfile and, if it is installed, ffmpeg can write."""
    clip, found = clip_of(0.4), []
    for format in SOUNDFILE:
        file = io.BytesIO()
        with contextlib.suppress(soundfile.LibsndfileError, ValueError):
            soundfile.write(file, clip, 16_000, format=format)
            found.append(file.getvalue())
    if shutil.which("ffmpeg"):
        _folder = Path(_folder)
        soundfile.write(_folder / "seed.wav", clip, 16_000)
        for ending, options in CONTAINERS.items():
            target = _folder / f"seed.{ending}"
            line = ["ffmpeg", "-v", "quiet", "-y", "-i", str(_folder / "seed.wav"), *options.split(), str(target)]
            if subprocess.run(line).returncode == 0:
                found.append(target.read_bytes())
    return found


def audio(_folder: Path) -> Callable[[bytes], Any]:
    from genser.audio import AudioLimits, load_audio, stream_audio

    logging.getLogger("libav").setLevel(logging.CRITICAL)
    limits = AudioLimits(max_duration=60.0)

    def work(data: bytes) -> None:
        if len(data) % 2:
            load_audio(data, limits=limits)
        else:
            for _ in stream_audio(io.BytesIO(data), limits=limits):
                pass

    return refusing(work)


def in_file(ending: str, read: Callable[[Path], Any]) -> Callable[[Path], Callable[[bytes], Any]]:
    """A door that reads a file."""

    def prepare(folder: Path) -> Callable[[bytes], Any]:
        path = folder / f"input{ending}"

        def work(data: bytes) -> None:
            path.write_bytes(data)
            read(path)

        return refusing(work)

    return prepare


def turns(path: Path) -> None:
    from genser.segments.turns import read_turns

    read_turns(path, "talk")


def table(path: Path) -> None:
    from genser.data.tables import read_table

    read_table(path)


def manifest(path: Path) -> None:
    from genser.data.manifest import read_manifest

    read_manifest(path, check_files=False)


def recipe(path: Path) -> None:
    from genser.training.recipe import load_recipe

    load_recipe(str(path))


def plan(path: Path) -> None:
    from genser.bench.plan import load_plan

    load_plan(str(path))


def profiles(folder: Path) -> list[bytes]:
    from genser.inference.profile import Profile

    Profile("0" * 16, np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), 20, 61.5).save(folder / "seed.json")
    return [(folder / "seed.json").read_bytes()]


def profile(path: Path) -> None:
    from genser.inference.profile import Profile

    learned = Profile.load(path)
    assert learned.to_dict()["clips"] == learned.clips


def times(_folder: Path) -> Callable[[bytes], Any]:
    from genser.data.times import seconds

    return refusing(lambda data: seconds(data.decode("utf-8", "surrogateescape")))


def override(_folder: Path) -> Callable[[bytes], Any]:
    """A setting of a recipe from the command line, ``key=value``."""
    from genser.training.recipe import load_recipe

    def work(data: bytes) -> None:
        key, _, value = data.decode("utf-8", "surrogateescape").partition("=")
        load_recipe("paper", {key: value})

    return refusing(work)


def parquet(_folder: Path) -> list[bytes]:
    from genser.data.tables import encode_table

    rows = [{"path": f"{n}.wav", "label": "anger", "start": 0.5, "speaker": None} for n in range(3)]
    return [encode_table(["path", "label", "start", "speaker"], rows, ".parquet")]


@cache
def toy() -> tuple[bytes, dict[str, bytes], bytes]:
    """A small model as an ONNX file, the files of its folder, and the weights of its encoder."""
    with tempfile.TemporaryDirectory(prefix="genser-fuzz-") as folder:
        path = random_model(Path(folder) / "model.onnx", toy=True)
        files = {file.name: file.read_bytes() for file in path.with_suffix("").iterdir() if file.is_file()}
        return path.read_bytes(), files, path.with_suffix(".safetensors").read_bytes()


def model_files(_folder: Path) -> list[bytes]:
    return [toy()[0]]


def model_file(folder: Path) -> Callable[[bytes], Any]:
    """An ONNX file whose checksum is right, as a hostile one's would be."""
    import genser
    from genser.inference.onnx_file import DIGITS

    path, clip = folder / "hostile.onnx", clip_of(0.5)

    def work(data: bytes) -> None:
        content = data[:-DIGITS]
        path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
        genser.load(path, threads=1).predict((clip, 16_000))

    return refusing(work)


def model_metadata(folder: Path) -> list[bytes]:
    from genser.inference.onnx_file import read_metadata

    path = folder / "model.onnx"
    path.write_bytes(toy()[0])
    return [json.dumps(read_metadata(path)).encode()]


def metadata(folder: Path) -> Callable[[bytes], Any]:
    """The JSON in an ONNX file with a right checksum."""
    import genser
    from genser.inference.onnx_file import KEY, SEAL, START

    graph = toy()[0]
    graph = graph[: graph.rfind(START) - 3]
    path, clip = folder / "hostile.onnx", clip_of(0.5)

    def field(number: int, content: bytes) -> bytes:
        length, size = bytearray(), len(content)
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + content

    def work(data: bytes) -> None:
        content = graph + field(14, field(1, KEY.encode()) + field(2, data)) + SEAL
        path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
        recognizer = genser.load(path, threads=1)
        list(recognizer.predict_many([(clip, 16_000)]))
        json.dumps(recognizer.predict((clip, 16_000)).to_dict())

    return refusing(work)


def model_configs(_folder: Path) -> list[bytes]:
    return [toy()[1]["config.json"]]


def model_config(folder: Path) -> Callable[[bytes], Any]:
    """The configuration of a model folder, with a right checksum where it is still JSON."""
    from genser.model.folder import _checksum, load_model

    path = folder / "model"
    path.mkdir()
    for name, content in toy()[1].items():
        (path / name).write_bytes(content)

    def work(data: bytes) -> None:
        with contextlib.suppress(ValueError, RecursionError):
            config = json.loads(data)
            if isinstance(config, dict):
                data = json.dumps({**config, "checksum": _checksum(config)}).encode()
        (path / "config.json").write_bytes(data)
        load_model(path)

    return refusing(work)


def weights(_folder: Path) -> list[bytes]:
    return [toy()[2], toy()[2][:200_000]]


def encoder_weights(folder: Path) -> Callable[[bytes], Any]:
    from genser.encoders import EncoderConfig, load_encoder

    path = folder / "encoder.safetensors"

    def work(data: bytes) -> None:
        path.write_bytes(data)
        load_encoder(EncoderConfig("whisper", str(path)))

    return refusing(work)


class Pipe:
    """A transport that keeps what a server writes."""

    def __init__(self) -> None:
        self.written, self.closed, self.protocol = bytearray(), False, None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 9), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection:
    """A server in this process, without sockets: one connection for each call."""

    def __init__(self) -> None:
        import uvicorn
        from uvicorn.server import ServerState

        import genser
        from genser.serving.app import create_app
        from genser.serving.config import ServerConfig
        from genser.serving.connection import StreamProtocol, TimedProtocol

        logging.disable(logging.CRITICAL)
        settings = {"max_bytes": 1 << 22, "max_recording_bytes": 1 << 22, "max_duration": 20.0, "max_recording": 60.0}
        self.app = create_app(ServerConfig("tiny", **settings), genser.load("tiny", shared=True))
        self.app.state.service.batcher.start()
        self.config = uvicorn.Config(self.app, http=TimedProtocol, ws=StreamProtocol, log_config=None, lifespan="off")
        self.config.load()
        self.state, self.protocol = ServerState(), TimedProtocol
        self.loop = asyncio.new_event_loop()

    def exchange(self, *parts: bytes) -> bytes:
        """Send bytes in parts; return the answer."""
        return self.loop.run_until_complete(self._exchange(parts))

    async def _exchange(self, parts: tuple[bytes, ...]) -> bytes:
        pipe = Pipe()
        protocol = self.protocol(config=self.config, server_state=self.state, app_state={}, _loop=self.loop)
        protocol.connection_made(pipe)
        for part in parts:
            if part and not pipe.closed:  # a transport gives no empty bytes; h11 takes them for the end
                (pipe.protocol or protocol).data_received(part)
                await asyncio.sleep(0)
        current = pipe.protocol or protocol
        waits = current is protocol and protocol.conn.their_state is h11.SEND_BODY
        deadline = self.loop.time() + (0 if waits else 5)
        while self.state.tasks and not pipe.closed and self.loop.time() < deadline:
            await asyncio.sleep(0.002)
        current.connection_lost(None)
        if self.state.tasks:
            await asyncio.wait(set(self.state.tasks), timeout=5)
        if self.state.tasks:
            raise TimeoutError(f"{len(self.state.tasks)} tasks did not end with their connection")
        return bytes(pipe.written)


def requests(_folder: Path) -> list[bytes]:
    file = io.BytesIO()
    soundfile.write(file, clip_of(0.3), 16_000, format="FLAC")
    clip, head = file.getvalue(), b"HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n' + clip + b"\r\n"
    lines = (
        b'--b\r\nContent-Disposition: form-data; name="turns"; filename="a.csv"\r\n\r\nstart,end\r\n0,0.2\r\n--b--\r\n'
    )
    options = b"envelope=true&format=json&threshold=0.4&prior=anger:0.5,sadness:0.5"
    return [
        b"POST /v1/predict?start=0&end=1&trajectory=true " + head + b"Content-Length: %d\r\n\r\n" % len(clip) + clip,
        b"POST /v1/segments?" + options + b" " + head + b"Content-Length: %d\r\n\r\n" % len(clip) + clip,
        b"POST /v1/segments " + head + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: "
        b"%d\r\n\r\n" % len(form + lines) + form + lines,
        b"POST /v1/predict " + head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(clip) + clip + b"\r\n0\r\n\r\n",
        *(
            b"GET " + path + b" " + head + b"X-API-Key: x\r\n\r\n"
            for path in (b"/v1/models", b"/healthz", b"/metrics", b"/")
        ),
        b"OPTIONS /openapi.json " + head + b"Authorization: Bearer abc\r\nOrigin: http://127.0.0.1:8000\r\n\r\n",
    ]


def http(_folder: Path) -> Callable[[bytes], Any]:
    connection = Connection()

    def work(data: bytes) -> None:
        answer = connection.exchange(data)
        status = answer[9:12]
        if b"HTTP/1.1 500" in answer:
            raise AssertionError(answer[:300])
        if not status.startswith(b"2"):
            raise Refused

    return work


HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(content: bytes, code: int) -> bytes:
    """A frame of a client, masked by zeros."""
    size = len(content)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big") if size < 65_536 else b""
    return bytes([0x80 | code]) + (length or b"\xff" + size.to_bytes(8, "big")) + bytes(4) + content


def messages(_folder: Path) -> list[bytes]:
    sound = (8000 * np.sin(np.arange(4000))).astype("<i2").tobytes()
    return [b"\n--\n".join((start.encode(), sound, b'{"type": "stop"}')) for start in STARTS]


def websocket(_folder: Path) -> Callable[[bytes], Any]:
    connection = Connection()

    def work(data: bytes) -> None:
        first, *rest = data.split(b"\n--\n")
        frames = [frame(first, 1), *(frame(part, 1 if part[:1] == b"{" else 2) for part in rest)]
        if data and len(data) % 7 == 0:
            frames = [bytes([data[0] ^ 0x80]) + data[1:]]  # no frames at all
        answer = connection.exchange(HANDSHAKE, *frames, frame(b"", 8))
        if b'"status":500' in answer or b"HTTP/1.1 500" in answer:
            raise AssertionError(answer[-300:])
        if b'"error"' in answer:
            raise Refused

    return work


def start_message(_folder: Path) -> Callable[[bytes], Any]:
    from genser.serving.errors import Problem
    from genser.serving.live import parse_start

    def work(data: bytes) -> None:
        try:
            parse_start(data.decode("utf-8", "replace")).options()
        except (Problem, GenserError) as error:
            raise Refused from error

    return work


VERBS = ("predict", "info", "prepare", "export", "evaluate", "features", "train", "bench")


def command(folder: Path) -> Callable[[bytes], Any]:
    """A command line in an empty folder; names of files have no folder in them."""
    from cyclopts import CycloptsError

    from genser import cli
    from genser.cli._options import usage_message

    os.chdir(folder)

    def work(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape").replace("/", "").replace("\0", "").replace("~", "")
        tokens = [token for token in text.split(" ") if token not in ("..", "-", "--mic", "serve", "--microphone")]
        try:
            with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.redirect_stderr(io.StringIO()):
                cli.app(
                    ["predict" if tokens[:1] == [] else tokens[0], *tokens[1:]], exit_on_error=False, print_error=False
                )
        except CycloptsError as error:
            usage_message(error)
            raise Refused from error
        except OSError as error:
            raise Refused from error

    return refusing(work)


STARTS = (
    '{"type": "start", "encoding": "s16le", "sample_rate": 16000}',
    '{"type": "start", "encoding": "f32le", "sample_rate": 8000, "channels": 2, "window": 0.5, "threshold": 0.3}',
    '{"type": "start", "prior": "anger:0.5,sadness:0.5", "smoothing": "none", "confidence": 0.6, "key": "abc"}',
)
TURN_SEEDS = {
    ".rttm": "SPEAKER talk 1 0.50 1.25 <NA> <NA> anna <NA> <NA>\nSPEAKER talk 1 2.0 1.0 <NA> <NA> ben <NA> <NA>\n",
    ".csv": "start,end,speaker\n0.5,1.75,anna\n00:00:02,00:00:03.5,ben\n",
    ".tsv": "start\tend\tspeaker\n0.5\t1.75\tanna\n2\t3\tben\n",
    ".srt": "1\n00:00:00,500 --> 00:00:01,750\nHello.\n\n2\n00:00:02,000 --> 00:00:03,000\nYes.\n",
    ".vtt": "WEBVTT\n\n00:00.500 --> 00:01.750\n<v anna>Hello.\n\n00:02.000 --> 00:03.000\nYes.\n",
}
TABLE_SEEDS = {
    ".csv": 'path,label,speaker,start,end\na.wav,anger,s1,0,1.5\n"b, c.wav",joy,s2,00:00:01,2\n',
    ".tsv": "path\tlabel\tspeaker\na.wav\tanger\ts1\nb.wav\tjoy\ts2\n",
    ".jsonl": '{"path": "a.wav", "label": "anger", "start": 0.5}\n{"path": "b.wav", "label": "joy"}\n',
    ".json": '[{"path": "a.wav", "label": "anger", "start": 0.5}, {"path": "b.wav", "label": "joy"}]',
}
COMMANDS = (
    "predict a.wav --model tiny -o out.csv --format csv --start 0 --end 2",
    "predict --segments a.wav --threshold 0.4 --window 1.0 --smoothing causal --prior anger:0.5,sadness:0.5",
    "info base --card --json",
    "train m.csv --recipe small --head linear --optimizer.lr 1e-3 --steps 5 -o model",
    "evaluate model m.csv --split test --resamples 10 --steps 1,2",
    "bench kfold-speaker m.csv --plan quick --set steps=4 --seeds 1",
    "export model -o m.onnx --precision int8",
    "prepare folder corpus -o m.csv",
)
OVERRIDES = ("optimizer.lr=1e-4", "steps=20", "network.heads=8", "head=linear", "augmentation.noise=5", "path=bridge")
TIMES = ("1.5", "00:01:02,5", "1,5", "PT1M2.5S", "0 days 00:00:01.5", "1:02", "1.234,5", "2 min 3 s")


def _packaged(folder: str) -> Callable[[Path], list[bytes]]:
    return lambda _folder: [path.read_bytes() for path in sorted((ROOT / "src" / "genser" / folder).glob("*.yaml"))]


_ALL = (
    Door("start messages", 25, True, fixed(*STARTS), start_message),
    Door("times", 12, True, fixed(*TIMES), times),
    *(Door(f"turns {end}", 4, True, fixed(text), in_file(end, turns)) for end, text in TURN_SEEDS.items()),
    *(Door(f"table {end}", 4, True, fixed(text), in_file(end, table)) for end, text in TABLE_SEEDS.items()),
    Door("table .parquet", 1.5, False, parquet, in_file(".parquet", table)),
    *(Door(f"manifest {end}", 2.5, True, fixed(text), in_file(end, manifest)) for end, text in TABLE_SEEDS.items()),
    Door("recipes", 0.3, True, _packaged("training/recipes"), in_file(".yaml", recipe)),
    Door("plans", 0.3, True, _packaged("bench/plans"), in_file(".yaml", plan)),
    Door("profiles", 5.8, True, profiles, in_file(".json", profile)),
    Door("settings", 0.6, True, fixed(*OVERRIDES), override),
    Door("audio", 4, False, sounds, audio),
    Door("HTTP", 1.5, False, requests, http),
    Door("WebSocket", 1.5, False, messages, websocket),
    Door("command lines", 0.3, True, fixed(*COMMANDS), command),
    Door("model file", 0.3, False, model_files, model_file),
    Door("model metadata", 0.3, True, model_metadata, metadata),
    Door("model folder", 0.3, True, model_configs, model_config),
    Door("encoder weights", 0.3, False, weights, encoder_weights),
)
DOORS = {door.name: door for door in _ALL}
