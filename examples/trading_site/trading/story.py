"""A morning at the cashier's desk: what staff do, what each screen gets, what is kept of it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal

from .cashier import Booked, Slip
from .deliveries import delivered
from .history import history
from .ledger import Json, Refused
from .notices import Notices
from .people import Session
from .screens import Screen
from .site import Site

Say = Callable[[str], None]
Operation = Callable[[Session, Slip], Awaitable[Booked]]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """
    The story's amounts, decimal strings in whole units of `asset`.

    Ann gets `deposit`, pays out `withdrawal` and is put right by `adjustment` (signed); then
    `beyond` more than she has is asked for. Ben gets `second_deposit` and pays out
    `second_withdrawal`. In the end both get `bonus`.
    """

    asset: str = "USDT"
    deposit: str = "500.25"
    withdrawal: str = "120.75"
    adjustment: str = "-25.50"
    beyond: str = "250"
    second_deposit: str = "1000"
    second_withdrawal: str = "300"
    bonus: str = "1"


@dataclass
class Played:
    """
    What came of a story.

    booked: in their order; refused: likewise. shown: the updates that each screen got, by the name
    on it. to_screen: by the same, the seconds from each answer to that screen, below zero where it
    was first. histories: by name, newest first. notices: by name, in their order.
    """

    run: str
    booked: list[Booked] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    shown: dict[str, list[Json]] = field(default_factory=dict)
    to_screen: dict[str, list[float]] = field(default_factory=dict)
    histories: dict[str, list[Json]] = field(default_factory=dict)
    notices: dict[str, list[str]] = field(default_factory=dict)


class Unexpected(Exception):
    """The story did not go as it is told."""


async def play(site: Site, numbers: Numbers, say: Say, *, with_notices: bool = False) -> Played:
    """
    Play the story with users of its own and tell it by `say`, line by line.

    with_notices: have a webhook tell the site's mailer of every change. Raises Unexpected where a
    screen got something else than what was booked, Refused where the numbers do not work out.
    """
    run = secrets.token_hex(3)
    desk = await _Desk.open(site, numbers, say, run)
    async with AsyncExitStack() as open_screens:
        for name in ("ann", "ben"):
            screen = site.screen(desk.sessions[name])
            desk.screens[name] = await open_screens.enter_async_context(screen)
        monitor = site.screen(desk.sessions["sue"], "monitor")
        desk.screens["monitor"] = await open_screens.enter_async_context(monitor)
        notices = site.notices()
        if with_notices:
            mailer = delivered(site.ledger, desk.sessions["sue"], f"site-{run}", notices)
            await open_screens.enter_async_context(mailer)
        await _movements(desk, numbers)
        _tell_screens(desk)
        if with_notices:
            await _tell_notices(desk, notices)
    await _tell_histories(desk)
    return desk.played


async def _movements(desk: _Desk, numbers: Numbers) -> None:
    cashier = desk.site.cashier
    first = desk.slip("ann", numbers.deposit, "Bank deposit", "sepa", note="Überweisung 存款")
    await desk.books("adam", "deposits", cashier.deposit, first)
    await desk.clicks_again("adam", cashier.deposit, first)
    second = desk.slip("ben", numbers.second_deposit, "Card payment", "card")
    await desk.books("sue", "deposits", cashier.deposit, second)
    out = desk.slip("ann", numbers.withdrawal, "Paid out", "sepa")
    await desk.books("adam", "withdraws", cashier.withdraw, out)
    out = desk.slip("ben", numbers.second_withdrawal, "Paid out", "cash", note="ID was shown")
    await desk.books("sue", "withdraws", cashier.withdraw, out)
    wrong = desk.slip("ann", numbers.adjustment, "Fee was not taken", "correction")
    await desk.books("sue", "adjusts", cashier.adjust, wrong)

    wrong = desk.slip("ben", numbers.adjustment, "Fee was not taken", "correction")
    await desk.is_refused("adam", "adjusts", cashier.adjust, wrong, "not_allowed")
    (owned,) = desk.screens["ann"].view.balances.values()
    too_much = f"{Decimal(owned['available']) + Decimal(numbers.beyond):f}"
    out = desk.slip("ann", too_much, "Paid out", "sepa")
    await desk.is_refused("sue", "withdraws", cashier.withdraw, out, "insufficient_funds")

    # Whatever the refused had pushed would stand before these on the screens.
    for name in ("ann", "ben"):
        bonus = desk.slip(name, numbers.bonus, "Thank you for waiting", "bonus")
        await desk.books("adam", "deposits", cashier.deposit, bonus)


class _Desk:
    """Who takes part, their screens, and what has happened so far."""

    def __init__(self, site: Site, numbers: Numbers, say: Say, run: str) -> None:
        self.site = site
        self.asset = numbers.asset
        self.say = say
        self.sessions: dict[str, Session] = {}
        self.screens: dict[str, Screen] = {}
        self.played = Played(run)
        self._slips = 0

    @classmethod
    async def open(cls, site: Site, numbers: Numbers, say: Say, run: str) -> _Desk:
        """Register everybody under a name of this run, and log them in."""
        desk = cls(site, numbers, say, run)
        cast = {"ann": "user", "ben": "user", "adam": "admin", "sue": "superadmin"}
        for number, (name, role) in enumerate(cast.items(), 1):
            await site.people.register(f"{name}-{run}", role)
            desk.sessions[name] = await site.people.log_in(f"{name}-{run}", f"203.0.113.{number}")
        say(f"run {run}: " + ", ".join(f"{name}-{run} ({role})" for name, role in cast.items()))
        return desk

    def slip(
        self, name: str, amount: str, description: str, method: str, note: str | None = None
    ) -> Slip:
        """The next form of the day, with all its papers."""
        self._slips += 1
        number = f"{self.played.run}-{self._slips}"
        return Slip(
            request_id=f"request-{number}",
            user_id=self.sessions[name].user_id,
            asset=self.asset,
            amount=amount,
            description=description,
            method=method,
            bank_reference=f"BANK-{number}",
            approved_by=self.sessions["sue"].user_id,
            note=note,
            ticket=f"T-{self._slips}",
        )

    async def books(self, who: str, verb: str, operation: Operation, slip: Slip) -> None:
        """Somebody books a slip; its user's screen and the monitor get it."""
        asked = time.perf_counter()
        booked = await operation(self.sessions[who], slip)
        answered = time.perf_counter()
        self.played.booked.append(booked)
        self.say("")
        self.say(self._line(who, verb, slip))
        self.say(f"  booked at position {booked.position}, {_ms(answered - asked)} to the answer")
        for name in (_name(slip.user_id), "monitor"):
            screen = self.screens[name]
            await screen.until(booked.position)
            if booked.position not in screen.arrivals:
                raise Unexpected(f"position {booked.position} is not on {name}'s screen")
            took = screen.arrivals[booked.position] - answered
            self.played.to_screen.setdefault(name, []).append(took)
            when = "before" if took < 0 else "after"
            self.say(f"  {name}: on screen {_ms(abs(took))} {when} the answer")

    async def clicks_again(self, who: str, operation: Operation, slip: Slip) -> None:
        """The same request once more books nothing."""
        again = await operation(self.sessions[who], slip)
        if not again.replayed:
            raise Unexpected(f"{slip.request_id} was booked twice")
        self.say("  the second click gets the same answer and books nothing")

    async def is_refused(
        self, who: str, verb: str, operation: Operation, slip: Slip, code: str
    ) -> None:
        """Somebody asks for what is refused with `code`."""
        self.say("")
        self.say(self._line(who, verb, slip))
        try:
            booked = await operation(self.sessions[who], slip)
        except Refused as refused:
            if refused.code != code:
                raise
            self.played.refused.append(refused)
            self.say(f"  refused with {refused.status} {code}: {refused}")
            if "required" in refused.problem:
                required, available = refused.problem["required"], refused.problem["available"]
                self.say(f"  required {required}, available {available}")
        else:
            raise Unexpected(f"booked at position {booked.position}, and should be {code}")

    def _line(self, who: str, verb: str, slip: Slip) -> str:
        role = self.sessions[who].role
        return f"{who} ({role}) {verb} {slip.amount} {slip.asset} for {_name(slip.user_id)}"


