"""The server: HTTP, live sound over a WebSocket, and a page."""
