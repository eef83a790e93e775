"""The trading site's money side, against a real server that it talks to from outside."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from trading.cashier import AnotherClerk, Booked, Slip
from trading.history import history
from trading.ledger import Refused
from trading.people import NotLoggedIn, Session
from trading.screens import Screen, ScreenEnded
from trading.site import Site, open_site
from trading.story import Numbers, Played, Unexpected, play
from trading.view import View

from ..conftest import RunTallywire, StartServer
from ..journeys.conftest import running_server
from ..services.server import SECRET, RunningServer

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def serving(
    tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path
) -> Iterator[RunningServer]:
    """One Tallywire for all tests that leave it running."""
    folder = tmp_path_factory.mktemp("trading")
    shutil.copyfile(_sqlite_template, folder / "tallywire.db")
    with running_server(folder, f"sqlite+aiosqlite:///{folder / 'tallywire.db'}") as running:
        yield running


@pytest.fixture
async def site(serving: RunningServer, tmp_path: Path) -> AsyncIterator[Site]:
    """The site on a database of its own, beside `serving`."""
    async with open_site(serving.base_url, f"sqlite+aiosqlite:///{tmp_path}/site.db", SECRET) as it:
        yield it


def _unheard(line: str) -> None:
    """Nobody listens to the story."""


async def _logged_in(site: Site, role: str = "user", ip: str = "203.0.113.9") -> Session:
    user_id = f"{role}-{next(_numbers)}"
    await site.people.register(user_id, role)
    return await site.people.log_in(user_id, ip)


def _slip(user: Session, amount: str, **papers: Any) -> Slip:
    papers = {"description": "Paid", "method": "cash"} | papers
    papers.setdefault("request_id", f"request-{next(_numbers)}")
    return Slip(user_id=user.user_id, asset="USDT", amount=amount, **papers)


def _changes(shown: list[dict[str, Any]]) -> list[tuple[str, str, Decimal, Decimal, int]]:
    return [
        (
            update["user_id"].partition("-")[0],
            update["change_type"],
            Decimal(change["amount"]),
            Decimal(change["balance"]),
            change["seq"],
        )
        for update in shown
        for change in update["changes"]
    ]


def _expected(numbers: Numbers) -> list[tuple[str, str, Decimal, Decimal, int]]:
    """What the story must put on the monitor, from its numbers alone."""
    moved = [
        ("ann", "deposit", Decimal(numbers.deposit)),
        ("ben", "deposit", Decimal(numbers.second_deposit)),
        ("ann", "withdrawal", -Decimal(numbers.withdrawal)),
        ("ben", "withdrawal", -Decimal(numbers.second_withdrawal)),
        ("ann", "adjustment", Decimal(numbers.adjustment)),
        ("ann", "deposit", Decimal(numbers.bonus)),
        ("ben", "deposit", Decimal(numbers.bonus)),
    ]
    balances, entries = {"ann": Decimal(0), "ben": Decimal(0)}, {"ann": 0, "ben": 0}
    expected = []
    for name, kind, amount in moved:
        balances[name] += amount
        entries[name] += 1
        expected.append((name, kind, amount, balances[name], entries[name]))
    return expected


def _check(played: Played, numbers: Numbers) -> None:
    expected = _expected(numbers)
    assert _changes(played.shown["monitor"]) == expected
    for name in ("ann", "ben"):
        own = [each for each in expected if each[0] == name]
        assert _changes(played.shown[name]) == own
        assert _changes(played.histories[name][::-1]) == own
        assert len(played.to_screen[name]) == len(own)

    denied, short = (refused.problem for refused in played.refused)
    assert (denied["status"], denied["code"]) == (403, "not_allowed")
    assert (short["status"], short["code"]) == (422, "insufficient_funds")
    before = expected[4][3]
    assert Decimal(short["available"]) == before
    assert Decimal(short["required"]) == before + Decimal(numbers.beyond)

    first = played.shown["monitor"][0]
    assert (first["actor"], first["actor_role"]) == (f"adam-{played.run}", "admin")
    assert first["idempotency_key"] == f"request-{played.run}-1"
    assert first["reference"] == f"BANK-{played.run}-1"
    assert first["metadata"] == {
        "method": "sepa",
        "bank_reference": f"BANK-{played.run}-1",
        "ip": "203.0.113.3",
        "approved_by": f"sue-{played.run}",
        "note": "Überweisung 存款",
        "ticket": "T-1",
    }
    assert played.histories["ann"][-1]["metadata"] == first["metadata"]
    assert {"internal", "actor"}.isdisjoint(played.histories["ann"][-1])


@pytest.mark.parametrize(
    "numbers",
    [
        Numbers(),
        Numbers(
            asset="BTC",
            deposit="0.00000003",
            withdrawal="0.00000001",
            adjustment="0.00000001",
            beyond="0.00000001",
            second_deposit="21000000",
            second_withdrawal="21000000",
            bonus="7",
        ),
        Numbers(
            asset="COIN",
            deposit="9",
            withdrawal="4",
            adjustment="-5",
            beyond="1",
            second_deposit="2",
            second_withdrawal="1",
        ),
    ],
    ids=lambda numbers: numbers.asset,
)
async def test_the_story(site: Site, numbers: Numbers) -> None:
    said: list[str] = []
    _check(await play(site, numbers, said.append), numbers)
    assert "ann asks for ben's: 403 not_allowed" in said


async def test_two_stories_at_once(site: Site) -> None:
    numbers = Numbers(deposit="81.000001", withdrawal="80", adjustment="-1")
    for played in await asyncio.gather(*(play(site, numbers, _unheard) for _ in range(2))):
        _check(played, numbers)


async def test_a_server_killed_in_the_midst_of_the_story(
    server: StartServer, tmp_path: Path, sqlite_url: str, tallywire: RunTallywire
) -> None:
    """In development mode, where the tokens of before are no good afterwards."""
    running = await server(database_url=sqlite_url, secret=None)
    restarts: list[asyncio.Task[None]] = []

    async def come_back() -> None:
        await running.wait_exit()
        await running.start()

    def say(line: str) -> None:
        if line.startswith("sue (superadmin) withdraws 300"):
            running.send_signal(signal.SIGKILL)
            restarts.append(asyncio.create_task(come_back()))

    async with open_site(running.base_url, f"sqlite+aiosqlite:///{tmp_path}/site.db") as site:
        _check(await play(site, Numbers(), say), Numbers())
    assert len(restarts) == 1 and restarts[0].done()
    await running.terminate()
    assert tallywire("verify", database_url=sqlite_url).returncode == 0


async def test_numbers_that_do_not_work_out(site: Site) -> None:
    with pytest.raises(Refused) as refused:
        await play(site, Numbers(withdrawal="500.250001"), _unheard)
    assert refused.value.code == "insufficient_funds"
    with pytest.raises(Unexpected, match="should be insufficient_funds"):
        await play(site, Numbers(beyond="-1"), _unheard)


async def test_the_story_notices_what_else_is_pushed(site: Site, serving: RunningServer) -> None:
    """Somebody else books for ann where the story is refused."""

    def say(line: str) -> None:
        if "insufficient_funds" in line:
            (ann,) = re.findall(r"main/(ann-\w+)/USDT", line)
            body = {"user_id": ann, "asset": "USDT", "amount": "1"}
            headers = serving.headers("root", "admin")
            httpx.post(f"{serving.base_url}/v1/deposits", json=body, headers=headers)

    with pytest.raises(Unexpected, match="ann's screen got something else"):
        await play(site, Numbers(), say)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("user", ()),
        ("auditor", ()),
        ("admin", ("deposit", "withdraw")),
        ("superadmin", ("deposit", "withdraw", "adjust")),
    ],
)
async def test_who_may_what(site: Site, role: str, may: tuple[str, ...]) -> None:
    """On another's account; what is refused moves nothing and is on no screen."""
    clerk, root, ann = [await _logged_in(site, each) for each in (role, "superadmin", "user")]
    await site.cashier.deposit(root, _slip(ann, "10"))
    async with site.screen(ann) as screen, site.screen(root, "monitor") as monitor:
        for name in ("deposit", "withdraw", "adjust"):
            operation = getattr(site.cashier, name)
            if name in may:
                await operation(clerk, _slip(ann, "1"))
                continue
            with pytest.raises(Refused) as refused:
                await operation(clerk, _slip(ann, "1"))
            assert (refused.value.status, refused.value.code) == (403, "not_allowed")
        marker = await site.cashier.deposit(root, _slip(ann, "1"))
        await screen.until(marker.position)
        await monitor.until(marker.position)
    kinds = {"deposit": "deposit", "withdraw": "withdrawal", "adjust": "adjustment"}
    expected = [kinds[name] for name in may] + ["deposit"]
    assert [update["change_type"] for update in screen.view.updates] == expected
    seen = [u for u in monitor.view.updates if u["user_id"] == ann.user_id]
    assert [update["change_type"] for update in seen] == expected
    assert screen.view.updates[-1]["changes"][0]["seq"] == 2 + len(may)