def _tell_screens(desk: _Desk) -> None:
    run, played, say = desk.played.run, desk.played, desk.say
    say("")
    say("All that each screen got:")
    everybody = {session.user_id for session in desk.sessions.values()}
    for name, screen in desk.screens.items():
        shown = [u for u in screen.view.updates if name != "monitor" or u["user_id"] in everybody]
        played.shown[name] = shown
        users = everybody if name == "monitor" else {f"{name}-{run}"}
        told = [u for booked in played.booked for u in booked.updates if u["user_id"] in users]
        if [u["transaction_id"] for u in shown] != [u["transaction_id"] for u in told]:
            raise Unexpected(f"{name}'s screen got something else than what was booked")
        say(f"  {name}, {screen.view.checked} entries proved by their digests:")
        for update in shown:
            say(f"    {_told(update)}")
    say("The refused and the second click are on no screen: the bonus came right after what was")
    say("booked before them, and entry follows entry without a gap.")
    say("")
    say("From the answer to the screen, where minus is before it (a monitor gathers for 50 ms):")
    for name, took in played.to_screen.items():
        say(f"  {name} {_ms(min(took))} to {_ms(max(took))}")


async def _tell_notices(desk: _Desk, notices: Notices) -> None:
    played, say = desk.played, desk.say
    await notices.until(played.booked[-1].position)
    say("")
    say("The mailer's notices, from the webhook:")
    for name in ("ann", "ben"):
        user_id = desk.sessions[name].user_id
        written = await notices.of(user_id)
        told = [u for booked in played.booked for u in booked.updates if u["user_id"] == user_id]
        if len(written) != len(told):
            raise Unexpected(f"{name} has {len(written)} notices of {len(told)} changes")
        played.notices[name] = written
        for text in written:
            say(f"  to {name}: {text}")


