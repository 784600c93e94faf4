"""uvicorn's protocols with two changes: a timeout for request heads, and streams that end properly on shutdown.

uvicorn waits for a request head for ever, so a client that opens connections and sends nothing can take every file
descriptor of the server (the slow-loris attack); it also closes live streams at once when the server stops. uvicorn has
no public way to change either, so these classes rely on private parts of it. The package therefore pins uvicorn's
versions, and `tests/test_serving_connection.py` checks both behaviours.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEADER_TIMEOUT = 10.0  # s
STOPPING = '{"type": "stopping"}'
"""Text message that a stream receives, after everything its client has sent, when the server stops."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol; an open stream finishes and closes itself when the server stops."""

    def shutdown(self) -> None:
        """Send `STOPPING` to an open stream; close the connection at once if there is none."""
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.receive", "text": STOPPING})
        else:
            super().shutdown()


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP protocol on h11; it closes a connection whose request head does not arrive in time."""

    _timer: asyncio.TimerHandle | None = None
    _is_upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the timer."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Start the timer at the first bytes of a head, and stop it when the head is complete."""
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the WebSocket."""
        self._stop()
        self._is_upgraded = True
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        waits = not self._is_upgraded and self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if not waits:
            self._stop()
        elif self._timer is None and self.timeout_keep_alive_task is None:
            self._timer = self.loop.call_later(HEADER_TIMEOUT, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
