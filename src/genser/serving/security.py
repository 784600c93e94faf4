"""Who may call: API keys, the names of the server, and what a browser may do with its answers."""

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import Request, WebSocket
from fastapi.openapi.models import HTTPBearer as BearerModel
from fastapi.security.base import SecurityBase
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genser.serving.errors import Problem

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_known(key: str, keys: Iterable[str]) -> bool:
    """Whether a key is one of the known, in a time that does not tell how nearly."""
    return any([hmac.compare_digest(key.encode(), known.encode()) for known in keys])  # noqa: C419


class _Bearer(SecurityBase):
    """Asks for `Authorization: Bearer KEY` where the server has keys."""

    def __init__(self) -> None:
        self.model = BearerModel(description="Only where the server was started with API keys.")
        self.scheme_name = "ApiKey"

    async def __call__(self, request: Request) -> None:
        """Let a request through or not.

        Raises:
            Problem: 401 the key is missing or unknown.
        """
        keys = request.app.state.config.api_keys
        if keys and not is_known(key_of(request.headers), keys):
            raise Problem(401, "An API key is needed. Send it as: Authorization: Bearer KEY")


require_key = _Bearer()


def key_of(headers: Headers) -> str:
    """The key that a request carries, empty if none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def client_of(request: Request) -> str:
    """By what a client is told from others: its key, or its address."""
    return key_of(request.headers) or (request.client.host if request.client else "")


def is_same_origin(websocket: WebSocket) -> bool:
    """Whether a WebSocket comes from the server's own page, or from no page at all."""
    origin = websocket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == websocket.headers.get("host")


class Guard:
    """Refuses calls under foreign names, and adds the headers that keep a browser within bounds."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
        if self._hosts and host not in self._hosts:
            problem = Problem(421, f"This server is not called {host[:100]!r}. Start it with --allow-host NAME.")
            await problem.response()(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)
