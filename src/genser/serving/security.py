"""Access control: API keys, the server's host names, and the browser's security headers."""

import hmac
from collections import Counter
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Request, Security, WebSocket
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genser.serving.errors import Problem

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
BEARER = HTTPBearer(scheme_name="ApiKey", description="Only if the server was started with API keys.", auto_error=False)


def key_of(headers: Headers) -> str:
    """Return the key that a request carries, empty if none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def check_key(key: str, keys: tuple[str, ...]) -> None:
    """Refuse a wrong key; the comparison takes the same time however much of it is right.

    Raises:
        Problem: 401 the key is missing or unknown, and the server requires one.
    """
    matches = [hmac.compare_digest(key.encode("utf-8", "backslashreplace"), known.encode()) for known in keys]
    if keys and not any(matches):
        raise Problem(
            401,
            "An API key is required. Send the header Authorization: Bearer KEY (live sound also takes "
            '"key" in the first message).',
        )


async def require_key(request: Request, _described: Annotated[object, Security(BEARER)]) -> None:
    """Refuse a request without a valid key, see :func:`check_key`."""
    check_key(key_of(request.headers), request.app.state.service.config.api_keys)


def client_of(connection: HTTPConnection, key: str = "") -> str:
    """Return what the limits per client count by: the key if the server requires one, else the address.

    Args:
        connection: A request or a WebSocket.
        key: Its key; empty means that of its headers.
    """
    if connection.app.state.service.config.api_keys:
        return key or key_of(connection.headers)
    return connection.client.host if connection.client else ""


def check_origin(websocket: WebSocket) -> None:
    """Refuse a WebSocket that another server's page opens.

    Raises:
        Problem: 403 the page comes from another origin.
    """
    origin = websocket.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != websocket.headers.get("host"):
        raise Problem(403, f"Pages from {origin[:100]} may not use this server. Open its own page.")


async def refuse_query(connection: HTTPConnection) -> None:
    """Refuse any query parameter, for a route that has none.

    Raises:
        Problem: 422 there is one.
    """
    for name in connection.query_params:
        raise Problem(422, f"Unknown parameter {name[:100]!r}: {connection.url.path} has none. Remove it.")


async def refuse_repeated(request: Request) -> None:
    """Refuse a query parameter that is given several times, as each has one value.

    Raises:
        Problem: 422 there is one.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1:
            raise Problem(422, f"The parameter {name[:100]!r} is given {count} times. Give it once.")


class Guard:
    """Refuses calls under other host names, and adds the browser's security headers to answers."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname or ""
        except ValueError:  # such as a bracket without its other half
            host = ""
        if self._hosts and host not in self._hosts:
            problem = Problem(421, f"{host[:100]!r} is not a name of this server. Start it with --allow-host NAME.")
            await problem.response()(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)
