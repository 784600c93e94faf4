"""Hosted systems over plain HTTP: OpenAI and servers of its form, Gemini, Hume. Used with --send-audio-to only."""

import base64
import http.client
import io
import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import soundfile

from genser.audio import SAMPLE_RATE
from genser.errors import ConfigError, GenserError
from genser.peers.catalog import catalog
from genser.peers.peer import Answer, PeerInfo, PeerRequest
from genser.peers.prompts import prompt_for, read_answer

TIMEOUT = 120.0  # seconds for one request
TRIES = 4
BUSY = (429, 500, 502, 503, 504)
"""Answers of a server after which the request is sent again, after a pause."""

PAUSE = 1.0  # seconds before the second try; doubled for each further one

MOST_BYTES = 1 << 24
"""Length of an answer that is read."""

MOST_DETAIL = 300
"""Characters of a server's answer in an error message."""

Found = TypeVar("Found")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Answers of 301 to 308 are refusals: sound and key go to the named address only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Follow nothing."""


HUME_EMOTIONS = ("Anger", "Joy", "Sadness", "Fear", "Disgust", "Surprise (positive)", "Surprise (negative)", "Calmness")
"""Those of Hume's 48 expressions that are emotions of speech corpora; it has none for neutral."""


class HostedPeer:
    """A system behind an address.

    Args:
        info: Where it comes from, and where sound is sent.
        ask: Sends the bytes of a WAV file and returns the answer.
        classes: Its classes.
    """

    gives_scores = False

    def __init__(self, info: PeerInfo, ask: Callable[[bytes], Answer], classes: tuple[str, ...]) -> None:
        self.info, self.ask, self.classes = info, ask, classes

    def __call__(self, waveform: np.ndarray) -> Answer:
        """Send one clip as 16-bit WAV; nothing else of the file or its name is sent."""
        file = io.BytesIO()
        soundfile.write(file, waveform, SAMPLE_RATE, "PCM_16", format="WAV")
        return self.ask(file.getvalue())


def openai(request: PeerRequest) -> HostedPeer:
    """Chat completions with sound, as OpenAI documents them; servers of the same form too."""
    prompt, key = prompt_for(request.task, request.classes), _key(request)

    def ask(wav: bytes) -> Answer:
        sound = {"data": base64.b64encode(wav).decode(), "format": "wav"}
        content = [{"type": "text", "text": prompt}, {"type": "input_audio", "input_audio": sound}]
        body = {"model": request.weights, "modalities": ["text"], "messages": [{"role": "user", "content": content}]}

        def read(reply: Any) -> Answer:
            return read_answer(reply["choices"][0]["message"]["content"] or "", request.classes)

        return _send(f"{request.url}/chat/completions", {"Authorization": f"Bearer {key}"}, read, body)

    return HostedPeer(request.info("OpenAI, chat completions", prompt), ask, request.classes)


def gemini(request: PeerRequest) -> HostedPeer:
    """``generateContent`` with sound, as Google documents it."""
    prompt, key = prompt_for(request.task, request.classes), _key(request)

    def ask(wav: bytes) -> Answer:
        sound = {"mime_type": "audio/wav", "data": base64.b64encode(wav).decode()}
        body = {"contents": [{"parts": [{"text": prompt}, {"inline_data": sound}]}]}

        def read(reply: Any) -> Answer:
            parts = reply["candidates"][0]["content"]["parts"]
            return read_answer("".join(part.get("text", "") for part in parts), request.classes)

        return _send(f"{request.url}/models/{request.weights}:generateContent", {"x-goog-api-key": key}, read, body)

    return HostedPeer(request.info("Gemini, generateContent", prompt), ask, request.classes)


