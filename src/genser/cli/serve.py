"""``genser serve``: HTTP, WebSocket and a page."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from genser.errors import MissingExtraError

KEYS_VARIABLE = "GENSER_API_KEYS"


def serve(
    model: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    allow_host: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    max_bytes: int = 64 << 20,
    max_duration: float = 60.0,
    max_recording: float = 4 * 3600.0,
    max_batch: int = 4,
    max_queue: int = 256,
    max_streams: int = 256,
    grace: float = 30.0,
) -> int:
    """Serve predictions, segments and live sound, with a page to try them at /.

    API keys are read from the environment variable GENSER_API_KEYS, separated by commas, so that no list of processes
    shows them. Without keys anybody who reaches the server may call it.

    Args:
        model: Name, file or folder of the model; the bundled one by default.
        host: Address to listen on; 0.0.0.0 lets other machines in.
        port: TCP port; 0 takes a free one.
        workers: Processes, each with a model of its own.
        allow_host: Name under which the server may be called; repeat for several. On the loopback its own names by
            default, else any.
        max_bytes: Largest body of a prediction in bytes.
        max_duration: Longest sound of a prediction in seconds.
        max_recording: Longest recording or stream in seconds.
        max_batch: Most sounds that a thread recognises before it gives the answers; there is a thread a core.
        max_queue: Most sounds that wait.
        max_streams: Most live streams.
        grace: Seconds in which a stopping server finishes what it took.

    Returns:
        0.
    """
    options = {name: value for name, value in locals().items() if name != "allow_host"}
    keys = tuple(key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip())
    try:
        from genser.serving.config import LOOPBACK, ServerConfig
        from genser.serving.run import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("genser"):
            raise
        raise MissingExtraError("serve", "Serving") from error
    config = ServerConfig(**options, api_keys=keys, allowed_hosts=allow_host)
    if host not in LOOPBACK and not keys:
        print(
            f"genser: anybody who reaches {host}:{port} may call; set {KEYS_VARIABLE} to ask for keys", file=sys.stderr
        )
    run(config)
    return 0
