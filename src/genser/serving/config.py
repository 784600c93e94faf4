"""What a server does and allows, as one validated value."""

from dataclasses import dataclass

from genser.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerConfig:
    """What a server does and allows.

    Attributes:
        model: Name, file or folder of the model; None is the bundled one.
        host: Address to listen on; other machines reach the server only if this is not the loopback.
        port: TCP port; 0 takes a free one.
        workers: Processes, each with a model of its own.
        api_keys: Keys of which each call must carry one; none are asked for if there are none.
        allowed_hosts: Names under which the server may be called; on the loopback its own by default, so that no web
            page can reach it under a name of its own (DNS rebinding), else any.
        max_bytes: Largest body of a prediction.
        max_files: Most files of a prediction.
        max_duration: Longest sound of a prediction in seconds.
        max_recording_bytes: Largest body of a recording to segment.
        max_recording: Longest recording to segment, and longest live stream, in seconds.
        max_channels: Most channels.
        body_timeout: Seconds for a body, beyond which it must come at `slowest_body` bytes a second on average.
        slowest_body: In bytes a second.
        request_timeout: Seconds after which a prediction is given up.
        recording_timeout: Seconds after which a recording is given up.
        max_batch: Most sounds that a thread recognises before it gives the answers; there is a thread a core.
        max_queue: Most sounds that wait to be recognised.
        max_requests: Most requests in work.
        max_client_requests: Most requests in work for one key or address.
        max_recordings: Most recordings in work.
        max_streams: Most live streams.
        grace: Seconds in which a stopping server finishes what it took.
    """

    model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    max_bytes: int = 64 << 20
    max_files: int = 64
    max_duration: float = 60.0
    max_recording_bytes: int = 1 << 30
    max_recording: float = 4 * 3600.0
    max_channels: int = 8
    body_timeout: float = 30.0
    slowest_body: int = 16_384
    request_timeout: float = 60.0
    recording_timeout: float = 3600.0
    max_batch: int = 4
    max_queue: int = 256
    max_requests: int = 256
    max_client_requests: int = 128
    max_recordings: int = 2
    max_streams: int = 256
    grace: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port must lie in [0, 65535], got {self.port}.")
        for name, value in vars(self).items():
            if name != "port" and isinstance(value, int | float) and value <= 0:
                raise ConfigError(f"{name} must be above 0, got {value}.")
        if any(len(key) < 16 for key in self.api_keys):
            raise ConfigError(
                "An API key has fewer than 16 characters. Make one with: "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names under which the server may be called; empty means any."""
        return self.allowed_hosts or (LOOPBACK if self.host in LOOPBACK else ())
