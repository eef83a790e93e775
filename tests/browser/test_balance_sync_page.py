"""The balance sync page: what it shows is what the ledger holds, whatever happens on the way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import expect

from ..services.server import RunningServer
from .conftest import Ledger, NewTab
from .tabs import Posts, Tab, Wire

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAIN = "main/alice/USDT"
LINES = """
(cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getClientRects().length;
}
"""
REFUSED_REQUEST = r"Failed to load resource: the server responded with a status of 422"
LOST_SERVER = r"WebSocket connection to .* failed|ERR_CONNECTION_REFUSED"

Message = dict[str, Any]


async def test_everyone_sees_their_own_and_the_superadmin_sees_all(
    new_tab: NewTab, ledger: Ledger
) -> None:
    alice = await (await new_tab()).watch("alice")
    bob = await (await new_tab()).watch("bob")
    root = await (await new_tab()).watch("root", superadmin=True)
    await alice.expect_balance(MAIN, "10,000.000000", "snapshot")
    await expect(root.page.locator("#no-accounts")).to_have_text(re.compile("^No account yet"))

    await root.move("Deposit", "500.25", subject="alice", description="Bank deposit")
    await root.expect_result(re.compile(r"^Deposited 500\.25 USDT, position \d+\.$"))
    await alice.expect_balance(MAIN, "10,500.250000", "verified")
    await expect(alice.account(MAIN)).to_have_class(re.compile("latest"))
    await expect(alice.account(MAIN).locator(".last")).to_contain_text("+500.250000 deposit")

    await alice.move("Transfer", "25.5", to_user="bob")
    await alice.expect_balance(MAIN, "10,474.750000", "verified")
    await bob.expect_balance("main/bob/USDT", "10,025.500000", "verified")

    await alice.move("Withdrawal", "74.75")
    await alice.expect_balance(MAIN, "10,400.000000", "verified")

    changes = root.page.locator("#changes .row")
    await expect(changes.nth(0)).to_contain_text("alice main USDT")
    await expect(changes.nth(0).locator(".amount")).to_have_text("-74.750000")
    shown = changes.locator(".what").filter(has_text="main USDT")
    await expect(shown).to_contain_text(
        ["alice main USDT", "bob main USDT", "alice main USDT", "alice main USDT"]
    )
    total = root.page.locator('[data-total="main/USDT"] td').nth(2)
    await expect(total).to_have_text("20,425.500000")
    await expect(root.page.locator("#superadmin-banner")).to_be_visible()
    await expect(alice.page.locator("#superadmin-banner")).to_be_hidden()
    await expect(alice.page.locator("#monitor")).to_be_hidden()
    assert len(await bob.logged_positions()) == 1

    assert (await ledger.balances("alice"))[MAIN] == "10400.000000"
    assert (await ledger.balances("bob"))["main/bob/USDT"] == "10025.500000"
    head = str(await ledger.position())
    await expect(alice.page.locator("#position")).to_have_text(head)
    await expect(root.page.locator("#position")).to_have_text(head)


async def test_a_refused_withdrawal_is_told_in_words_at_the_amount(
    new_tab: NewTab, ledger: Ledger
) -> None:
    alice = await (await new_tab()).watch("alice")
    alice.excuse(REFUSED_REQUEST)

    await alice.move("Withdrawal", "10000.01")
    error = alice.page.locator("#amount-error")
    await expect(error).to_have_text("10,000.010000 needed, 10,000.000000 available.")
    await alice.expect_result(re.compile("^Refused: ."))
    amount = alice.page.get_by_label("Amount", exact=True)
    await expect(amount).to_have_attribute("aria-invalid", "true")
    await expect(amount).to_have_accessible_description(re.compile("needed"))
    await expect(amount).to_be_focused()

    await alice.move("Withdrawal", "1.1234567")
    await expect(error).not_to_contain_text("needed")
    await expect(error).to_have_text(re.compile("."))

    await alice.move("Withdrawal", "1", asset="NOPE")
    await expect(alice.page.locator("#asset-error")).to_have_text(re.compile("."))
    await expect(error).to_be_hidden()

    assert (await ledger.balances("alice"))[MAIN] == "10000.000000"
    await alice.expect_balance(MAIN, "10,000.000000", "snapshot")
    await alice.move("Withdrawal", "1", asset="USDT")
    await alice.expect_balance(MAIN, "9,999.000000", "verified")
    await expect(amount).not_to_have_attribute("aria-invalid", "true")


async def test_a_user_is_told_that_deposits_are_booked_by_operators(new_tab: NewTab) -> None:
    alice = await (await new_tab()).watch("alice")
    await alice.page.get_by_role("radio", name="Deposit").check(force=True)
    await expect(alice.page.get_by_text("Only an operator may book a deposit")).to_be_visible()
    await expect(alice.page.locator("#submit")).to_be_disabled()


async def test_a_reload_shows_the_same(new_tab: NewTab, ledger: Ledger) -> None:
    alice = await (await new_tab()).watch("alice")
    await ledger.deposit("alice", "0.000001")
    await alice.expect_balance(MAIN, "10,000.000001", "verified")
    await alice.page.reload()
    await alice.expect_state("Connected")
    await alice.expect_balance(MAIN, "10,000.000001", "snapshot")
    await expect(alice.page.get_by_label("User", exact=True)).to_have_value("alice")


async def test_what_was_missed_comes_after_being_away(new_tab: NewTab, ledger: Ledger) -> None:
    alice = await new_tab()
    wire = await Wire.between(alice)
    await alice.watch("alice")
    start = await ledger.position()
    await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,001.000000", "verified")

    wire.tell({"type": "server_shutdown", "reconnect_after_ms": 3_600_000})
    await wire.cut(1012)
    await alice.expect_state("Reconnecting: the server is restarting")
    await expect(alice.page.locator("#countdown")).to_have_text(re.compile(r"^in 3[56]\d\d s$"))
    for _ in range(3):
        await ledger.deposit("alice", "1")
    await alice.page.context.set_offline(True)
    await alice.page.context.set_offline(False)  # being online again makes it try at once

    await expect(alice.page.locator("#log [data-kind=resumed]")).to_contain_text("3 missed")
    await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,005.000000", "verified")
    await expect(alice.account(MAIN).locator(".words")).to_contain_text("5 checked")
    assert await alice.logged_positions() == await ledger.positions("alice", after=start)
    assert "resume" not in wire.hellos[0]
    assert wire.hellos[-1]["resume"]["heads"][MAIN]["seq"] == 2


async def test_a_superadmins_tab_resumes_its_own_and_everyones_changes(
    new_tab: NewTab, ledger: Ledger
) -> None:
    root = await new_tab()
    wire = await Wire.between(root)
    await root.watch("root", superadmin=True)
    await ledger.deposit("root", "5")
    await root.expect_balance("main/root/USDT", "5.000000", "verified")
    total = root.page.locator('[data-total="main/USDT"] td').nth(2)
    await expect(total).to_have_text("20,005.000000")

    wire.let_through = False
    await wire.cut()
    await root.expect_state(re.compile("^Reconnecting"))
    missed = [await ledger.deposit(user, "1") for user in ("alice", "root", "bob")]
    wire.let_through = True
    await root.page.context.set_offline(True)
    await root.page.context.set_offline(False)

    await root.expect_balance("main/root/USDT", "6.000000", "verified")
    await expect(total).to_have_text("20,008.000000")
    await expect(root.page.locator("#log [data-kind=resumed]")).to_have_count(1)
    rows = root.page.locator("#changes .row")
    shown = await rows.evaluate_all("rows => rows.map((row) => Number(row.dataset.position))")
    assert shown[:3] == missed[::-1]
    assert len(shown) == len(set(shown))


async def test_a_superadmins_tab_resumes_from_what_its_monitor_covered(
    new_tab: NewTab, ledger: Ledger
) -> None:
    """Its own update came, the monitor's message was lost: the cursor is still before both."""
    root = await new_tab()
    wire = await Wire.between(root)
    await root.watch("root", superadmin=True)
    await ledger.deposit("root", "5")
    await root.expect_balance("main/root/USDT", "5.000000", "verified")
    total = root.page.locator('[data-total="main/USDT"] td').nth(2)
    await expect(total).to_have_text("20,005.000000")

    lost = asyncio.Event()

    def lose_monitor(message: Message) -> list[Message]:
        if message["type"] != "admin_balance_monitor":
            return [message]
        lost.set()
        return []

    wire.alter = lose_monitor  # type: ignore[method-assign]
    position = await ledger.deposit("root", "5")
    await root.expect_balance("main/root/USDT", "10.000000", "verified")
    await lost.wait()
    wire.alter = lambda message: [message]  # type: ignore[method-assign]
    await wire.cut()

    await expect(total).to_have_text("20,010.000000")
    await root.expect_balance("main/root/USDT", "10.000000", "verified")
    await expect(root.page.locator("#log [data-kind=resumed]")).to_have_count(1)
    await expect(root.page.locator("#log [data-kind=init]")).to_have_count(1)
    dropped = root.page.locator("#log [data-kind=duplicate]")
    await expect(dropped).to_have_attribute("data-position", str(position))
    assert wire.hellos[-1]["resume"]["position"] < position
    assert wire.hellos[-1]["resume"]["heads"]["main/root/USDT"]["seq"] == 1


