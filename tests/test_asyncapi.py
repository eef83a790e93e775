"""The description of the wire: valid, complete, kept in docs/, and true of what is really sent."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from tallywire.asyncapi import document
from tallywire.ws import closes
from tallywire.ws.messages import INCOMING, OUTGOING, type_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from docs.asyncapi import FILE, written

from .conftest import StartServer
from .services.server import RunningServer
from .ws.strictly import read_strictly

ROOT = Path(__file__).parents[1]
SPECIFICATION = ROOT / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
ZEROS = "0" * 64
PATIENCE = 20.0

Json = dict[str, Any]


def test_the_description_is_valid_asyncapi() -> None:
    validator = jsonschema.Draft7Validator(json.loads(SPECIFICATION.read_text()))
    described = document("1")
    assert list(validator.iter_errors(described)) == []
    described["channels"]["ws"]["messages"]["ping"] = 5
    assert list(validator.iter_errors(described)) != []


def test_every_reference_leads_somewhere() -> None:
    described = document("1")
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(described)))
    assert len(references) > 50
    for reference in references:
        found: Any = described
        for step in reference.split("/"):
            found = found[step]


def test_every_message_is_described_and_said_in_words() -> None:
    described = document("1")
    for form in (*INCOMING, *OUTGOING):
        message = described["components"]["messages"][type_of(form)]
        assert message["summary"] and "\n" not in message["summary"]
        assert described["components"]["schemas"][form.__name__]["description"]
    told = {ref["$ref"].split("/")[-1] for ref in described["operations"]["tell"]["messages"]}
    assert told == {type_of(form) for form in OUTGOING}
    codes = {
        each["code"]: each["reconnect"] for each in described["channels"]["ws"]["x-close-codes"]
    }
    assert codes == {each.code: each.reconnect for each in closes.ALL}


def test_the_file_in_docs_is_what_the_code_gives() -> None:
    assert FILE.read_bytes() == written(), "make docs"


class Described:
    """What went over the wire, held to the description that the server itself gives."""

    def __init__(self, description: Json) -> None:
        self._components = {"components": description["components"]}
        self._messages = description["components"]["messages"]
        self.types: set[str] = set()
        self.reasons: set[str] = set()
        self.replayed: set[str] = set()

    def check(self, name: str, message: Json) -> None:
        """`message` is of the described message `name`."""
        payload = self._messages[name]["payload"]
        jsonschema.Draft7Validator({**payload, **self._components}).validate(message)

    def receive(self, text: str) -> Json:
        """Take what the server sent."""
        read_strictly(text)
        message: Json = json.loads(text)
        self.check(message["type"], message)
        self.types.add(message["type"])
        self.reasons.add(message.get("reason", ""))
        if message.get("replayed"):
            self.replayed.add(message["type"])
        return message


class Peer:
    """One WebSocket whose every message is checked."""

    def __init__(self, socket: ClientConnection, described: Described) -> None:
        self._socket = socket
        self._described = described

    async def say(self, type: str, **fields: Any) -> None:
        message = {"type": type, **fields}
        self._described.check(type, message)
        await self._socket.send(json.dumps(message))

    async def next(self) -> Json:
        """The next message."""
        async with asyncio.timeout(PATIENCE):
            return self._described.receive(str(await self._socket.recv()))

    async def hear(self, type: str) -> Json:
        """The next message of that type."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = self._described.receive(str(await self._socket.recv()))
                if message["type"] == type:
                    return message

    async def rest(self) -> int:
        """Everything up to the close; its code."""
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    self._described.receive(str(await self._socket.recv()))
            except ConnectionClosed as closed:
                assert closed.rcvd is not None
                return closed.rcvd.code


async def test_what_is_sent_is_what_is_described(server: StartServer, sqlite_url: str) -> None:
    running = await server(database_url=sqlite_url)
    async with httpx.AsyncClient(base_url=running.base_url, timeout=PATIENCE) as http:
        http.headers.update(running.headers("root", "superadmin"))
        described = Described((await http.get("/asyncapi.json")).json())
        await _deposit(http)
        streamed = asyncio.create_task(_stream(running, described))
        await _talk(running, described, http)
        await _watch(running, described, http)
        await _trade(running, described, http)
        await _come_back(running, described)
        await _repair(running, described, http, sqlite_url)
        leaving = asyncio.create_task(_leave(running, described))
        assert await leaving == closes.RESTARTING.code
        await streamed
    assert described.types == {type_of(form) for form in OUTGOING} | {"close"}
    assert described.reasons > {"connect", "reset", "repair"}
    assert described.replayed == {
        "balance_update",
        "trading_control_update",
        "user_balance_init",
    }


