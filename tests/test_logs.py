"""Log lines in both forms, from our own loggers and from libraries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from tallywire.logs import configure_logging, get_logger


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is the process's: put back what was there."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    get_logger("tallywire.app").info("committed", first=1, last=3)
    logging.getLogger("uvicorn.error").warning("slow %s", "client")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["first"], ours["logger"]) == ("committed", 1, "tallywire.app")
    assert (theirs["event"], theirs["level"]) == ("slow client", "warning")
    assert ours["timestamp"].endswith("Z")


def test_an_error_is_one_line_of_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        get_logger("tallywire.api").exception("call failed", path="/x")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "broken"


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console")
    get_logger("tallywire.app").info("committed", first=1)
    line = capsys.readouterr().err
    assert "committed" in line
    assert "first=1" in line


def test_a_line_of_the_ledger_in_a_host_application(caplog: pytest.LogCaptureFixture) -> None:
    """The host's own handlers get it, as text with its fields."""
    get_logger("tallywire.x").warning("a commit is tried again", reason="50% lost")
    (record,) = caplog.records
    assert record.getMessage() == "a commit is tried again reason='50% lost'"
    assert (record.name, record.levelname) == ("tallywire.x", "WARNING")


def test_a_line_of_the_ledger_in_our_own_server(capsys: pytest.CaptureFixture[str]) -> None:
    logger = get_logger("tallywire.x")
    configure_logging("json")
    logger.debug("unseen")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logger.exception("a commit failed", changes=3)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["changes"], line["level"]) == ("a commit failed", 3, "error")
    assert line["exception"][0]["exc_value"] == "broken"
    assert "structured" not in line
