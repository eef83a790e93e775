"""From every process to every screen: the protocol, the hub and the WebSocket endpoint."""

from .endpoint import websocket_endpoint
from .hub import Hub

__all__ = ["Hub", "websocket_endpoint"]
