"""Logging: structured lines on the standard library's loggers, for people or as JSON."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """
    A structured logger on the standard library's logger `name`, whoever configured that: in an
    application that embeds the ledger, lines go where the application's own go.
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _as_standard_call],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def _as_standard_call(
    _logger: WrappedLogger, _method: str, event_dict: EventDict
) -> tuple[tuple[str], dict[str, object]]:
    """``event name=value …`` for any formatter, and the fields themselves for ours."""
    exc_info = event_dict.pop("exc_info", None)
    event = event_dict.pop("event")
    line = " ".join([event, *(f"{name}={value!r}" for name, value in event_dict.items())])
    extra = {"structured": {"event": event, **event_dict}}
    return (line,), {"exc_info": exc_info, "extra": extra}


def _from_standard_call(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    event_dict.update(event_dict.pop("structured", {}))
    return event_dict


def configure_logging(form: str) -> None:
    """
    Write log lines to stderr in `form` (``console`` or ``json``), from level INFO up; those of
    libraries in the same form.
    """
    # Without the frames' locals, among which are tokens and secrets.
    traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    last: list[Processor] = (
        [structlog.processors.ExceptionRenderer(traceback), structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.ExtraAdder(),
                _from_standard_call,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.StackInfoRenderer(),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
