"""Query strings and cursors."""

from __future__ import annotations

import pytest
from tallywire.api.queries import (
    BalancesQuery,
    HistoryQuery,
    continue_page,
    decode_query,
    filters_of,
    write_cursor,
)
from tallywire.ledger.errors import InvalidCursor, InvalidRequest


def test_a_query_is_decoded_and_unknown_parameters_are_ignored() -> None:
    query = decode_query(
        b"type=deposit&from=2026-01-01T00:00:00Z&metadata.via=bank&metadata.a.b=%C3%A9&limit=7&x=1",
        HistoryQuery,
    )
    assert query == HistoryQuery(
        type="deposit",
        from_="2026-01-01T00:00:00Z",
        metadata={"via": "bank", "a.b": "é"},
        limit=7,
    )


def test_text_stays_text() -> None:
    assert decode_query(b"reference=null&type=7", HistoryQuery) == HistoryQuery(
        reference="null", type="7"
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"limit=0",
        b"limit=1001",
        b"limit=ten",
        b"limit=",
        b"limit=1e2",
        b"limit=1.0",
        b"limit=+7",
        b"limit=true",
        b"limit=null",
        b"limit=99999999999999999999",
        b"limit=1&limit=2",
        b"type=%00",
        b"type=%ff",
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_query(raw, HistoryQuery)


@pytest.mark.parametrize("raw", [b"as_of_position=-1", b"as_of_position=x", b"as_of_position=1e1"])
def test_a_position_is_a_whole_number(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_query(raw, BalancesQuery)


def test_a_cursor_carries_its_filters() -> None:
    first = HistoryQuery(type="deposit", metadata={"via": "bank"}, limit=5)
    cursor = write_cursor("history of alice", filters_of(first), 41)
    alone = HistoryQuery(cursor=cursor, limit=9)
    continued, before = continue_page("history of alice", alone)
    assert before == 41
    assert (continued.type, continued.metadata, continued.limit) == ("deposit", {"via": "bank"}, 9)
    repeated = HistoryQuery(cursor=cursor, type="deposit", metadata={"via": "bank"})
    assert continue_page("history of alice", repeated)[1] == 41


@pytest.mark.parametrize(
    ("listed", "query"),
    [
        ("history of bob", HistoryQuery()),
        ("history of alice", HistoryQuery(type="charge")),
        ("history of alice", HistoryQuery(type="deposit", book="main")),
    ],
)
def test_a_cursor_of_another_list_or_other_filters_is_refused(
    listed: str, query: HistoryQuery
) -> None:
    query.cursor = write_cursor("history of alice", {"type": "deposit"}, 41)
    with pytest.raises(InvalidCursor):
        continue_page(listed, query)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "bnVsbA",
        write_cursor("l", {}, 0),
        write_cursor("l", {}, 2**63),
        write_cursor("l", {"type": 5}, 3),
        write_cursor("l", {"type": "a\x00"}, 3),
    ],
)
def test_a_cursor_that_was_not_made_here_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        continue_page("l", HistoryQuery(cursor=cursor))
