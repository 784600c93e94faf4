"""The server's settings: one validated value, from which `genser serve` gets its options."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from cyclopts import Parameter

from genser.config import is_number
from genser.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LIMITS = Parameter(group="Limits")


@Parameter(name="*")
@dataclass(frozen=True)
class ServerConfig:
    """The server's settings.

    Attributes:
        model: Name, file or folder of the model, or "hf:owner/name"; the bundled "base" by default.
        device: Where the model runs: "cpu", a GPU such as "cuda" or "cuda:1" (needs the extra [train]), or "auto": the
            GPU if there is one, else the CPU.
        profile: File that genser adapt has made of recordings like those that will come; none by default.
        host: Address to listen on; 0.0.0.0 accepts other machines.
        port: TCP port; 0 takes a free one.
        workers: Processes, each with its own copy of the model.
        api_keys: Accepted API keys; without any, calls need no key.
        allowed_hosts: Accepted host name; repeat for several. By default any, but on the loopback only the loopback's
            own names, so that no web page can reach the server through DNS rebinding.
        max_bytes: Largest body of a prediction in bytes.
        max_files: Most files in a prediction.
        max_duration: Longest clip of a prediction in seconds.
        max_recording_bytes: Largest body of a recording in bytes.
        max_recording: Longest recording or live stream in seconds.
        max_channels: Most audio channels.
        body_timeout: Seconds after which a body must have arrived, or arrive at slowest_body or faster on average.
        slowest_body: Bytes per second.
        request_timeout: Seconds after which a prediction is abandoned.
        recording_timeout: Seconds after which a recording is abandoned.
        max_batch: Most clips that a thread scores before it returns the results; there is one thread per core. By
            default 1 on a CPU, where a batch is no faster and only delays its first results, and 16 on a GPU.
        max_queue: Most clips that wait to be scored.
        max_requests: Most requests in progress.
        max_client_requests: Most requests in progress per API key, or per address if there are no keys.
        max_recordings: Most recordings in progress.
        max_streams: Most live streams.
        max_client_streams: Most live streams per API key, or per address if there are no keys.
        grace: Seconds that a stopping server may take to finish accepted work.
    """

    model: str | None = None
    _: KW_ONLY
    device: str = "cpu"
    profile: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    api_keys: Annotated[tuple[str, ...], Parameter(parse=False)] = ()
    allowed_hosts: Annotated[tuple[str, ...], Parameter(name="--allow-host", negative="", show_default=False)] = ()
    max_bytes: Annotated[int, LIMITS] = 64 << 20
    max_files: Annotated[int, LIMITS] = 64
    max_duration: Annotated[float, LIMITS] = 60.0
    max_recording_bytes: Annotated[int, LIMITS] = 1 << 30
    max_recording: Annotated[float, LIMITS] = 4 * 3600.0
    max_channels: Annotated[int, LIMITS] = 8
    body_timeout: Annotated[float, LIMITS] = 30.0
    slowest_body: Annotated[int, LIMITS] = 16_384
    request_timeout: Annotated[float, LIMITS] = 60.0
    recording_timeout: Annotated[float, LIMITS] = 3600.0
    max_batch: Annotated[int | None, LIMITS] = None
    max_queue: Annotated[int, LIMITS] = 256
    max_requests: Annotated[int, LIMITS] = 256
    max_client_requests: Annotated[int, LIMITS] = 128
    max_recordings: Annotated[int, LIMITS] = 2
    max_streams: Annotated[int, LIMITS] = 256
    max_client_streams: Annotated[int, LIMITS] = 128
    grace: Annotated[float, LIMITS] = 30.0

    def __post_init__(self) -> None:
        if not (is_number(self.port) and 0 <= self.port <= 65_535):
            raise ConfigError(f"port must be a number in [0, 65535], got {self.port}.")
        for name, value in vars(self).items():
            if name != "port" and isinstance(value, int | float) and not (is_number(value) and 0 < value < math.inf):
                raise ConfigError(f"{name} must be a number above 0, got {value}.")
        if any(len(key) < 16 for key in self.api_keys):
            raise ConfigError(
                "An API key has fewer than 16 characters. Make one with: "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )

    @property
    def hosts(self) -> tuple[str, ...]:
        """Accepted host names; empty means any."""
        return self.allowed_hosts or (LOOPBACK if self.host in LOOPBACK else ())
