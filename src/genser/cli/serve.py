"""``genser serve``: HTTP, live audio over a WebSocket, and a page."""

import os
from dataclasses import replace

from genser.cli._notes import note
from genser.errors import MissingExtraError
from genser.serving.config import LOOPBACK, ServerConfig

KEYS_VARIABLE = "GENSER_API_KEYS"


def serve(config: ServerConfig | None = None) -> int:
    """Serve predictions, segments and live audio over HTTP, with a page at /.

    API keys come from the environment variable GENSER_API_KEYS, separated by commas, so that no process list shows
    them. Without keys, everyone who can reach the server may call it.

    Example: genser serve --port 9000

    Returns:
        0.
    """
    try:
        from genser.serving.run import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("genser"):
            raise
        raise MissingExtraError("serve", "Serving") from error
    config = config or ServerConfig()
    keys = tuple(key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip())
    if config.host not in LOOPBACK and not keys:
        note(
            f"genser: Everyone who can reach {config.host}:{config.port} may call the server. "
            f"Set {KEYS_VARIABLE} to require a key."
        )
    run(replace(config, api_keys=keys))
    return 0