async def test_monitor_messages_that_overlap_count_once(new_tab: NewTab, ledger: Ledger) -> None:
    root = await new_tab()
    wire = await Wire.between(root)
    earlier: list[Message] = []

    def overlap(message: Message) -> list[Message]:
        if message["type"] == "admin_balance_monitor":
            if earlier:
                message["from"] = earlier[0]["from"]
                message["updates"] = earlier[0]["updates"] + message["updates"]
            earlier.append(message)
        return [message]

    wire.alter = overlap  # type: ignore[method-assign]
    await root.watch("root", superadmin=True)
    total = root.page.locator('[data-total="main/USDT"] td').nth(2)
    await ledger.deposit("alice", "1")
    await expect(total).to_have_text("20,001.000000")
    await ledger.deposit("alice", "2")
    await expect(total).to_have_text("20,003.000000")


async def test_a_restart_of_the_server_is_told_and_nothing_is_missed(
    new_tab: NewTab, site: RunningServer, ledger: Ledger
) -> None:
    alice = await (await new_tab()).watch("alice")
    start = await ledger.position()
    await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,001.000000", "verified")

    alice.excuse(LOST_SERVER)
    alice.excuse("status of 401")  # what is asked with the token from before the restart, once
    assert await site.terminate() == 0
    await alice.expect_state(re.compile("^Reconnecting"))
    told = alice.page.locator("#log [data-kind=status]").filter(has_text="restarting")
    await expect(told).to_have_text(re.compile("^\\s*Connection lost: the server is restarting"))
    await site.start()
    await expect(alice.page.locator("#log [data-kind=resumed]")).to_have_count(1, timeout=60_000)
    await ledger.sign_in()
    await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,002.000000", "verified")
    await alice.move("Withdrawal", "2")
    await alice.expect_balance(MAIN, "10,000.000000", "verified")
    assert await alice.logged_positions() == await ledger.positions("alice", after=start)


