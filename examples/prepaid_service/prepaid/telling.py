"""The story in lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from tallywire import Discrepancy, LedgerError, Report

from .billing import Entry
from .story import Scene


def scene_lines(scene: Scene) -> Iterator[str]:
    """What happened, and what came of it."""
    yield scene.what
    for outcome in scene.outcomes:
        line = refusal_line(outcome) if isinstance(outcome, LedgerError) else entry_line(outcome)
        yield f"  {line}"
    if scene.report is not None:
        yield from (f"  {line}" for line in report_lines(scene.report))
    if (account := scene.account) is not None:
        yield (
            f"  balance {account.balance}, total in {account.total_in},"
            f" total out {account.total_out}, {account.status}"
        )


def entry_line(entry: Entry) -> str:
    """An entry with the balance before and after it."""
    alert = ", low balance: the customer is alerted" if entry.low_balance else ""
    return f"{entry.what} {entry.amount:+}: {entry.before} -> {entry.after}, {entry.status}{alert}"


def refusal_line(refused: LedgerError) -> str:
    """Why something was not booked."""
    figures = ", ".join(f"{name} {value}" for name, value in refused.extra.items())
    return f"refused, {refused.code}: {figures or refused.detail}"


def report_lines(report: Report) -> Iterator[str]:
    """The summary of a verification, and a table of what it found."""
    yield (
        f"checked {report.checked}, synced {report.synced}, fixed {report.fixed},"
        f" errors {report.errors}, details {len(report.details)}"
    )
    if report.details:
        yield _row("invariant", "account", "stored", "actual", "difference", "")
    for found in report.details:
        yield _discrepancy(found)


def _discrepancy(found: Discrepancy) -> str:
    return _row(
        found.invariant,
        found.account if found.account != "-" else found.what,
        found.stored or "-",
        found.actual or "-",
        found.difference or "-",
        "fixed" if found.fixed else "",
    )


def _row(
    invariant: str, account: str, stored: str, actual: str, difference: str, fixed: str
) -> str:
    numbers = f"{stored:>10}{actual:>10}{difference:>12}"
    return f"{invariant:<17}{account:<24}{numbers}  {fixed}".rstrip()
