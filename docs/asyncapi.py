"""Writes docs/asyncapi.json: run by `make docs`."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tallywire.asyncapi import encoded_document

FILE = Path(__file__).with_name("asyncapi.json")


def written() -> bytes:
    """What belongs into the file: the description of this program, laid out to be read."""
    return msgspec.json.format(encoded_document(), indent=2) + b"\n"


if __name__ == "__main__":
    FILE.write_bytes(written())
