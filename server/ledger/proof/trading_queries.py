"""Every SQL statement of a verification that has to do with trading, named; see `queries`."""

from __future__ import annotations

from sqlalchemy import TextClause, text

from ..dialects import Sets, halves
from ..trading.rebuilding import NEWEST_CONTROL
from .prices import StoredPrice, StoredTicker
from .trading_copies import StoredControl, StoredTrade


class TradingStatements:
    """The statements on one dialect, ``sqlite`` or ``postgresql``."""

    def __init__(self, dialect: str) -> None:
        self._sets = Sets(dialect)
        self.trades = self._by_set(
            f"SELECT o.id, o.position, n.position, n.encoded, {_of('t', StoredTrade._fields)}"
            " FROM transactions o JOIN transactions n ON n.trade = o.id AND n.position ="
            " (SELECT max(m.position) FROM transactions m WHERE m.trade = o.id)"
            " LEFT JOIN trades t ON t.id = o.id WHERE o.trade = o.id AND o.id",
            "ids",
        )
        self.last_row = text("SELECT max(id) FROM trades")
        rows = (
            "SELECT t.id, t.position, t.user_id, t.book, t.pair, o.id FROM trades t"
            " LEFT JOIN transactions o ON o.id = t.id AND o.trade = t.id"
            " WHERE {} (t.position, t.id) > (:position, :id) AND t.id <= :last"
            " ORDER BY t.position, t.id LIMIT :limit"
        )
        self.rows, self.rows_of = (
            text(rows.format(condition)) for condition in ("", "t.user_id = :user_id AND")
        )
        opened = (
            f"(SELECT book, pair, {halves('payout')} FROM trades WHERE status = 'open'"
            " GROUP BY book, pair) o"
        )
        self.exposures = text(
            "SELECT e.book, e.pair, e.amount, o.high, o.low FROM exposures e"
            f" LEFT JOIN {opened} ON o.book = e.book AND o.pair = e.pair"
            f" UNION ALL SELECT o.book, o.pair, NULL, o.high, o.low FROM {opened} WHERE NOT EXISTS"
            " (SELECT 1 FROM exposures e WHERE e.book = o.book AND e.pair = o.pair)"
            " ORDER BY 1, 2"
        )
        self.subjects = text(
            "SELECT subject, position, type = 'trading_control' FROM transactions"
            " WHERE subject IS NOT NULL AND (subject, position) > (:subject, :position)"
            " AND position <= :head ORDER BY subject, position LIMIT :limit"
        )
        self.controls = self._by_set(
            f"SELECT n.subject, n.position, n.encoded, {_of('c', StoredControl._fields)}"
            " FROM transactions n LEFT JOIN trading_controls c"
            " ON c.book = 'demo' AND c.user_id = n.subject WHERE n.type = 'trading_control'"
            f" AND n.position = {NEWEST_CONTROL.format('n.subject')} AND n.subject",
            "users",
        )
        self.loose_controls = text(
            "SELECT c.user_id, c.book, c.mode FROM trading_controls c"
            " WHERE (c.user_id, c.book) > (:user_id, :book) AND (c.book <> 'demo'"
            " OR ((c.mode <> 'normal' OR c.position IS NOT NULL) AND"
            f" {NEWEST_CONTROL.format('c.user_id')} IS NULL))"
            " ORDER BY c.user_id, c.book LIMIT :limit"
        )
        self.prices = text(
            f"SELECT {', '.join(StoredPrice._fields)} FROM prices"
            " WHERE (pair, number) > (:pair, :number) ORDER BY pair, number LIMIT :limit"
        )
        columns = [name for name in StoredTicker._fields if name != "read_at"]
        self.tickers = text(
            f"SELECT w.pair, {_of('k', StoredTicker._fields)},"
            f" p.pair, {_of('p', columns)} FROM (SELECT pair FROM tickers UNION"
            " SELECT pair FROM pairs) w LEFT JOIN tickers k ON k.pair = w.pair"
            " LEFT JOIN prices p ON p.pair = w.pair AND p.number ="
            " (SELECT max(number) FROM prices WHERE pair = w.pair) ORDER BY w.pair"
        )

    def set(self, values: set[str] | list[str]) -> object:
        """`values` as a parameter of a statement that looks them up."""
        return self._sets.parameter(sorted(values))

    def _by_set(self, statement: str, name: str) -> TextClause:
        return text(f"{statement} {self._sets.among(name, 'text')}")


def _of(table: str, columns: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"{table}.{name}" for name in columns)
