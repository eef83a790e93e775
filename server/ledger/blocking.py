"""The ledger for programs without an event loop: the same methods, each blocking until done."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from .catalog import Catalog
from .errors import Overloaded
from .manager import BalanceManager, Wallet
from .transaction_types import TransactionType, TransactionTypes
from .updates import Batch

Given = ParamSpec("Given")
Made = TypeVar("Made")


def _blocking(
    method: Callable[Concatenate[BalanceManager, Given], Coroutine[Any, Any, Made]],
) -> Callable[Concatenate[SyncBalanceManager, Given], Made]:
    @wraps(method)
    def call(self: SyncBalanceManager, /, *args: Given.args, **kwargs: Given.kwargs) -> Made:
        return self.run(lambda manager: method(manager, *args, **kwargs))

    return call


def _blocking_wallet(
    method: Callable[Concatenate[Wallet, Given], Coroutine[Any, Any, Made]],
) -> Callable[Concatenate[SyncWallet, Given], Made]:
    @wraps(method)
    def call(self: SyncWallet, /, *args: Given.args, **kwargs: Given.kwargs) -> Made:
        return self.manager.run(lambda _: method(self.wallet, *args, **kwargs))

    return call


class SyncBalanceManager:
    """
    A `BalanceManager` whose event loop runs in a thread of its own, so every method blocks until
    it is done. Many threads may share it; what they ask for at once shares commits. It is closed
    by `close`, at the end of a `with` block, or as the process ends.

    It belongs to the process that opened it: in a forked child every method raises RuntimeError,
    and so they do in the ledger's own thread, which they would block for ever.
    """

    def __init__(self, opened: AbstractAsyncContextManager[BalanceManager]) -> None:
        """opened: what `open_ledger` gives; it is entered here. Raises what that raises."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._asked: set[Future[Any]] = set()
        self._closing = False
        self._stop = asyncio.Event()
        ready: Future[tuple[asyncio.AbstractEventLoop, BalanceManager]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._stay_open(opened, ready)),
            name="tallywire ledger",
            daemon=True,
        )
        self._thread.start()
        try:
            self._loop, self._manager = ready.result()
        except Exception:
            self._thread.join()
            raise
        atexit.register(self.close)

    async def _stay_open(
        self,
        opened: AbstractAsyncContextManager[BalanceManager],
        ready: Future[tuple[asyncio.AbstractEventLoop, BalanceManager]],
    ) -> None:
        try:
            async with opened as manager:
                ready.set_result((asyncio.get_running_loop(), manager))
                await self._stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        Let what was asked for come to its end, and close; whoever asks later gets Overloaded.
        Closing again, or in a forked child, does nothing.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closing = True
            asked = set(self._asked)
        wait(asked)
        # The loop is closed already where somebody else closes too.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        atexit.unregister(self.close)

    def run(self, ask: Callable[[BalanceManager], Awaitable[Made]]) -> Made:
        """
        What `ask`, called in the ledger's loop, awaits: for whatever has no method here, such as
        ``run(lambda manager: manager.administration.put_book(name, settings, actor=actor))``.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("this ledger was opened before a fork: each process opens its own")
        if threading.current_thread() is self._thread:
            raise RuntimeError("a blocking call in the ledger's own thread would never end")

        async def asked() -> Made:
            return await ask(self._manager)

        with self._lock:
            if self._closing:
                raise Overloaded("the ledger is closed; nothing was changed")
            future = asyncio.run_coroutine_threadsafe(asked(), self._loop)
            self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future.result()

    @property
    def catalog(self) -> Catalog:
        """The assets and books as this process last read them."""
        return self._manager.catalog

    @property
    def waiting(self) -> int:
        """How many changes wait for a commit."""
        return self._manager.waiting

    @property
    def types(self) -> TransactionTypes:
        """The registry of transaction types."""
        return self._manager.types

    def register_type(self, kind: TransactionType) -> TransactionType:
        """See `BalanceManager.register_type`."""
        return self._manager.register_type(kind)

    def on_commit(self, callback: Callable[[Batch], None]) -> None:
        """
        Call `callback` with every batch of this process, in commit order, in some other thread:
        it may block, and it may use this ledger.
        """

        async def hand_on(batch: Batch) -> None:
            await asyncio.to_thread(callback, batch)

        self._manager.on_commit(hand_on)

    def follow(
        self, after: int, *, epoch: str | None = None, limit: int = 500, poll_s: float = 1.0
    ) -> Iterator[Batch]:
        """See `BalanceManager.follow`; it ends with Overloaded once the ledger is closed."""
        while True:
            batch = self.read_journal(after, epoch=epoch, limit=limit, wait_s=poll_s)
            if batch is not None:
                yield batch
                after, epoch = batch.last, batch.epoch

    def wallet(
        self, user_id: str, *, asset: str | None = None, book: str | None = None
    ) -> SyncWallet:
        """A handle on one account."""
        return SyncWallet(self, self._manager.wallet(user_id, asset=asset, book=book))

    update_balance = _blocking(BalanceManager.update_balance)
    add_to_balance = _blocking(BalanceManager.add_to_balance)
    subtract_from_balance = _blocking(BalanceManager.subtract_from_balance)
    set_balance = _blocking(BalanceManager.set_balance)
    charge_service = _blocking(BalanceManager.charge_service)
    recharge = _blocking(BalanceManager.recharge)
    pay = _blocking(BalanceManager.pay)
    shared_charge = _blocking(BalanceManager.shared_charge)
    transfer = _blocking(BalanceManager.transfer)
    place_hold = _blocking(BalanceManager.place_hold)
    confirm_hold = _blocking(BalanceManager.confirm_hold)
    void_hold = _blocking(BalanceManager.void_hold)
    expire_holds = _blocking(BalanceManager.expire_holds)
    reverse = _blocking(BalanceManager.reverse)
    open_account = _blocking(BalanceManager.open_account)
    change_account = _blocking(BalanceManager.change_account)
    post = _blocking(BalanceManager.post)
    post_many = _blocking(BalanceManager.post_many)
    read_hold = _blocking(BalanceManager.read_hold)
    read_original = _blocking(BalanceManager.read_original)
    read_catalog = _blocking(BalanceManager.read_catalog)
    get_balance = _blocking(BalanceManager.get_balance)
    balances = _blocking(BalanceManager.balances)
    balance_at = _blocking(BalanceManager.balance_at)
    statement = _blocking(BalanceManager.statement)
    history = _blocking(BalanceManager.history)
    read_journal = _blocking(BalanceManager.read_journal)
    verify = _blocking(BalanceManager.verify)
    register_mirror = _blocking(BalanceManager.register_mirror)
    unregister_mirror = _blocking(BalanceManager.unregister_mirror)
    sync_balances = _blocking(BalanceManager.sync_balances)
    retry_mirrors = _blocking(BalanceManager.retry_mirrors)
    rebuild = _blocking(BalanceManager.rebuild)
    discrepancies = _blocking(BalanceManager.discrepancies)
    balance_drift = _blocking(BalanceManager.balance_drift)
    check_and_fix_balance_mismatch = _blocking(BalanceManager.check_and_fix_balance_mismatch)
    export_journal = _blocking(BalanceManager.export_journal)

    def prepare(self, build: Callable[[Catalog], Made]) -> Made:
        """See `BalanceManager.prepare`."""
        return self.run(lambda manager: manager.prepare(build))


class SyncWallet:
    """A `Wallet` of a `SyncBalanceManager`."""

    def __init__(self, manager: SyncBalanceManager, wallet: Wallet) -> None:
        self.manager = manager
        self.wallet = wallet

    @property
    def user_id(self) -> str:
        """Whose account it is."""
        return self.wallet.user_id

    @property
    def asset(self) -> str:
        """The account's asset."""
        return self.wallet.asset

    @property
    def book(self) -> str:
        """The account's book."""
        return self.wallet.book

    get_balance = _blocking_wallet(Wallet.get_balance)
    update_balance = _blocking_wallet(Wallet.update_balance)
    add_to_balance = _blocking_wallet(Wallet.add_to_balance)
    subtract_from_balance = _blocking_wallet(Wallet.subtract_from_balance)
    set_balance = _blocking_wallet(Wallet.set_balance)
    charge_service = _blocking_wallet(Wallet.charge_service)
    recharge = _blocking_wallet(Wallet.recharge)
    pay = _blocking_wallet(Wallet.pay)
    transfer = _blocking_wallet(Wallet.transfer)
    place_hold = _blocking_wallet(Wallet.place_hold)
    history = _blocking_wallet(Wallet.history)
    sync = _blocking_wallet(Wallet.sync)
    balance_drift = _blocking_wallet(Wallet.balance_drift)
    check_and_fix_balance_mismatch = _blocking_wallet(Wallet.check_and_fix_balance_mismatch)
