"""Which pages may connect."""

from __future__ import annotations

import pytest
from tallywire.ws.origins import is_allowed_origin


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "expected"),
    [
        (None, "app.example.com", (), True),
        ("https://app.example.com", "app.example.com", (), True),
        ("https://APP.example.com", "app.EXAMPLE.com", (), True),
        ("https://app.example.com", "app.example.com:443", (), True),
        ("http://127.0.0.1:3000", "127.0.0.1:3000", (), True),
        ("http://[::1]:3000", "[::1]:3000", (), True),
        ("http://127.0.0.1:3000", "127.0.0.1:3001", (), False),
        ("http://localhost:3000", "127.0.0.1:3000", (), False),
        ("https://evil.example", "app.example.com", (), False),
        ("https://app.example.com.evil.example", "app.example.com", (), False),
        ("null", "app.example.com", (), False),
        ("", "", (), False),
        ("http://app.example.com:notaport", "app.example.com", (), False),
        ("https://other.example", "app.example.com", ("https://other.example",), True),
        ("http://other.example", "app.example.com", ("https://other.example",), False),
        ("https://any.example", "app.example.com", ("*",), True),
    ],
)
def test_origin(origin: str | None, host: str, allowed: tuple[str, ...], expected: bool) -> None:
    assert is_allowed_origin(origin, host, allowed) is expected
