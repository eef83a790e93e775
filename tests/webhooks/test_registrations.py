"""The rows, written by operators and deliverers at once, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tallywire.ledger import UpdateFilter
from tallywire.webhooks.registrations import Message, Registration, Wanted, as_wanted
from tallywire.webhooks.signing import Secret

from .conftest import World

URL = "http://127.0.0.1:9/hook"
ROW = Registration(
    name="shop",
    url=URL,
    filter=UpdateFilter(asset="EUR"),
    secret=Secret("a secret of sixteen characters"),
    status="active",
    generation="1",
    position=3,
    examined=5,
    message=Message("id-1", "epoch-1", 7),
    attempts=2,
    failing_since="then",
    next_attempt_at="soon",
    last_error="answered 500",
)


@pytest.mark.parametrize(
    ("wanted", "position", "examined", "kept"),
    [
        ({}, 3, 5, True),
        ({"url": "http://localhost/"}, 3, 5, True),
        ({"secret": Secret("another of sixteen characters")}, 3, 5, True),
        ({"filter": UpdateFilter(asset="EUR")}, 3, 5, True),
        # Another filter decides what is still to be told, not what was passed over.
        ({"filter": UpdateFilter()}, 3, 5, False),
        ({"position": 1}, 1, 1, False),
        ({"position": 3}, 3, 3, False),
    ],
)
def test_a_message_under_way_is_kept_where_it_is_still_true(
    wanted: dict[str, Any], position: int, examined: int, kept: bool
) -> None:
    made = as_wanted(ROW, Wanted(**wanted), "2")
    assert (made.position, made.examined, made.generation) == (position, examined, "2")
    assert made.message == (ROW.message if kept else None)
    assert (made.attempts, made.failing_since, made.next_attempt_at) == (0, None, None)


def test_a_pause_keeps_the_reason() -> None:
    paused = as_wanted(ROW, Wanted(status="paused"), "2")
    assert (paused.attempts, paused.last_error) == (2, "answered 500")
    assert as_wanted(paused, Wanted(url=URL), "3").last_error == "answered 500"
    assert as_wanted(paused, Wanted(status="active"), "3").last_error is None


async def test_the_row_is_what_was_put(either_world: World) -> None:
    made = await either_world.put(url=URL, filter=ROW.filter, secret=ROW.secret)
    assert await either_world.row() == made
    assert await either_world.registrations.active() == [made]
    await either_world.put(status="paused")
    assert await either_world.registrations.active() == []


async def test_two_who_make_it_at_once_make_one(either_world: World) -> None:
    world = either_world
    made = await asyncio.gather(
        *(
            world.registrations.put("shop", Wanted(url=f"{URL}/{number}"), actor="root")
            for number in range(6)
        )
    )
    assert sum(fresh is not None for _, fresh in made) == 1
    row = await world.row()
    assert row in [each for each, _ in made]
    (secret,) = [fresh for _, fresh in made if fresh is not None]
    assert row.secret == secret


async def test_of_two_deliverers_one_writes(either_world: World) -> None:
    world = either_world
    known = await world.put(url=URL)
    rows = world.registrations
    written = await asyncio.gather(
        *(rows.advance(known, 0, Message(f"id-{number}", "epoch-1", 1)) for number in range(4))
    )
    (row,) = [each for each in written if each is not None]
    assert await world.row() == row
    assert await rows.delivered(known, 1) is None
    delivered = await rows.delivered(row, 1)
    assert delivered is not None and (delivered.position, delivered.message) == (1, None)
    assert await rows.failed(row, "too late", "never") is None
    assert await rows.pause(row, "too late") is None
    assert await world.row() == delivered


async def test_a_deliverer_writes_nothing_over_an_operators_change(either_world: World) -> None:
    world = either_world
    rows = world.registrations
    known = await rows.advance(await world.put(url=URL), 0, Message("id-1", "epoch-1", 1))
    assert known is not None
    changed = await world.put(secret=Secret("another of sixteen characters"))
    assert await rows.delivered(known, 1) is None
    assert await world.row() == changed
    await rows.remove("shop", actor="root")
    again = await world.put(url=URL)
    assert await rows.delivered(known, 1) is None
    assert await world.row() == again


async def test_a_secret_is_not_in_what_a_row_says_of_itself(either_world: World) -> None:
    made = await either_world.put(url=URL, secret=ROW.secret)
    assert ROW.secret.text not in repr(made) + repr(await either_world.row())
