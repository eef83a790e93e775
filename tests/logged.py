"""What the product logs, line by line, as its fields."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Line = dict[str, Any]


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "structured", {"event": record.getMessage()})
        self.lines.append({**fields, "level": record.levelname.lower()})


@contextmanager
def logged() -> Iterator[list[Line]]:
    """The lines of the product's loggers from INFO up, as they come."""
    logger, collector = logging.getLogger("tallywire"), _Collector()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(collector)
    try:
        yield collector.lines
    finally:
        logger.removeHandler(collector)
        logger.setLevel(level)
