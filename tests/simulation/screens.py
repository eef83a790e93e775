"""
Clients that watch, go away, come back where they were, and hold each message against the oracle.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from ..journeys.client import Json, Screen, minor
from .faults import Faults
from .loop import Process, SimulatedLoop
from .oracle import Oracle
from .pipe import Pipe, PipeClosed
from .server import Server
from .trace import Trace, Violation
from .trading import DEMO

RECONNECT = 0.3


class WatchingScreen(Screen):
    """A screen whose every cursor is checked: SCREEN=LEDGER, and nothing was left out."""

    def __init__(self, oracle: Oracle, user: str, streams: tuple[str, ...], mode: str | None):
        super().__init__("http://simulated", f"{user} superadmin", user_id=user, streams=streams)
        self.mode = mode
        self._oracle = oracle
        self._got: list[int] = []
        self._kind = ""

    def hello(self, resume: Json | None) -> str:
        """Begin a connection: the first message."""
        self.resumed = None
        self.replayed = 0
        self._parts = []
        self._inits_due = [stream for stream in ("balances", "monitor") if stream in self.streams]
        self._got = []
        self._seen_own = []
        if resume is not None:
            self.accounts.shown = dict(self._at_cursor)
            self.updates = [u for u in self.updates if u["position"] <= (self.cursor or 0)]
        message: Json = {"type": "connect", "token": self.token, "streams": list(self.streams)}
        if self.mode is not None:
            message["mode"] = self.mode
        if resume is not None:
            message["resume"] = resume
        return json.dumps(message)

    def take(self, text: str) -> None:
        """A message arrived; raises AssertionError where it does not follow."""
        message = json.loads(text)
        self._kind = message["type"]
        if self._kind == "user_balance_init":
            self._check_init(message)
        if self._kind == "balance_update":
            self._check_update(message, self._oracle.shown_hold(message["position"], self.user_id))
            self._got.append(message["position"])
        elif self._kind == "trading_control_update":
            self._check_control(message)
            self._got.append(message["position"])
        elif self._kind == "admin_balance_monitor":
            for update in message["updates"]:
                self._check_update(update, self._oracle.shown_hold(update["position"], None))
        elif self._kind == "admin_monitor_init" or message.get("reason") == "reset":
            # A new epoch may cut a replay short: what was announced of it is void.
            self.resumed = None
        self._receive(message)

    def _move_to(self, position: int) -> None:
        before, oracle = self.cursor, self._oracle
        super()._move_to(position)
        if position > oracle.head:
            raise Violation(f"{self.user_id} was moved to {position}; the head is {oracle.head}")
        if "balances" not in self.streams:
            return
        if self._kind in ("user_balance_init", "admin_monitor_init"):
            self._got, self._seen_own = [], []
        elif self.mode != "latest":
            covered = [got for got in self._got if got <= position]
            wanted = oracle.positions(self.user_id, before or 0, position)
            if covered != wanted:
                raise Violation(
                    f"{self.user_id}: {self._kind} moves {before} to {position}, with {covered} "
                    f"sent of {wanted}"
                )
            self._got = self._got[len(covered) :]
        if not self._got:
            self._check_shown(position)

    def _check_update(self, update: Json, hold: Json | None) -> None:
        oracle, position = self._oracle, update["position"]
        if position > oracle.head:
            raise Violation(f"{self.user_id} is shown {position}; the head is {oracle.head}")
        if update.get("hold") != hold:
            raise Violation(f"HOLD_ACCOUNTING: {self.user_id} is shown {update}, not {hold}")
        if update.get("trade") != (trade := oracle.shown_trade(position)):
            raise Violation(f"{self.user_id} is shown {update}, not {trade}")
        known = oracle.transactions[position - 1]
        said = (update["transaction_id"], update["reference"])
        if said != (known.id, known.reference) or update["user_id"] not in known.users:
            raise Violation(f"{self.user_id} is shown {update} for {known}")

    def _check_init(self, message: Json) -> None:
        mode = self._oracle.market.at(message["position"]).controls.get(self.user_id)
        if message["control"] != (mode and {"mode": mode, "book": DEMO}):
            raise Violation(f"{self.user_id} begins with {message['control']}, not {mode}")

    def _check_control(self, message: Json) -> None:
        known = self._oracle.transactions[message["position"] - 1]
        assert known.item.order is not None
        said = (message["user_id"], message["mode"], message["book"])
        if said != (self.user_id, known.item.order.side, DEMO):
            raise Violation(f"{self.user_id} is told {message} of {known}")

    def _check_shown(self, position: int) -> None:
        wanted = self._oracle.balances(self.user_id, position)
        if set(wanted) != set(self.accounts.shown):
            raise Violation(
                f"SCREEN=LEDGER: {self.user_id} at {position} shows "
                f"{sorted(self.accounts.shown)}, not {sorted(wanted)}"
            )
        for name, state in wanted.items():
            shown = self.accounts.shown[name]
            found = (
                minor(shown["balance"], shown["scale"]),
                shown["seq"],
                shown["digest"],
                shown["status"],
                minor(shown["held"], shown["scale"]),
            )
            purse = state.purse
            if found != (purse.balance, purse.seq, state.digest, purse.status, purse.held):
                raise Violation(f"SCREEN=LEDGER: {name} at {position} shows {found}, not {state}")


class Client:
    """A person with a screen: connects, reads at some pace, vanishes, comes back."""

    def __init__(
        self,
        loop: SimulatedLoop,
        name: str,
        screen: WatchingScreen,
        pick: Callable[[], Server | None],
        faults: Faults,
        trace: Trace,
    ) -> None:
        self.process = Process(loop, name)
        self.screen = screen
        self.connected = False
        self._pick = pick
        self._faults = faults
        self._trace = trace
        self.task = self.process.start(self._run())

    async def _run(self) -> None:
        resume: Json | None = None
        fits = True
        while True:
            server = self._pick()
            if server is None:
                await asyncio.sleep(RECONNECT)
                continue
            pipe = Pipe(self.process, self._faults)
            await asyncio.sleep(self._faults.latency())
            server.serve(pipe)
            pipe.say(self.screen.hello(resume))
            wanted = f"from {resume['position']}" if resume else "anew"
            self._trace.note(self.process.name, f"connects to {server.process.name} {wanted}")
            self._plan_to_vanish(pipe)
            await self._read(pipe, fits)
            self.connected = False
            resume, fits = self._next_resume()
            await asyncio.sleep(self._faults.between(0.0, 2 * RECONNECT))

    async def _read(self, pipe: Pipe, fits: bool) -> None:
        slow = self._faults.chance(self._faults.profile.slow_readers)
        try:
            while True:
                self.screen.take(await pipe.hear())
                if self.screen.resumed is not None and not fits:
                    raise Violation(f"{self.process.name} resumed with heads that do not fit")
                self.connected = True
                if slow and self._faults.now():
                    await asyncio.sleep(self._faults.between(0.0, 0.4))
        except PipeClosed as closed:
            self._trace.note(
                self.process.name, f"was closed with {closed.code} at {self.screen.cursor}"
            )

    def _plan_to_vanish(self, pipe: Pipe) -> None:
        faults = self._faults
        if faults.chance(faults.profile.vanishing):
            self.process.call_later(faults.between(0.0, 6.0), pipe.cut)

    def _next_resume(self) -> tuple[Json | None, bool]:
        """What to resume with next, and whether the server should take it."""
        screen, random = self.screen, self._faults.random
        if screen.epoch is None or screen.cursor is None or self._faults.chance(0.1):
            screen.cursor = None
            return None, True
        resume = screen.resume_point
        if self._faults.chance(0.15):
            return _spoiled(resume, random.choice(("epoch", "beyond", "digest", "seq")))
        return resume, True


def _spoiled(resume: Json, how: str) -> tuple[Json, bool]:
    heads: dict[str, Any] = {name: dict(head) for name, head in resume["heads"].items()}
    spoiled = {**resume, "heads": heads}
    if how == "epoch":
        spoiled["epoch"] = "another"
    elif how == "beyond" or not heads:
        spoiled["position"] += 1_000_000
    elif how == "digest":
        next(iter(heads.values()))["digest"] = "f" * 64
    else:
        next(iter(heads.values()))["seq"] += 1
    return spoiled, False
