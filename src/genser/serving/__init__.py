"""The service: HTTP, live sound over WebSocket, and a page."""