def _other_digest(message: Message) -> list[Message]:
    for change in message["changes"]:
        change["digest"] = "0" * 64
    return [message]


def _other_amounts(message: Message) -> list[Message]:
    for change in message["changes"]:
        change["balance"] = change["available"] = "1000000.000000"
        change["amount"] = "990000.000000"
    return [message]


def _swallowed() -> Callable[[Message], list[Message]]:
    seen: list[int] = []

    def alter(message: Message) -> list[Message]:
        seen.append(message["position"])
        return [] if len(seen) == 1 else [message]

    return alter


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (_other_digest, "entry 2: the digest does not fit"),
        (_other_amounts, "entry 2: the digest does not fit"),
        (_swallowed(), "entry 3 came where 2 was due"),
    ],
    ids=["digest", "amounts", "swallowed"],
)
async def test_what_was_altered_on_the_way_turns_the_mark_red(
    new_tab: NewTab, ledger: Ledger, alter: Callable[[Message], list[Message]], words: str
) -> None:
    alice = await new_tab()
    wire = await Wire.between(alice)
    wire.alter = lambda message: (  # type: ignore[method-assign]
        alter(message) if message["type"] == "balance_update" else [message]
    )
    await alice.watch("alice")
    await ledger.deposit("alice", "1")
    await ledger.deposit("alice", "1")

    card = alice.account(MAIN)
    await expect(card.locator(".mark")).to_have_text("does not fit")
    await expect(card.locator(".words")).to_have_text(words)
    await expect(card).to_have_class(re.compile("broken"))
    await expect(alice.page.get_by_role("alert").filter(has_text=MAIN)).to_contain_text(words)
    await expect(alice.account("demo/alice/USDT").locator(".mark")).to_have_text("snapshot")
    red = await card.locator(".mark").evaluate("(mark) => getComputedStyle(mark).color")
    assert red == "rgb(179, 38, 30)"

    wire.alter = lambda message: [message]  # type: ignore[method-assign]
    await alice.page.get_by_role("button", name="Load afresh").click()
    await alice.expect_balance(MAIN, "10,002.000000", "snapshot")
    await expect(alice.page.locator("#mismatch")).to_be_hidden()
    await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,003.000000", "verified")