async def test_users_withdraw_for_themselves_alone(site: Site) -> None:
    root, ann, auditor = [await _logged_in(site, r) for r in ("superadmin", "user", "auditor")]
    await site.cashier.deposit(root, _slip(ann, "10"))
    booked = await site.cashier.withdraw(ann, _slip(ann, "4"))
    assert booked.updates[0]["changes"][0]["balance"] == "6.000000"
    with pytest.raises(Refused) as refused:
        await site.cashier.withdraw(auditor, _slip(auditor, "1"))
    assert refused.value.status == 403


async def test_who_has_logged_out_asks_for_nothing(site: Site) -> None:
    ann = await _logged_in(site)
    await site.people.log_out(ann)
    with pytest.raises(NotLoggedIn):
        await site.cashier.withdraw(ann, _slip(ann, "1"))


async def test_a_request_is_booked_once(site: Site) -> None:
    """Clicked many times at once, on two devices; and by two clerks at once."""
    adam, sue, ann = [await _logged_in(site, each) for each in ("admin", "superadmin", "user")]
    phone = await site.people.log_in(adam.user_id, "198.51.100.7")
    slip = _slip(ann, "10")
    clicks = await asyncio.gather(
        *(site.cashier.deposit(session, slip) for session in [adam, phone] * 4)
    )
    assert len({booked.transaction_id for booked in clicks}) == 1
    assert sorted(booked.replayed for booked in clicks) == [False] + [True] * 7

    slip = _slip(ann, "10")
    ended = await asyncio.gather(
        *(site.cashier.deposit(session, slip) for session in (adam, sue)), return_exceptions=True
    )
    assert {type(each) for each in ended} == {Booked, AnotherClerk}
    assert len(await history(site.ledger, ann, ann.user_id)) == 2

    # What was refused is not remembered: the same request may go through later.
    out = _slip(ann, "25")
    with pytest.raises(Refused):
        await site.cashier.withdraw(adam, out)
    await site.cashier.deposit(sue, _slip(ann, "5"))
    assert (await site.cashier.withdraw(adam, out)).updates[0]["changes"][0]["available"] == (
        "0.000000"
    )
    # Another operation under a request that was booked.
    with pytest.raises(Refused) as refused:
        await site.cashier.deposit(adam, out)
    assert refused.value.code == "idempotency_key_reused"