async def _tell_histories(desk: _Desk) -> None:
    ledger, run, say = desk.site.ledger, desk.played.run, desk.say
    for name in ("ann", "ben"):
        session = desk.sessions[name]
        found = await history(ledger, session, session.user_id)
        desk.played.histories[name] = found
        say("")
        say(f"{name}'s history, newest first, as {name} sees it:")
        for update in found:
            say(f"  {_told(update)}: {update['description']}")
            say(f"    {json.dumps(update['metadata'], ensure_ascii=False)}")
    sue, ann, ben = (desk.sessions[name] for name in ("sue", "ann", "ben"))
    by_bank = await history(ledger, sue, ann.user_id, reference=f"BANK-{run}-*")
    by_ticket = await history(ledger, sue, ann.user_id, metadata={"ticket": "T-1"})
    say("")
    say(f"sue finds {len(by_bank)} of ann's by the bank's references BANK-{run}-*,")
    say(f"and by ticket T-1 {len(by_ticket)}: {by_ticket[0]['description']}")
    try:
        await history(ledger, ann, ben.user_id)
    except Refused as refused:
        say(f"ann asks for ben's: {refused.status} {refused.code}")
    else:
        raise Unexpected("ann was shown ben's history")


def _name(user_id: str) -> str:
    return user_id.partition("-")[0]


def _told(update: Json) -> str:
    (change,) = update["changes"]
    sign = "" if change["amount"].startswith("-") else "+"
    return (
        f"{update['position']} {_name(update['user_id'])} {update['change_type']}"
        f" {sign}{change['amount']} = {change['balance']} {change['asset']}, entry {change['seq']}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
