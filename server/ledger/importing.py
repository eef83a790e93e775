"""
Importing an exported journal into an empty ledger: every line is verified as it is read.

All is one transaction, so that nothing is left of a file that is refused, or of an import that was
interrupted, and nobody sees a part. Rows are written a chunk at a time and then checked by the
walks that verification uses; what is kept in memory are the states of a bounded number of accounts.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NoReturn, Protocol
from uuid import uuid4

import msgspec
from msgspec import Struct
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from . import schema
from .accounts import SYSTEM_OWNERS, Account, AccountKey, StoredState, check_user_id
from .administration import audit_row, with_settings
from .catalog import ASSET_CODE, Asset, Catalog
from .clock import Clock, SystemClock
from .database import Database, classify, reason
from .dialects import Sets
from .digest import GENESIS
from .errors import LedgerError
from .holds import Hold
from .importing_trading import TradingLoad, read_pairs
from .invariants import NOBODY, Discrepancy, Measure
from .journal import STATE_COLUMNS, Journal
from .journal_lines import (
    POSTING_COLUMNS,
    Audit,
    End,
    Header,
    Line,
    Price,
    Revocation,
    Seal,
    Transaction,
    decode_line,
)
from .money import LARGEST
from .opening import upgrade_database
from .proof.entry_walk import Cause, EntryWalk
from .proof.journal_pages import read_around, read_originals
from .proof.journal_walk import JournalWalk
from .proof.queries import Statements, rows
from .proof.stored import StoredEntry, StoredSeal
from .report import Progress
from .transaction_types import TransactionTypes
from .updates import Committed
from .views import hold_from_view

TRANSACTIONS_PER_CHUNK = 500
BYTES_PER_CHUNK = 1 << 20
MOST_ACCOUNTS = 50_000
LONGEST_LINE = 16 << 20

_NO_STATE = StoredState()._asdict()


class NotEmpty(LedgerError):
    """A journal is imported into an empty ledger only: a new database after `tallywire upgrade`."""

    code = "not_empty"


class FileRefused(LedgerError):
    """The file is no journal, or not one whole and unchanged journal."""

    code = "file_refused"


class Source(Protocol):
    """A binary file that is open for reading."""

    def readline(self, size: int, /) -> bytes:
        """The next line, at most `size` bytes of it; nothing at the end."""


class Imported(Struct, frozen=True):
    """What was imported: the journal's head, that position's seal, and the journal's new epoch."""

    position: int
    seal: str
    epoch: str