async def test_two_sessions_race_for_one_balance(site: Site) -> None:
    sue, ann = [await _logged_in(site, each) for each in ("superadmin", "user")]
    phone = await site.people.log_in(ann.user_id, "198.51.100.7")
    await site.cashier.deposit(sue, _slip(ann, "100"))
    async with site.screen(ann) as screen:
        ended = await asyncio.gather(
            *(site.cashier.withdraw(each, _slip(ann, "80")) for each in [ann, phone] * 3),
            return_exceptions=True,
        )
        assert [type(each) for each in ended].count(Booked) == 1
        for refused in ended:
            if isinstance(refused, Refused):
                assert refused.problem["required"] == "80.000000"
                assert refused.problem["available"] == "20.000000"
        marker = await site.cashier.deposit(sue, _slip(ann, "1"))
        await screen.until(marker.position)
    assert [u["change_type"] for u in screen.view.updates] == ["withdrawal", "deposit"]


def _papers_of(size: int) -> dict[str, Any]:
    """Papers whose metadata have `size` bytes, up to the depth that is allowed, in many scripts."""
    more: dict[str, Any] = {"a": {"b": {"c": [{"d": "深い"}]}}, "ключ 🔑": "é\u2028\\\"'</script>"}
    filled = {**more, "filler": ""}
    known = {"method": "cash", "ip": "203.0.113.9"}
    left = size - len(
        json.dumps({**filled, **known}, ensure_ascii=False, separators=(",", ":")).encode()
    )
    return {**more, "filler": "ü" * (left // 2) + "x" * (left % 2)}


async def test_metadata_at_their_limits(site: Site) -> None:
    sue, ann = [await _logged_in(site, each) for each in ("superadmin", "user")]
    async with site.screen(ann) as screen, site.screen(sue, "monitor") as monitor:
        booked = await site.cashier.deposit(sue, _slip(ann, "1", more=_papers_of(4096)))
        too_much: list[dict[str, Any]] = [
            _papers_of(4097),
            {"a": {"b": {"c": [{"d": {}}]}}},
            {"a": "\x00"},
        ]
        for more in too_much:
            with pytest.raises(Refused) as refused:
                await site.cashier.deposit(sue, _slip(ann, "1", more=more))
            assert (refused.value.status, refused.value.code) == (400, "invalid_request")
        marker = await site.cashier.deposit(sue, _slip(ann, "1"))
        await screen.until(marker.position)
        await monitor.until(marker.position)
    kept = {**_papers_of(4096), "method": "cash", "ip": "203.0.113.9"}
    found = await history(site.ledger, ann, ann.user_id, metadata={"ключ 🔑": kept["ключ 🔑"]})
    seen = [u for u in monitor.view.updates if u["user_id"] == ann.user_id]
    assert [update["metadata"] for update in (*found, screen.view.updates[0], seen[0])] == [
        kept
    ] * 3
    assert len(screen.view.updates) == len(seen) == 2
    assert found[0]["transaction_id"] == booked.transaction_id


async def test_history_is_found_by_its_papers(site: Site) -> None:
    sue, ann, ben = [await _logged_in(site, each) for each in ("superadmin", "user", "user")]
    for number, method in enumerate(("sepa", "card", "sepa"), 1):
        slip = _slip(ann, str(number), method=method, bank_reference=f"B/{number}", ticket="T-7")
        await site.cashier.deposit(sue, slip)
    await site.cashier.deposit(sue, _slip(ben, "1", method="sepa"))

    async def amounts(session: Session, **wanted: Any) -> list[str]:
        found = await history(site.ledger, session, ann.user_id, **wanted)
        return [update["changes"][0]["amount"][0] for update in found]

    assert await amounts(ann) == ["3", "2", "1"]
    assert await amounts(ann, metadata={"method": "sepa"}) == ["3", "1"]
    assert await amounts(sue, metadata={"method": "sepa", "ticket": "T-7"}) == ["3", "1"]
    assert await amounts(sue, metadata={"method": "sepa", "ticket": "T-8"}) == []
    assert await amounts(sue, reference="B/2") == ["2"]
    assert await amounts(sue, reference="B/*", metadata={"method": "card"}) == ["2"]
    with pytest.raises(Refused) as refused:
        await amounts(ben)
    assert refused.value.status == 403


class _Wire:
    """
    Carries connections to a server and cuts them. While it is down it turns new ones away; where
    `losing` it cuts instead of handing on what the server says next.
    """

    def __init__(self, upstream: int) -> None:
        self.down = False
        self.losing = False
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections at once; bytes under way are lost."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        upstream, onwards = await asyncio.open_connection("127.0.0.1", self._upstream)
        both = {writer, onwards}
        self._writers |= both
        await asyncio.gather(
            self._carry(reader, onwards), self._carry(upstream, writer, answers=True)
        )
        self._writers -= both

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        try:
            while data := await reader.read(65536):
                if answers and self.losing:
                    self.losing = False
                    break
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_a_change_whose_answer_is_lost_is_booked_once(
    serving: RunningServer, tmp_path: Path
) -> None:
    database_url = f"sqlite+aiosqlite:///{tmp_path}/site.db"
    async with _Wire(serving.port) as wire, open_site(wire.url, database_url, SECRET) as site:
        sue, ann = [await _logged_in(site, each) for each in ("superadmin", "user")]
        wire.losing = True
        booked = await site.cashier.deposit(sue, _slip(ann, "10"))
        assert booked.replayed and not wire.losing
        assert [u["position"] for u in await history(site.ledger, ann, ann.user_id)] == [
            booked.position
        ]


@asynccontextmanager
async def _over(wire: _Wire, site: Site, session: Session, view: View) -> AsyncIterator[Screen]:
    url = f"ws{wire.url.removeprefix('http')}/ws"
    async with Screen(url, view, lambda: site.tokens.token(session), jitter=lambda: 1) as it:
        yield it


async def test_screens_miss_nothing_over_lost_connections(
    site: Site, serving: RunningServer
) -> None:
    """Two screens of one user and a monitor: cut off for a while, and cut again in a burst."""
    sue, ann, ben = [await _logged_in(site, each) for each in ("superadmin", "user", "user")]
    async with _Wire(serving.port) as wire, AsyncExitStack() as open_screens:
        views = [(ann, View()), (ann, View()), (sue, View("monitor"))]
        screens = [
            await open_screens.enter_async_context(_over(wire, site, *each)) for each in views
        ]
        steady = await open_screens.enter_async_context(site.screen(ann))
        booked = [await site.cashier.deposit(sue, _slip(ann, "3"))]
        wire.down = True
        wire.cut()
        for amount in ("4", "5"):
            booked.append(await site.cashier.deposit(sue, _slip(ann, amount)))
            await site.cashier.deposit(sue, _slip(ben, "99"))
        await steady.until(booked[-1].position)
        wire.down = False
        for screen in screens:
            await screen.until(booked[-1].position)
        for _ in range(4):
            burst = [site.cashier.withdraw(ann, _slip(ann, "0.5")) for _ in range(4)]
            wire.cut()
            booked += await asyncio.gather(*burst)
        for screen in (*screens, steady):
            await screen.until(max(each.position for each in booked))

    told = sorted(each.position for each in booked)
    for screen in (*screens, steady):
        of_ann = [u for u in screen.view.updates if u["user_id"] == ann.user_id]
        assert [update["position"] for update in of_ann] == told
        assert [update["changes"][0]["seq"] for update in of_ann] == list(range(1, 20))
        assert screen.view.balances[f"main/{ann.user_id}/USDT"]["balance"] == "4.000000"
    assert [screen.connections >= 3 for screen in screens] == [True] * 3
    assert steady.connections == 1
    assert {u["user_id"] for u in steady.view.updates} == {ann.user_id}


async def test_a_screen_that_is_not_let_in_says_so(site: Site) -> None:
    ann = await _logged_in(site)
    with pytest.raises(ScreenEnded, match="4003"):
        async with site.screen(ann, "monitor"):
            pass

    async def forged() -> str:
        return "not-a-token"

    with pytest.raises(ScreenEnded, match="4001"):
        async with Screen(site.screens_url, View(), forged, jitter=lambda: 1):
            pass