async def test_a_message_that_comes_twice_counts_once(new_tab: NewTab, ledger: Ledger) -> None:
    alice = await new_tab()
    wire = await Wire.between(alice)
    wire.alter = lambda message: (  # type: ignore[method-assign]
        [message, message] if message["type"] == "balance_update" else [message]
    )
    await alice.watch("alice")
    position = await ledger.deposit("alice", "1")
    dropped = alice.page.locator("#log [data-kind=duplicate]")
    await expect(dropped).to_have_attribute("data-position", str(position))
    await alice.expect_balance(MAIN, "10,001.000000", "verified")
    assert await alice.logged_positions() == [position]


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    new_tab: NewTab, ledger: Ledger
) -> None:
    alice = await (await new_tab()).watch("alice")
    alice.excuse("ERR_CONNECTION_RESET")
    posts = await Posts.of(alice, "/v1/transfers")
    posts.lose = 1
    await alice.move("Transfer", "10", to_user="bob")
    await alice.expect_result(re.compile("^No answer came"))
    await alice.page.get_by_role("button", name="Send again").click()
    await alice.expect_result(re.compile("nothing moved twice"))
    assert len(posts.keys) == 2
    assert len(set(posts.keys)) == 1
    assert (await ledger.balances("alice"))[MAIN] == "9990.000000"

    await alice.move("Transfer", "10", to_user="bob")
    await alice.expect_balance(MAIN, "9,980.000000", "verified")
    assert len(set(posts.keys)) == 2


CLOSES = {
    4002: "Stopped: the server did not accept the first message",
    4003: "Stopped: not allowed",
    4009: "Stopped: too many connections for this user",
    4010: "Stopped: access was revoked",
    1013: "Reconnecting: the server is busy",
    4008: "Reconnecting: this connection was too slow",
    4029: "Reconnecting: too many messages",
}


async def test_the_light_has_words_for_every_close_code(new_tab: NewTab) -> None:
    alice = await new_tab()
    await alice.page.add_init_script("Math.random = () => 0.999")
    wire = await Wire.between(alice)
    await alice.watch("alice")
    countdown = alice.page.locator("#countdown")
    for code, words in CLOSES.items():
        wire.let_through, wire.refuse = False, code
        await wire.cut(code)
        await alice.expect_state(words)
        going_on = words.startswith("Reconnecting")
        await expect(countdown).to_have_text(re.compile(r"^in \d+ s$") if going_on else "")
        wire.let_through = True
        # Not a real click: it may come back by itself in this moment and hide the button.
        await alice.page.get_by_text("Try now").dispatch_event("click")
        await alice.expect_state("Connected")
    assert len(wire.hellos) == len(CLOSES) + 1
    assert all("resume" in hello for hello in wire.hellos[1:])


async def test_an_expired_token_is_replaced_by_a_fresh_one(new_tab: NewTab) -> None:
    alice = await new_tab()
    wire = await Wire.between(alice)
    await alice.watch("alice")
    async with alice.page.expect_response("**/dev/token") as answer:
        await wire.cut(4001)
    token = (await (await answer.value).json())["token"]
    await expect(alice.page.locator("#log [data-kind=resumed]")).to_have_count(1)
    assert wire.hellos[-1]["token"] == token


