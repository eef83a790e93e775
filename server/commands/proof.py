"""`verify`, `rebuild`, `reconcile`: what is stored, checked and put right; `verifications`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import click

from .running import BAD_ANSWER, GOOD, actor, print_lines, with_ledger

if TYPE_CHECKING:
    from ..ledger import BalanceManager
    from ..ledger.invariants import Discrepancy
    from ..ledger.proof.records import Verification
    from ..ledger.report import Report

_json = click.option("--json", "as_json", is_flag=True, help="The whole report as one JSON object.")
_progress = click.option(
    "--progress/--no-progress", default=None, help="Tell on stderr how far it is; on a terminal."
)


def mismatch(found: Discrepancy) -> str:
    """The line that tells of a discrepancy (contract, section 7)."""
    fields = (found.invariant, found.account, found.stored, found.actual, found.difference)
    return " ".join(
        ["MISMATCH", *("-" if field is None else _field(str(field)) for field in fields)]
    )


def summary(report: Report) -> str:
    """The line that sums up a report."""
    put_right = report.fixed + report.synced
    return f"checked {report.checked}, put right {put_right}, discrepancies {report.errors}"


def _field(text: str) -> str:
    """`text` as one field of a line: a JSON string without spaces where it would not be one."""
    if text and text.isprintable() and not any(ch in text for ch in ' "'):
        return text
    return json.dumps(text).replace(" ", "\\u0020")


class _Progress:
    """How far it is, how fast and for how long still, on one line of stderr that is redrawn."""

    def __init__(self, shown: bool | None) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = self._terminal if shown is None else shown
        self._started = self._told = time.monotonic()

    def __call__(self, checked: int, total: int) -> None:
        now = time.monotonic()
        if not self._shown or (now - self._told < 0.5 and checked < total):
            return
        self._told = now
        rate = checked / max(now - self._started, 0.001)
        left = (total - checked) / max(rate, 0.001)
        line = f"checked {checked} of {total}, {rate:,.0f}/s, {left:,.0f} s left"
        click.echo(f"\r{line}\x1b[K" if self._terminal else line, nl=not self._terminal, err=True)

    def end(self) -> None:
        if self._shown and self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


@click.command()
@click.option("--fix", is_flag=True, help="Put right what can be: rows, holds and mirrors.")
@click.option("--user-id", metavar="USER", help="Only this user's accounts.")
@click.option("--book", "in_book", metavar="BOOK", help="Only this book.")
@click.option(
    "--logged-seal",
    "logged_seals",
    metavar="POSITION:SEAL",
    multiple=True,
    help="A seal that a commit's log line has: the journal must still have it.",
)
@_json
@_progress
@click.pass_context
def verify(
    ctx: click.Context,
    fix: bool,
    user_id: str | None,
    in_book: str | None,
    logged_seals: Sequence[str],
    as_json: bool,
    progress: bool | None,
) -> None:
    """
    Check every invariant of the ledger; exit 1 where one does not hold.

    Each discrepancy is a line: MISMATCH invariant account stored actual difference. Entries are
    never changed; --fix rewrites copies of them, each by a transaction, where they are sound.

    \b
    tallywire verify
    tallywire verify --fix
    tallywire verify --user-id alice --book main
    tallywire verify --json | jq .errors
    """

    async def work(manager: BalanceManager, tell: Callable[[int, int], None]) -> Report:
        return await manager.verify(
            fix,
            user_id=user_id,
            book=in_book,
            logged_seals=logged_seals,
            actor=actor(),
            progress=tell,
        )

    _report(ctx, work, as_json, progress)


@click.command()
@_json
@_progress
@click.pass_context
def rebuild(ctx: click.Context, as_json: bool, progress: bool | None) -> None:
    """
    Make every account's row, holds and mirrors what its entries say; exit 1 where that cannot be.

    What is right already stays, so it may be stopped at any time and run again.

    \b
    tallywire rebuild
    """

    async def work(manager: BalanceManager, tell: Callable[[int, int], None]) -> Report:
        return await manager.rebuild(actor=actor(), progress=tell)

    _report(ctx, work, as_json, progress)


@click.command()
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@click.option("--user-id", metavar="USER", help="This user.")
@click.option("--all", "everyone", is_flag=True, help="Every user.")
@click.option("--batch-size", type=click.IntRange(1, 10_000), default=500, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Stop after so many users with drift.")
@_progress
@click.pass_context
def reconcile(
    ctx: click.Context,
    dry_run: bool,
    user_id: str | None,
    everyone: bool,
    batch_size: int,
    limit: int | None,
    progress: bool | None,
) -> None:
    """
    Compare users' rows and mirrors with their last entries, and put right what drifted.

    A quick look, user by user: what is found is a line as of verify, and the exit is 1 where drift
    remains. Each user is put right by commits of its own, so it may be stopped at any time and run
    again: who is right already is left alone.

    \b
    tallywire reconcile --user-id alice
    tallywire reconcile --all --dry-run
    tallywire reconcile --all --batch-size 1000 --limit 50
    """
    if everyone == (user_id is not None):
        raise click.UsageError("whose? --user-id USER, or --all")

    done = _Reconciled()
    try:
        with_ledger(
            lambda manager: done.run(manager, user_id, batch_size, limit, dry_run, progress)
        )
    except KeyboardInterrupt:
        click.echo(f"interrupted: {done.summary}", err=True)
        raise
    click.echo(done.summary, err=True)
    ctx.exit(BAD_ANSWER if done.left or done.unreadable else GOOD)


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Each as a line of JSON.")
def verifications(limit: int, as_json: bool) -> None:
    """
    List the newest verifications and rebuilds, by schedule or asked for, and what each found.

    \b
    tallywire verifications
    tallywire verifications --limit 100 --json | jq .report.errors
    """
    import msgspec

    async def work(manager: BalanceManager) -> list[str]:
        listed = await manager.proof.verifications.listed(None, limit)
        if as_json:
            return [msgspec.json.encode(each.brief()).decode() for each in listed]
        return [_described(each) for each in listed]

    print_lines(with_ledger(work))


def _described(each: Verification) -> str:
    kind = "verify --fix" if each.fix and each.kind == "verify" else each.kind
    scope = [f"{name}={value}" for name in ("user_id", "book") if (value := getattr(each, name))]
    due = [] if each.due_at is None else [f"due {each.due_at}", f"attempt {each.attempt}"]
    told = f"checked {each.checked} of {each.total}"
    if each.report is not None:
        told = summary(each.report)
    elif each.error is not None:
        told = each.error
    return "\t".join([each.started_at, kind, *scope, each.status, told, each.requested_by, *due])


class _Reconciled:
    """What a reconciliation has done so far; each user is put right by commits of its own."""

    def __init__(self) -> None:
        self.checked = self.drifted = self.left = 0
        self.unreadable: set[str] = set()
        self.stopped = False

    @property
    def summary(self) -> str:
        """How far it came, in a line."""
        told = f"checked {self.checked} users, drifted {self.drifted}, drifted still {self.left}"
        if self.unreadable:
            told += f", mirrors that cannot be read {len(self.unreadable)}"
        return told + (", stopped at the limit" if self.stopped else "")

    async def run(
        self,
        manager: BalanceManager,
        user_id: str | None,
        batch_size: int,
        limit: int | None,
        dry_run: bool,
        progress: bool | None,
    ) -> None:
        tell = _Progress(progress)
        total = 1 if user_id is not None else await manager.proof.count_users()
        try:
            async for drift in manager.proof.drifting(batch_size, user_id):
                self._tell_unreadable(drift.pop(None, []))
                for user, found in drift.items():
                    self.checked += 1
                    if found and user is not None:
                        print_lines(map(mismatch, found))
                        self.drifted += 1
                        # An interruption leaves the user that it meets unproven.
                        self.left += 1
                        if not dry_run and await manager.proof.put_right(user, actor()):
                            self.left -= 1
                    tell(self.checked, total)
                    self.stopped = self.drifted == limit
                    if self.stopped:
                        return
        finally:
            tell.end()

    def _tell_unreadable(self, found: Sequence[Discrepancy]) -> None:
        for each in found:
            if each.what not in self.unreadable:
                self.unreadable.add(each.what)
                click.echo(mismatch(each))
                click.echo(each.what, err=True)


def _report(
    ctx: click.Context,
    work: Callable[[BalanceManager, Callable[[int, int], None]], Awaitable[Report]],
    as_json: bool,
    progress: bool | None,
) -> None:
    tell = _Progress(progress)
    report = with_ledger(lambda manager: work(manager, tell))
    tell.end()
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(report))
    else:
        for found in report.details:
            click.echo(mismatch(found))
        click.echo(summary(report), err=True)
    ctx.exit(BAD_ANSWER if report.errors else GOOD)
