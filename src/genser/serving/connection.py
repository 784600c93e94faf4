"""Connections as uvicorn has them, but for two things.

A client must send the head of a request in time, for which uvicorn waits for ever; and a server that stops lets live
streams finish what they took, where uvicorn cuts them off.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEADER_TIMEOUT = 10.0  # s
STOPPING = '{"type": "stopping"}'
"""Text message that reaches a stream after all that its client has sent, when the server stops."""


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol for WebSockets, which lets an open stream finish and close by itself when the server stops."""

    def shutdown(self) -> None:
        """Tell the stream that the server stops; close the connection at once where none is open."""
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.receive", "text": STOPPING})
        else:
            super().shutdown()


class TimedProtocol(H11Protocol):
    """uvicorn's protocol on h11, which closes a connection whose request head does not come."""

    _timer: asyncio.TimerHandle | None = None
    _is_upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Start the clock at the first bytes of a head, stop it when the head is whole."""
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to the WebSocket."""
        self._stop()
        self._is_upgraded = True
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
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