async def test_words_from_users_are_text_and_nothing_else(new_tab: NewTab) -> None:
    root = await (await new_tab()).watch("root", superadmin=True)
    text = "<img src=x onerror=alert(1)><b>bold</b>"
    await root.move("Deposit", "1", subject="root", description=text)
    entry = root.page.locator("#log [data-kind=update] .about")
    await expect(entry).to_contain_text(text)
    await expect(root.page.locator("#log img, #log b, #changes img")).to_have_count(0)


async def test_the_log_can_be_copied_and_cleared(new_tab: NewTab, ledger: Ledger) -> None:
    alice = await new_tab(permissions=["clipboard-read", "clipboard-write"])
    await alice.watch("alice")
    position = await ledger.deposit("alice", "1")
    await alice.expect_balance(MAIN, "10,001.000000")
    await alice.page.get_by_role("button", name="Copy").click()
    await expect(alice.page.locator("#copied")).to_have_text(re.compile(r"^\d+ lines copied$"))
    copied = await alice.page.evaluate("navigator.clipboard.readText()")
    assert f'"position":{position}' in copied
    await alice.page.get_by_role("button", name="Clear").click()
    await expect(alice.page.locator("#log .row")).to_have_count(0)


async def test_the_page_fits_the_screen(new_tab: NewTab, ledger: Ledger) -> None:
    user = "Someone" + "x" * 121
    await ledger.deposit(user, "9000000000000.123456")
    for width in (320, 390, 768, 1440):
        root = await new_tab(viewport={"width": width, "height": 900})
        await root.watch(user, superadmin=True)
        await root.expect_balance(f"main/{user}/USDT", "9,000,000,000,000.123456", "snapshot")
        heights = [
            await root.account(f"main/{user}/USDT").locator(part).evaluate("e => e.clientHeight")
            for part in (".balance", ".last")
        ]
        assert heights[0] < 2 * heights[1], "the amount is on one line"
        book = root.page.locator('[data-total="main/USDT"] td').first
        assert await book.evaluate(LINES) == 1, "no word is broken"
        overflow = await root.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{width} px wide"
        await root.page.context.close()


async def test_everything_can_be_done_from_the_keyboard(new_tab: NewTab) -> None:
    tab: Tab = await new_tab()
    await tab.page.goto(f"{tab.base_url}/static/test-balance-sync.html")
    await tab.expect_state("Not connected")
    user = tab.page.get_by_label("User", exact=True)
    await user.focus()
    await tab.page.keyboard.press("ControlOrMeta+a")
    await tab.page.keyboard.type("alice")
    await tab.page.keyboard.press("Enter")
    await tab.expect_state("Connected")
    await tab.page.get_by_role("radio", name="Withdrawal").focus()
    await tab.page.keyboard.press("ArrowRight")
    await expect(tab.page.get_by_role("radio", name="Transfer")).to_be_checked()
    for text in ("bob", "7"):
        await tab.page.keyboard.press("Tab")
        await tab.page.keyboard.type(text)
    await tab.page.keyboard.press("Enter")
    await tab.expect_balance(MAIN, "9,993.000000", "verified")
    await expect(tab.page.locator("#amount")).to_have_value("")
    await tab.page.keyboard.press("Enter")
    await tab.expect_result("Not sent: Name an amount.")
    await tab.page.keyboard.type("3")
    await tab.page.locator("#submit").focus()
    await tab.page.keyboard.press("Space")
    await tab.expect_balance(MAIN, "9,990.000000", "verified")
    await tab.expect_result(re.compile("^Transferred 3 "))
    await expect(tab.page.locator("#submit")).to_be_focused()


async def test_the_watch_for_faults_sees_them(new_tab: NewTab) -> None:
    """Else every other test here would pass without looking."""
    tab: Tab = await new_tab()
    await tab.page.goto(f"{tab.base_url}/static/test-balance-sync.html")
    await tab.page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "1";
      document.body.append(script);
      console.error("on purpose");
      setTimeout(() => { throw new Error("thrown on purpose"); });
    }""")
    await tab.page.wait_for_function("() => new Promise((done) => setTimeout(done, 0, true))")
    seen = " ".join(tab.faults)
    assert "violation: script-src" in seen
    assert "error: on purpose" in seen
    assert "uncaught: thrown on purpose" in seen
    tab.faults.clear()