def hume(request: PeerRequest) -> HostedPeer:
    """A batch job of Hume's expression measurement with the prosody model, as it documents it.

    Its scores are independent strengths, averaged over the utterances that it finds in the clip; the two surprises are
    added. They are no probabilities, so only the strongest counts.
    """
    if request.task != "emotion":
        raise ConfigError(f"The peer {request.name!r} knows emotions only. Choose another for the task {request.task}.")
    headers = {"X-Hume-Api-Key": _key(request)}

    def ask(wav: bytes) -> Answer:
        boundary = uuid.uuid4().hex
        parts = {"json": ("", json.dumps({"models": {"prosody": {}}}).encode()), "file": ("clip.wav", wav)}
        data = b"".join(_part(boundary, name, *part) for name, part in parts.items()) + f"--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        jobs = f"{request.url}/batch/jobs"
        job = _send(jobs, headers | kind, lambda reply: f"{jobs}/{reply['job_id']}", data)
        deadline = time.monotonic() + TIMEOUT
        while (status := _send(job, headers, lambda reply: reply["state"]["status"])) not in ("COMPLETED", "FAILED"):
            if time.monotonic() > deadline:
                raise GenserError(f"{request.url} did not finish a clip in {TIMEOUT:g} s. Try again later.")
            time.sleep(PAUSE)
        if status == "FAILED":
            raise GenserError(f"{request.url} could not measure a clip. Listen to it, or try again later.")
        return _send(f"{job}/predictions", headers, _hume_answer)

    return HostedPeer(request.info("Hume, expression measurement"), ask, HUME_EMOTIONS)


def _hume_answer(reply: Any) -> Answer:
    """Mean strength of each emotion over the utterances of a finished job."""
    found = [
        {one["name"]: one["score"] for one in utterance["emotions"]}
        for source in reply
        for file in source["results"]["predictions"]
        for group in file["models"]["prosody"]["grouped_predictions"]
        for utterance in group["predictions"]
    ]
    return Answer({name: float(np.mean([one.get(name, 0.0) for one in found])) for name in HUME_EMOTIONS if found})


def _part(boundary: str, name: str, filename: str, content: bytes) -> bytes:
    named = f'; filename="{filename}"\r\nContent-Type: audio/wav' if filename else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def _key(request: PeerRequest) -> str:
    variable = catalog()[request.name].key
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(f"The peer {request.name!r} needs a key. Put it into the environment variable {variable}.")
    return key


def _send(
    url: str,
    headers: Mapping[str, str],
    read: Callable[[Any], Found],
    body: Mapping[str, Any] | bytes | None = None,
) -> Found:
    """What is read from the JSON that a server answers; a busy server is asked again.

    Raises:
        GenserError: The server refuses, cannot be reached, or its answer lacks what is read, as when it blocks a clip.
    """
    reply = _reply(url, headers, body)
    try:
        return read(reply)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise GenserError(f"{url} gave no answer: {json.dumps(reply)[:MOST_DETAIL]}") from error


def _reply(url: str, headers: Mapping[str, str], body: Mapping[str, Any] | bytes | None) -> Any:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    headers, opener = {"Content-Type": "application/json", **headers}, urllib.request.build_opener(_NoRedirects)
    for number in range(TRIES):
        try:
            with opener.open(urllib.request.Request(url, data, headers), timeout=TIMEOUT) as reply:
                content = reply.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise GenserError(f"{url} answered more than {MOST_BYTES >> 20} MB. Check the address.")
            return json.loads(content)
        except urllib.error.HTTPError as error:
            if error.code not in BUSY or number + 1 == TRIES:
                raise GenserError(f"{url} answered {error.code} {error.reason}: {_detail(error)}") from error
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            if number + 1 == TRIES:
                raise GenserError(f"{url} cannot be reached: {error}. Check the address and the network.") from error
        time.sleep(PAUSE * 2**number)
    raise AssertionError("every try returns or raises")


def _detail(error: urllib.error.HTTPError) -> str:
    """The beginning of what a server says about its refusal; its connection may end within it."""
    try:
        return error.read(MOST_DETAIL).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException):
        return ""
