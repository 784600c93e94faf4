"""POST /v1/profile: from uploaded recordings to a profile; and the profiles that requests bring."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from genser.audio import AudioLimits, channels_of, count_channels, stream_audio
from genser.errors import GenserError
from genser.inference.decode_ahead import Clip
from genser.inference.profile import MOST_BYTES, Profile
from genser.inference.recognizer import Recognizer
from genser.inference.windows import cut
from genser.serving.errors import Problem, problems
from genser.serving.limits import finish
from genser.serving.options import CHANNEL, CHANNEL_HELP, channel_of
from genser.serving.security import client_of
from genser.serving.service import Service, Serving
from genser.serving.uploads import AUDIO_FILES, BINARY, Upload, described_body, read_uploads

TOTAL = 1200.0  # s of audio that a profile is learned from; a hundred windows of 10 s are plenty
SHORTEST_PART = 60.0  # s of each recording that are used at least
FIELD = "profile"  # of a form
PROFILE_FILE = BINARY | {"description": "A profile, as /v1/profile or genser adapt makes it, to adapt the model with."}

router = APIRouter()


class ProfileQuery(BaseModel):
    """Which channel a profile is learned from."""

    model_config = ConfigDict(extra="forbid")

    channel: str = Field("mix", pattern=CHANNEL, description=CHANNEL_HELP)


class ProfileAnswer(BaseModel):
    """A profile as a file of `genser adapt` holds it, and what was unusual."""

    format: int = Field(alias="genser profile", description="Version of the format.", examples=[1])
    model: str = Field(description="Identifies the model that it fits.", examples=["0123456789abcdef"])
    clips: int = Field(description="Clips with speech that it was learned from.", examples=[24])
    duration: float = Field(description="Their length in seconds.", examples=[81.5])
    size: float = Field(description="Root mean square of the shift.", examples=[0.2])
    shift: dict[str, Any] = Field(description="Added to the features; float32 in base64, and its shape.")
    remark: str | None = Field(description="A sentence if it was learned from few clips.", examples=[None])
    failed: dict[str, str] = Field(description="Recordings that could not be read, and why.", examples=[{}])


@router.post(
    "/v1/profile",
    response_model=ProfileAnswer,
    responses=problems(400, 401, 408, 413, 415, 422, 429, 503),
    openapi_extra=described_body(AUDIO_FILES),
)
async def profile(request: Request, service: Serving, query: Annotated[ProfileQuery, Query()]) -> Response:
    """Learn a profile from recordings of one microphone, room, language or speaker, without labels.

    Send one recording as the raw body, or several as the fields `file` of a form. Of many or long recordings only the
    beginnings are used, 20 minutes in all or one minute of each. The answer is the profile: send it as the field
    `profile` of later forms, or save it for `genser predict --profile`. The server does not keep it.
    """
    config = service.config
    with service.admission.request(client_of(request)), service.admission.recording():
        uploads = await read_uploads(request, config, config.max_recording_bytes)
        learning = _Learning(service.recording_limits, uploads, query.channel)
        try:
            work = asyncio.get_running_loop().run_in_executor(service.recorders, learning.run, service.recognizer)
            learned = await finish(request, work, config.recording_timeout, service.metrics)
        finally:
            learning.cancelled.set()
    return JSONResponse(learned.to_dict() | {"remark": learned.remark, "failed": learning.failed})


class _Learning:
    """Learns a profile in a thread, which stops at the next clip after it was cancelled."""

    def __init__(self, limits: AudioLimits, uploads: list[Upload], channel: str) -> None:
        self.cancelled, self.failed = threading.Event(), dict[str, str]()
        self._limits, self._uploads, self._channel = limits, uploads, channel_of(channel)

    def run(self, recognizer: Recognizer) -> Profile:
        """Learn the profile.

        Raises:
            ConfigError: No recording holds speech, or the model has no features to adapt.
        """
        try:
            return recognizer.learn_profile_of_clips(self._clips())
        finally:
            for upload in self._uploads:
                upload.close()

    def _clips(self) -> Iterator[list[Clip]]:
        end = max(TOTAL / len(self._uploads), SHORTEST_PART)
        for upload in self._uploads:
            source = cast(BinaryIO, upload)
            try:
                for channel in channels_of(self._channel, partial(count_channels, source, self._limits)):
                    if self.cancelled.is_set():
                        return
                    waveform = stream_audio(source, end=end, channel=channel, limits=self._limits).read()
                    yield [Clip(upload.name, cut(waveform))]
            except GenserError as error:  # such as a missing extra, which other recordings do not need
                self.failed[upload.name] = str(error)
                yield [Clip(upload.name, error=str(error))]


def take_profile(uploads: list[Upload]) -> Upload | None:
    """Remove the profile from the files of a form, and return it.

    Raises:
        Problem: 400 there are several.
    """
    found = [upload for upload in uploads if upload.field == FIELD]
    if len(found) > 1:
        raise Problem(400, f"Send at most one profile, not {len(found)}.")
    for upload in found:
        uploads.remove(upload)
    return found[0] if found else None


async def adapted(service: Service, recognizer: Recognizer, upload: Upload | None) -> Recognizer:
    """The recogniser with the profile that a request brings, in place of the server's own.

    Raises:
        ConfigError: It is not a profile, or one of another model.
    """
    if upload is None:
        return recognizer

    def read() -> Recognizer:
        with closing(upload):
            upload.seek(0)
            return recognizer.adapted(Profile.parsed(upload.read(MOST_BYTES + 1) or b"", upload.name))

    return await asyncio.get_running_loop().run_in_executor(service.decoders, read)
