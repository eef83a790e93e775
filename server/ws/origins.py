"""Which pages may open a connection: a browser sends their origin (RFC 6454) along."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_allowed_origin(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """
    Whether a page of `origin` may connect to the server that it calls `host`.

    origin: the Origin header, None for programs that are no browser and need no protection;
    host: the Host header; allowed: further origins such as ``https://app.example.com``, or ``*``.
    A page of the same host is always allowed.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        page, server = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        same_port = (page.port or default) == (server.port or default)
    except ValueError:
        return False
    return bool(page.hostname) and page.hostname == server.hostname and same_port