def _connect(running: RunningServer) -> connect:
    return connect(running.ws_url, open_timeout=PATIENCE)


async def _deposit(http: httpx.AsyncClient, book: str = "main", amount: str = "10") -> None:
    place = {"user_id": "alice", "book": book, "asset": "USDT"}
    body = {**place, "amount": amount, "metadata": {"via": ["bank"]}}
    (await http.post("/v1/deposits", json=body)).raise_for_status()


async def _talk(running: RunningServer, described: Described, http: httpx.AsyncClient) -> None:
    """One screen: its balances, a deposit, a hold, and all that it may say itself."""
    async with _connect(running) as socket:
        alice = Peer(socket, described)
        await alice.say("connect", token=running.token("alice"), streams=["balances"], req_id=1)
        assert (await alice.hear("user_balance_init"))["reason"] == "connect"
        await alice.say("ping", req_id={"any": "thing"})
        assert (await alice.hear("pong"))["req_id"] == {"any": "thing"}
        await alice.say("refresh", token=running.token("alice", ttl=7200))
        await alice.hear("refreshed")
        await socket.send('{"type":"dance","req_id":7}')
        assert (await alice.hear("error"))["req_id"] == 7
        hold = {"user_id": "alice", "asset": "USDT", "amount": "1", "expires_in_s": 3600}
        (await http.post("/v1/holds", json=hold)).raise_for_status()
        assert (await alice.hear("balance_update"))["hold"]["placed_by"] is None
        threshold = {"alert_below": "5"}
        account = "/v1/admin/accounts/main/alice/USDT"
        (await http.patch(account, json=threshold)).raise_for_status()
        await alice.hear("balance_update")
        spent = {"user_id": "alice", "asset": "USDT", "amount": "5", "description": "rent"}
        (await http.post("/v1/withdrawals", json=spent)).raise_for_status()
        (change,) = (await alice.hear("balance_update"))["changes"]
        assert change["alert"] == "low_balance"


async def _watch(running: RunningServer, described: Described, http: httpx.AsyncClient) -> None:
    """The monitor, mode latest, and a connection that begins with a heartbeat."""
    async with _connect(running) as first, _connect(running) as second, _connect(running) as third:
        ada, alice = Peer(first, described), Peer(second, described)
        await ada.say(
            "connect",
            token=running.token("ada", "auditor"),
            streams=["balances", "monitor"],
            filter={"user_id": "alice", "min_amount": None},
        )
        await ada.hear("admin_monitor_init")
        await alice.say("connect", token=running.token("alice"), mode="latest")
        await alice.hear("user_balance_init")
        await _deposit(http)
        assert len((await ada.hear("admin_balance_monitor"))["updates"]) == 1
        assert len((await alice.hear("balance_latest"))["balances"]) == 1
        prices = Peer(third, described)
        await prices.say("connect", token=running.token("alice"), streams=["prices"])
        await prices.hear("heartbeat")
        await prices.hear("prices")


