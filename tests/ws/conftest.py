"""One suite for every way to a screen: `over_each` runs a test over WebSocket, then over SSE."""

from __future__ import annotations

import pytest

from .streams import StreamScreen
from .world import Screen, World

_SCREENS: dict[str, type[Screen]] = {"websocket": Screen, "sse": StreamScreen}


@pytest.fixture(params=_SCREENS)
def over_each(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world's screens are of each kind in turn."""
    monkeypatch.setattr(World, "kind", _SCREENS[request.param])
