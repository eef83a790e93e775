"""Snapshots of many joining users, read together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..ledger.balances import Snapshot

MOST_USERS = 256


class SnapshotReader(Protocol):
    """Reads the balances of several users by one statement."""

    async def snapshot(self, user_ids: Sequence[str]) -> Snapshot:
        """Their balances and controls and the head, of one moment."""


class SharedSnapshots:
    """Answers everybody who asks while a read is under way with the next one."""

    def __init__(self, reader: SnapshotReader) -> None:
        self._reader = reader
        self._waiting: dict[str, list[asyncio.Future[Snapshot]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read(self, user_id: str) -> Snapshot:
        """A snapshot that has `user_id`, begun after this call; raises what reading raises."""
        answer: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, []).append(answer)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_waiting())
        return await answer

    async def _read_waiting(self) -> None:
        try:
            while self._waiting:
                users = list(islice(self._waiting, MOST_USERS))
                answers = [answer for user in users for answer in self._waiting.pop(user)]
                try:
                    snapshot = await self._reader.snapshot(users)
                except Exception as error:
                    for answer in answers:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    for answer in answers:
                        if not answer.done():
                            answer.set_result(snapshot)
        finally:
            self._reading = None
