"""Messages read as what they are said to be: nothing missing, nothing besides."""

from __future__ import annotations

from typing import Any

import msgspec
from tallywire.ws.messages import OUTGOING, Message, type_of

FORMS = {type_of(form): form for form in OUTGOING}


def read_strictly(data: bytes | str) -> Message:
    """
    The message that `data` is. Fails where a field is missing, has another type, or is not one of
    its form, at any depth: what was read must give `data` again.
    """
    written: dict[str, Any] = msgspec.json.decode(data)
    message = msgspec.json.decode(data, type=FORMS[written["type"]])
    assert msgspec.to_builtins(message) == written, f"not of the form {type(message).__name__}"
    return message