async def import_journal(
    url: str,
    source: Source,
    *,
    actor: str = "system",
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Imported:
    """
    Fill the empty ledger in the database at `url` with the journal that `source` holds.

    actor: who does it, for the audit; progress: called after each chunk with the position that was
    reached and the last one. All or nothing. Raises NotEmpty; FileRefused, naming the line, where
    the file is cut, changed, or breaks an invariant; SchemaMismatch, DatabaseUnavailable.
    """
    clock = clock or SystemClock()
    database = Database(url, readers=1)
    try:
        await upgrade_database(database, clock, only_if_empty=True)
        async with database.write() as connection:
            await _without_timeouts(connection, database.dialect)
            load = _Load(connection, database.dialect, _Lines(source), progress)
            imported = await load.run()
            details = {"position": imported.position, "seal": imported.seal, "from": load.epoch}
            await connection.execute(
                audit_row(clock, actor, "journal_imported", imported.epoch, details)
            )
        if database.dialect == "postgresql":
            # Plans made for empty tables would be kept.
            async with database.read() as connection:
                await connection.execute(text(f"ANALYZE {', '.join(schema.metadata.tables)}"))
                await connection.commit()
    finally:
        await database.close()
    return imported


async def _without_timeouts(connection: AsyncConnection, dialect: str) -> None:
    """A file may come slowly, and nobody else waits for an empty ledger."""
    if dialect == "postgresql":
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            await connection.execute(text(f"SET LOCAL {name} = 0"))


class _Lines:
    """The lines of the file, numbered, up to the closing line, which must agree with them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = sha256()
        self.number = 0
        self.size = 0

    def refuse(self, why: str, number: int | None = None) -> NoReturn:
        """Raise FileRefused for the line `number`, the newest where None."""
        raise FileRefused(f"line {number or self.number}: {why}")

    def next(self) -> Line:
        """The next line; `size` is its length in bytes."""
        self.number += 1
        read = self._read(LONGEST_LINE + 1)
        if not read:
            self.refuse("the file ends before its closing line")
        if not read.endswith(b"\n"):
            long = len(read) > LONGEST_LINE
            self.refuse("the line is too long" if long else "the file ends within the line")
        try:
            line = decode_line(read)
        except msgspec.MsgspecError as error:
            self.refuse(f"not a line of a journal: {error}")
        except UnicodeDecodeError:
            self.refuse("not a line of a journal: it is not UTF-8")
        self.size = len(read)
        if not isinstance(line, End):
            self._hash.update(read)
        return line

    def close(self, end: End, counts: Mapping[str, int]) -> None:
        """Refuse where the closing line does not agree with the others, or is not the last."""
        for name, count in counts.items():
            if (said := getattr(end, name)) != count:
                self.refuse(f"it closes a file of {said} {name}, and there are {count}")
        if end.sha256 != self._hash.hexdigest():
            self.refuse("the lines before it are not those that it closes")
        self.number += 1
        if self._read(1):
            self.refuse("something follows the closing line")

    def _read(self, size: int) -> bytes:
        try:
            return self._source.readline(size)
        except (OSError, EOFError, zlib.error) as error:
            # Those of a compressed file too; the database's are not among them.
            self.refuse(f"the file cannot be read: {error}")


@dataclass(slots=True)
class _Known:
    """An account of which entries were loaded: a user's walk, or a system account's balance."""

    id: int
    key: AccountKey
    walk: EntryWalk | None
    balance: int = 0
    changed: bool = False

    def account(self) -> Account:
        """Its row as its entries give it."""
        if self.walk is None:
            return Account(self.id, self.key, self.balance, floor=None)
        return Account(self.id, self.key, *self.walk.state)


@dataclass(slots=True)
class _Chunk:
    """Lines that are written together, each with its number."""

    lines: list[tuple[int, Seal | Transaction]] = field(default_factory=list)
    size: int = 0

    def add(self, number: int, line: Seal | Transaction, size: int) -> None:
        self.lines.append((number, line))
        self.size += size

    @property
    def full(self) -> bool:
        return len(self.lines) >= TRANSACTIONS_PER_CHUNK or self.size >= BYTES_PER_CHUNK

    def transactions(self) -> Iterator[Transaction]:
        return (line for _, line in self.lines if isinstance(line, Transaction))


class _Load:
    """One import, inside the transaction of `connection`."""

    def __init__(
        self,
        connection: AsyncConnection,
        dialect: str,
        lines: _Lines,
        progress: Progress | None,
    ) -> None:
        self._connection = connection
        self._journal = Journal(dialect)
        self._statements = Statements(dialect)
        self._sets = Sets(dialect)
        self._states = text(
            f"SELECT name, id, {', '.join(STATE_COLUMNS)} FROM accounts"
            f" WHERE name {self._sets.among('names', 'text')}"
        )
        self._lines = lines
        self._progress = progress
        self._types = TransactionTypes()
        self._known: dict[str, _Known] = {}
        self._counts: Counter[str] = Counter()
        self._batch = Seal(last=0, first=0, created_at="", seal=GENESIS)
        self.epoch = ""

    async def run(self) -> Imported:
        """Load the file; nothing of it may be committed where this raises."""
        clock = await self._journal.take_clock(self._connection)
        await self._check_empty(clock.position)
        header = self._lines.next()
        if not isinstance(header, Header):
            self._lines.refuse("a journal begins with its header")
        self.epoch = header.epoch
        self._catalog = self._read_catalog(header, await self._journal.catalog(self._connection))
        self._walk = JournalWalk(self._catalog, self._types)
        with self._refused_by_database(self._lines.number):
            await self._write_catalog()
        self._trading = TradingLoad(self._connection, self._catalog)
        line = await self._load_batches(header, await self._load_prices())
        end = await self._load_rest(line)
        counted = ("seals", "transactions", "postings", "audit", "revocations", "prices")
        self._lines.close(end, {name: self._counts[name] for name in counted})
        await self._forget_known()
        await self._trading.finish()
        imported = Imported(header.position, header.seal, str(uuid4()))
        await self._connection.execute(
            text(
                "UPDATE clock SET position = :position, seal = :seal, epoch = :epoch,"
                " created_at = :created_at, settings_version = settings_version + 1, paused = 0"
            ),
            {
                **msgspec.structs.asdict(imported),
                "created_at": self._batch.created_at or clock.created_at,
            },
        )
        return imported

    async def _check_empty(self, position: int) -> None:
        for table in (schema.accounts, schema.audit, schema.prices):
            found = await self._connection.execute(text(f"SELECT 1 FROM {table.name} LIMIT 1"))
            if position or found.first() is not None:
                raise NotEmpty

    # The header

    def _read_catalog(self, header: Header, first: Catalog) -> Catalog:
        for code, scale in header.assets.items():
            if not ASSET_CODE.fullmatch(code) or not 0 <= scale <= 12:
                self._lines.refuse(f"no asset: {code!r} with {scale} decimals")
        try:
            books = {
                book.name: with_settings(None, book.name, _settings(msgspec.structs.asdict(book)))
                for book in header.books
            }
            assets = {code: Asset(code, scale) for code, scale in header.assets.items()}
            pairs = read_pairs(header.pairs, assets, first)
        except LedgerError as error:
            self._lines.refuse(str(error))
        return Catalog(version=0, paused=False, assets=assets, books=books, pairs=pairs)

    async def _write_catalog(self) -> None:
        """The file's assets, books and pairs, instead of those that every ledger begins with."""
        assets = [msgspec.structs.asdict(asset) for asset in self._catalog.assets.values()]
        books = [
            {**msgspec.structs.asdict(book), "self_service": int(book.self_service)}
            for book in self._catalog.books.values()
        ]
        for table, values in ((schema.assets, assets), (schema.books, books)):
            await self._connection.execute(table.delete())
            if values:
                await self._connection.execute(insert(table), values)
        await self._connection.execute(schema.pairs.delete())
        for pair in self._catalog.pairs.values():
            await self._journal.write_pair(self._connection, pair)

    async def _load_prices(self) -> Line:
        """All prices; the result is the line after them."""
        line, prices = self._lines.next(), list[Price]()
        while isinstance(line, Price):
            self._refuse_if(self._lines.number, self._trading.price(line))
            self._counts["prices"] += 1
            prices.append(line)
            line = self._lines.next()
            if not isinstance(line, Price) or len(prices) == TRANSACTIONS_PER_CHUNK:
                with self._refused_by_database(self._lines.number - len(prices)):
                    await self._trading.write_prices(prices)
                prices = []
        return line

    # Batches

    async def _load_batches(self, header: Header, line: Line) -> Line:
        """All seals and transactions, `line` the first; the result is the line after them."""
        chunk = _Chunk()
        position = 0
        while isinstance(line, (Seal, Transaction)):
            if isinstance(line, Seal):
                self._begin_batch(line, position)
                self._counts["seals"] += 1
            else:
                position += 1
                self._check_place(line, position)
                self._counts["transactions"] += 1
                self._counts["postings"] += len(line.postings)
            chunk.add(self._lines.number, line, self._lines.size)
            if chunk.full:
                await self._load(chunk)
                chunk = _Chunk()
                if self._progress is not None:
                    self._progress(position, header.position)
            line = self._lines.next()
        if chunk.lines:
            await self._load(chunk)
        if position != self._batch.last:
            self._lines.refuse(f"position {position + 1} is missing")
        if (position, self._batch.seal) != (header.position, header.seal):
            self._lines.refuse(
                f"the journal ends at position {position}, sealed {self._batch.seal};"
                f" its header says {header.position}, sealed {header.seal}"
            )
        return line

    def _begin_batch(self, seal: Seal, position: int) -> None:
        if position != self._batch.last or seal.first != position + 1 or seal.last < seal.first:
            self._lines.refuse(
                f"a batch of positions {seal.first} to {seal.last} cannot begin after {position}"
            )
        self._batch = seal

    def _check_place(self, transaction: Transaction, position: int) -> None:
        if transaction.position != position:
            self._lines.refuse(
                f"SEQUENCE_GAP: position {transaction.position} follows {position - 1}"
            )
        if position > self._batch.last:
            self._lines.refuse("the transaction belongs to no batch")
        if transaction.created_at != self._batch.created_at:
            self._lines.refuse("the transaction is not of the time of its batch")

    async def _load(self, chunk: _Chunk) -> None:
        with self._refused_by_database(chunk.lines[0][0]):
            await self._load_checked(chunk)
        if len(self._known) > MOST_ACCOUNTS:
            await self._forget_known()

    @contextmanager
    def _refused_by_database(self, first: int) -> Iterator[None]:
        """Refuse the lines from `first` to the newest where the database's own rules do."""
        try:
            yield
        except (DBAPIError, OverflowError) as error:
            if classify(error) not in ("data", "duplicate"):
                raise
            raise FileRefused(f"lines {first} to {self._lines.number}: {reason(error)}") from error

    async def _load_checked(self, chunk: _Chunk) -> None:
        await self._meet_accounts(chunk)
        await self._write(chunk)
        records = [transaction.record() for transaction in chunk.transactions()]
        originals = await read_originals(self._connection, self._statements, records)
        around = await read_around(self._connection, self._statements, records)
        for number, line in chunk.lines:
            if isinstance(line, Seal):
                self._walk.add_seals(
                    [StoredSeal(line.last, line.first, line.created_at, line.seal)]
                )
                continue
            record = line.record()
            entries = self._entries(line)
            accounts = {known.id: known.key for known, _ in entries}
            stored = [entry for _, entry in entries]
            found = self._walk.transaction(record, stored, accounts, originals, around)
            self._refuse_if(number, found)
            original = originals.get(line.reverses or "")
            undone = None if original is None else original.type
            metadata = line.metadata if undone else None
            cause = Cause.stored(line.id, line.type, line.hold, undone, metadata, line.trade)
            for known, entry in entries:
                self._replay(number, known, entry, cause)
        await self._write_holds(chunk)
        await self._trading.write_rows(chunk.transactions())

    def _replay(self, number: int, known: _Known, entry: StoredEntry, cause: Cause) -> None:
        """One entry against the ones before it."""
        known.changed = True
        if known.walk is not None:
            self._refuse_if(number, known.walk.entry(entry, cause))
            return
        known.balance += entry.amount
        if abs(known.balance) > LARGEST:
            self._lines.refuse(f"{known.key.name} passes 2^63-1 minor units", number)
        if entry[4:] != (None,) * len(STATE_COLUMNS):
            self._lines.refuse(f"{known.key.name} is a system account, and has no state", number)

    def _refuse_if(self, number: int, found: Iterator[Discrepancy] | list[Discrepancy]) -> None:
        for each in found:
            whose = "" if each.account == NOBODY else f" of {each.account}"
            self._lines.refuse(
                f"{each.invariant}: {each.what}{whose} is {each.stored}, and should be"
                f" {each.actual}",
                number,
            )

    def _entries(self, transaction: Transaction) -> list[tuple[_Known, StoredEntry]]:
        entries = []
        for posting in transaction.postings:
            known = self._known[posting.account]
            values = (getattr(posting, name) for name in POSTING_COLUMNS)
            entries.append((known, StoredEntry(transaction.position, known.id, *values)))
        return entries

    async def _write(self, chunk: _Chunk) -> None:
        transactions, postings = [], []
        for transaction in chunk.transactions():
            transactions.append(tuple(transaction.record().values()))
            postings += [tuple(entry) for _, entry in self._entries(transaction)]
        await self._journal.append(self._connection, transactions, postings)
        seals = [msgspec.structs.asdict(line) for _, line in chunk.lines if isinstance(line, Seal)]
        if seals:
            await self._connection.execute(insert(schema.seals), seals)

    async def _write_holds(self, chunk: _Chunk) -> None:
        """The hold rows as the newest transaction of each in the chunk left them."""
        newest: dict[str, tuple[int, Transaction]] = {}
        placed: dict[str, int] = {}
        for number, line in chunk.lines:
            if isinstance(line, Transaction) and line.hold is not None:
                newest[line.hold] = number, line
                if line.id == line.hold:
                    placed[line.hold] = line.position
        earlier = [id_ for id_ in newest if id_ not in placed]
        for id_, hold in (await self._journal.holds(self._connection, earlier)).items():
            placed[id_] = hold.position or 0
        holds: list[tuple[int, Hold]] = []
        for id_, (number, line) in newest.items():
            committed = Committed(line.position, line.id, line.type, line.encoded.encode())
            try:
                view = committed.admin_fields()["hold"]
                hold = hold_from_view(view, placed[id_], self._catalog)
                holds.append((self._known[hold.key.name].id, hold))
            except (LedgerError, LookupError, TypeError) as error:
                self._lines.refuse(f"it tells no hold that fits: {error!r}", number)
        await self._journal.write_holds(self._connection, holds)

    # Accounts

    async def _meet_accounts(self, chunk: _Chunk) -> None:
        """Know every account of the chunk; make those that are new."""
        lines: dict[str, int] = {}
        for number, line in chunk.lines:
            if isinstance(line, Transaction):
                for posting in line.postings:
                    if posting.account not in self._known:
                        lines.setdefault(posting.account, number)
        if not lines:
            return
        keys = {name: self._key(name, number) for name, number in lines.items()}
        names = self._sets.parameter(list(keys))
        for row in await rows(self._connection, self._states, names=names):
            self._know(keys.pop(row[0]), row[1], StoredState._make(row[2:]))
        if not keys:
            return
        made = await self._connection.execute(
            insert(schema.accounts).returning(schema.accounts.c.name, schema.accounts.c.id),
            [{"name": name, **key._asdict(), **_NO_STATE} for name, key in keys.items()],
        )
        for name, id_ in made.all():
            self._know(keys[name], id_, StoredState())

    def _key(self, name: str, number: int) -> AccountKey:
        try:
            key = AccountKey.parse(name)
            if not key.is_system:
                check_user_id(key.owner)
        except LedgerError as error:
            self._lines.refuse(str(error), number)
        if key.is_system and key.owner not in SYSTEM_OWNERS:
            self._lines.refuse(f"there is no system account {name}", number)
        if key.book not in self._catalog.books or key.asset not in self._catalog.assets:
            self._lines.refuse(f"the header has no book or asset of {name}", number)
        return key

    def _know(self, key: AccountKey, id_: int, state: StoredState) -> None:
        measure = Measure.of(key, self._catalog)
        assert measure is not None
        walk = None if key.is_system else EntryWalk(measure, self._types, state)
        self._known[key.name] = _Known(id_, key, walk, state.balance)

    async def _forget_known(self) -> None:
        """Write the accounts that changed."""
        changed = [known.account() for known in self._known.values() if known.changed]
        for first in range(0, len(changed), TRANSACTIONS_PER_CHUNK):
            page = changed[first : first + TRANSACTIONS_PER_CHUNK]
            await self._journal.write_accounts(self._connection, page)
        self._known.clear()

    # What follows the journal

    async def _load_rest(self, line: Line) -> End:
        """The audit and the revocations; the result is the closing line."""
        kinds = {Audit: (schema.audit, "audit"), Revocation: (schema.revocations, "revocations")}
        for kind, (table, name) in kinds.items():
            values: list[dict[str, Any]] = []
            while type(line) is kind:
                values.append(msgspec.structs.asdict(line))
                self._counts[name] += 1
                line = self._lines.next()
                if type(line) is not kind or len(values) == TRANSACTIONS_PER_CHUNK:
                    with self._refused_by_database(self._lines.number - len(values)):
                        await self._connection.execute(insert(table), values)
                    values = []
        if not isinstance(line, End):
            self._lines.refuse(f"a {type(line).__name__.lower()} does not belong here")
        return line


def _settings(book: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in book.items() if name != "name"}