async def _trade(running: RunningServer, described: Described, http: httpx.AsyncClient) -> None:
    """An order, an option that is made to lose: as their user and as a monitor sees them."""
    await _deposit(http, book="demo", amount="1000")
    (await http.put("/v1/prices/BTC-USDT", json={"price": "64000"})).raise_for_status()
    async with _connect(running) as first, _connect(running) as second:
        alice, ada = Peer(first, described), Peer(second, described)
        await alice.say("connect", token=running.token("alice"), streams=["balances", "prices"])
        assert (await alice.hear("user_balance_init"))["control"] is None
        (price,) = (await alice.hear("prices"))["prices"]
        assert (price["price"], price["source"]) == ("64000.00", "pushed")
        await ada.say(
            "connect",
            token=running.token("ada", "auditor"),
            streams=["monitor"],
            filter={"user_id": "alice", "book": "demo"},
        )
        await ada.hear("admin_monitor_init")
        http.headers.update(running.headers("alice"))
        traded = {"pair": "BTC-USDT", "book": "demo", "client_order_id": "mine"}
        order = await http.post(
            "/v1/spot/orders", json={**traded, "side": "buy", "base_amount": "0.01"}
        )
        order.raise_for_status()
        update = await alice.hear("balance_update")
        assert (len(update["changes"]), update["trade"]["kind"]) == (2, "spot")
        http.headers.update(running.headers("root", "superadmin"))
        control = await http.put("/v1/admin/trading-controls/alice", json={"mode": "lose"})
        control.raise_for_status()
        assert (await alice.hear("trading_control_update"))["mode"] == "lose"
        http.headers.update(running.headers("alice"))
        stake = {**traded, "direction": "up", "stake": "10", "duration_s": 300}
        opened = await http.post("/v1/options", json={**stake, "client_order_id": None})
        option = opened.raise_for_status().json()["trade"]
        assert (await alice.hear("balance_update"))["trade"]["control"] == "lose"
        http.headers.update(running.headers("root", "superadmin"))
        forced = await http.post(f"/v1/options/{option['id']}/force", json={"outcome": "lose"})
        forced.raise_for_status()
        lost = await alice.hear("balance_update")
        assert (lost["changes"], lost["trade"]["outcome"]) == ([], "lose")
        seen: list[str] = []
        while "option_settled" not in seen:
            updates = (await ada.hear("admin_balance_monitor"))["updates"]
            seen += [update["change_type"] for update in updates]
        assert seen == ["spot_buy", "trading_control", "option_opened", "option_settled"]


async def _come_back(running: RunningServer, described: Described) -> None:
    """A resume that fits, and one that does not."""
    async with _connect(running) as socket:
        alice = Peer(socket, described)
        await alice.say("connect", token=running.token("alice"))
        init = await alice.hear("user_balance_init")
    for digest, answer in ((ZEROS, "resumed"), ("f" * 64, "user_balance_init")):
        async with _connect(running) as socket:
            alice = Peer(socket, described)
            heads = {"main/alice/USDT": {"seq": 0, "digest": digest}}
            resume = {"epoch": init["epoch"], "position": 0, "heads": heads}
            await alice.say("connect", token=running.token("alice"), resume=resume)
            answered = await alice.hear(answer)
            for _ in range(answered.get("count", 0)):
                assert (await alice.next())["replayed"]


async def _repair(
    running: RunningServer, described: Described, http: httpx.AsyncClient, url: str
) -> None:
    """A row of the database is falsified, and put right: live, and on a later resume."""
    async with _connect(running) as socket:
        alice = Peer(socket, described)
        await alice.say("connect", token=running.token("alice"))
        init = await alice.hear("user_balance_init")
        with sqlite3.connect(url.partition("///")[2]) as database:
            database.execute("UPDATE accounts SET balance = balance + 1 WHERE owner = 'alice'")
        database.close()
        started = await http.post("/v1/admin/verifications", json={"fix": True})
        started.raise_for_status()
        assert (await alice.hear("user_balance_init"))["reason"] == "repair"
    async with _connect(running) as socket:
        alice = Peer(socket, described)
        resume = {"epoch": init["epoch"], "position": init["position"]}
        await alice.say("connect", token=running.token("alice"), resume=resume)
        await alice.hear("resumed")
        assert (await alice.hear("user_balance_init"))["replayed"]


async def _leave(running: RunningServer, described: Described) -> int:
    async with _connect(running) as socket:
        alice = Peer(socket, described)
        await alice.say("connect", token=running.token("alice"))
        await alice.hear("user_balance_init")
        ended = asyncio.create_task(running.terminate())
        await alice.hear("server_shutdown")
        code = await alice.rest()
        assert await ended == 0
        return code


async def _stream(running: RunningServer, described: Described) -> None:
    """Server-sent events until the server goes."""
    async with (
        httpx.AsyncClient(base_url=running.base_url, timeout=PATIENCE) as http,
        http.stream("GET", "/v1/stream", headers=running.headers("alice")) as answer,
    ):
        event = ""
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == "close":
                described.check(event, json.loads(value))
                described.types.add(event)
            elif name == "data":
                assert described.receive(value)["type"] == event
