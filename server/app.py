"""The composition root: builds every long-lived object once, and takes it down in order."""

from __future__ import annotations

import asyncio
import hmac
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute

from . import asyncapi, logs
from .api.origins import Origins
from .api.rates import RateLimits
from .api.routes import routes_for
from .api.routing import RouteTable
from .api.services import Services
from .auth import Revocations, Tokens
from .ledger import BalanceManager, changes, open_ledger
from .ledger.catalog import FIRST_BOOKS
from .ledger.changes import Details, IdempotencyKey
from .ledger.clock import Clock, SystemClock, uuid7_source
from .ledger.errors import LedgerError
from .ledger.updates import Batch
from .operations.jobs import scheduled_jobs
from .operations.scheduler import Job, Scheduler
from .operations.settlement import settle_options
from .prices.board import Board
from .prices.simulation import Simulation
from .settings import Settings, SettingsError
from .sync.balance import sync_balance_across_all_systems
from .sync.bus import Bus, open_bus
from .sync.feed import Feed
from .webhooks.delivery import MOST_ATTEMPTS, Deliverer
from .webhooks.destinations import LOOPBACK, VARIABLE, Destinations
from .webhooks.registrations import Registrations
from .ws.endpoint import websocket_endpoint
from .ws.hub import Elsewhere, Hub
from .ws.sse import open_stream

if TYPE_CHECKING:
    from .webhooks.sending import Sender

_log = logs.get_logger(__name__)

_FOLLOW_SECONDS = 1.0
_FIRST_USERS = ("alice", "bob")
_FIRST_MONEY = "10000"


def create_app(settings: Settings, clock: Clock | None = None) -> Starlette:
    """The ASGI application; its services are built when it starts, and are `state.services`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with build(settings, clock or SystemClock()) as services:
            app.state.services = services
            yield

    return Starlette(
        routes=[
            WebSocketRoute("/ws", websocket_endpoint),
            RouteTable(routes_for(settings.development)),
        ],
        middleware=[Middleware(Origins, origins=settings.origins)],
        lifespan=lifespan,
    )


@asynccontextmanager
async def build(settings: Settings, clock: Clock) -> AsyncIterator[Services]:
    """
    Every service, started; afterwards stopped in order: screens, feed, ledger, bus.

    Raises LedgerError where the database cannot be opened or its schema does not fit,
    SettingsError where an address for webhooks cannot be one.
    """
    signing = _signing_secrets(settings)
    revocations = Revocations()
    destinations = _destinations(settings)
    async with AsyncExitStack() as stack:
        bus, manager = await _bus_and_ledger(settings, clock, signing, stack)
        webhooks = Registrations(manager.database, clock, uuid7_source(clock), destinations)
        feed = Feed(manager.reader, bus)
        board = Board(manager.prices, lambda: manager.catalog)
        hub = Hub(
            manager.reader,
            feed,
            clock,
            board=board,
            user_connections=settings.user_connections,
            elsewhere=await _counts(settings, stack),
        )
        await feed.start()
        stack.push_async_callback(feed.close)
        stack.push_async_callback(_cancelled, asyncio.create_task(board.run()))
        stack.push_async_callback(hub.shutdown)
        manager.on_commit(_announcer(feed, bus))
        if settings.development:
            # A ledger in use may be looked at in development mode, but gets no play money.
            if (await manager.reader.head()).position == 0:
                await make_first_users(manager)
            deliverer = _deliverer(manager, webhooks, destinations, clock, bus)
            await stack.enter_async_context(_working(manager, settings, clock, deliverer))
        await _learn_revocations(manager, revocations, hub)
        bus.subscribe_revocations(partial(_revoke, revocations, hub))
        stack.push_async_callback(
            _cancelled, asyncio.create_task(_follow_others(manager, revocations, hub))
        )
        yield Services(
            settings=settings,
            clock=clock,
            manager=manager,
            tokens=Tokens(signing, clock.now),
            revocations=revocations,
            rates=RateLimits(settings.user_rate, asyncio.get_running_loop().time),
            bus=bus,
            feed=feed,
            hub=hub,
            open_stream=partial(open_stream, hub),
            describe_wire=asyncapi.encoded_document,
            webhooks=webhooks,
        )


@asynccontextmanager
async def open_worker(settings: Settings, clock: Clock) -> AsyncIterator[None]:
    """
    A worker: does its part of what comes round by itself until the block ends, and serves nobody.

    Raises LedgerError where the database cannot be opened or its schema does not fit,
    SettingsError where an address for webhooks cannot be one.
    """
    destinations = _destinations(settings)
    async with AsyncExitStack() as stack:
        bus, manager = await _bus_and_ledger(settings, clock, _signing_secrets(settings), stack)
        manager.on_commit(_publisher(bus))
        webhooks = Registrations(manager.database, clock, uuid7_source(clock), destinations)
        deliverer = _deliverer(manager, webhooks, destinations, clock, bus)
        await stack.enter_async_context(_working(manager, settings, clock, deliverer))
        yield


def _signing_secrets(settings: Settings) -> tuple[str, ...]:
    # Without a secret, one for this start alone: nothing signed by it outlives the process.
    return settings.secrets or (secrets.token_hex(32),)


async def _bus_and_ledger(
    settings: Settings, clock: Clock, signing: Sequence[str], stack: AsyncExitStack
) -> tuple[Bus, BalanceManager]:
    """What serving and working have in common, open until `stack` closes."""
    bus = open_bus(settings.redis_url, signing)
    await bus.start()
    stack.push_async_callback(bus.close)
    manager = await stack.enter_async_context(
        open_ledger(settings.database_url, clock=clock, upgrade=settings.development)
    )
    return bus, manager


def _destinations(settings: Settings) -> Destinations:
    """Where webhooks may be sent: as the operator says, else, in development mode, this machine."""
    entries = settings.webhook_hosts
    if entries is None:
        entries = LOOPBACK if settings.development else ()
    try:
        return Destinations(entries)
    except ValueError as error:
        raise SettingsError(f"{VARIABLE}: {error}") from None


def _deliverer(
    manager: BalanceManager,
    webhooks: Registrations,
    destinations: Destinations,
    clock: Clock,
    bus: Bus,
) -> Deliverer:
    """Who delivers webhooks while this process has the lease, told of commits by `bus`."""

    def sender() -> Sender:
        from .webhooks.sending import Sender

        return Sender(destinations, clock, connections=MOST_ATTEMPTS)

    deliverer = Deliverer(
        manager.reader, webhooks, sender, clock, uuid7_source(clock), random.SystemRandom().random
    )
    bus.subscribe(lambda batch: deliverer.wake())
    return deliverer


@asynccontextmanager
async def _working(
    manager: BalanceManager, settings: Settings, clock: Clock, deliverer: Deliverer
) -> AsyncIterator[None]:
    """What one of the workers does at a time, and what every one of them does, until the end."""
    deliveries = Job("deliver webhooks", 1.0, deliverer.run)
    jobs = [*scheduled_jobs(manager, settings, clock), deliveries]
    works: list[Callable[[], Coroutine[Any, Any, None]]] = [
        Scheduler(manager.leases, secrets.token_hex(8), jobs).run,
        partial(settle_options, manager),
    ]
    if settings.prices == "simulated":
        seed = _price_seed(settings, (await manager.reader.head()).epoch)
        simulation = Simulation(manager.prices, seed)
        # Whoever is served finds prices that are fresh.
        await simulation.step()
        works.append(simulation.run)
    running = [asyncio.create_task(work()) for work in works]
    try:
        yield
    finally:
        for task in running:
            await _cancelled(task)


def _price_seed(settings: Settings, epoch: str) -> str:
    """What simulated prices go by; from the epoch alone, every client could foretell them."""
    if settings.price_seed is not None:
        return settings.price_seed
    if settings.development:
        return epoch
    return hmac.digest(settings.secrets[0].encode(), f"prices\n{epoch}".encode(), "sha256").hex()


def _publisher(bus: Bus) -> Callable[[Batch], Awaitable[None]]:
    async def publish(batch: Batch) -> None:
        _log_commit(batch)
        await sync_balance_across_all_systems(batch, bus)

    return publish


def _log_commit(batch: Batch) -> None:
    # The seal is logged so that a journal that was cut off behind it can be told.
    _log.info(
        "committed",
        first=batch.first,
        last=batch.last,
        changes=len(batch.transactions),
        seal=f"{batch.last}:{batch.seal}",
    )


def _announcer(feed: Feed, bus: Bus) -> Callable[[Batch], Awaitable[None]]:
    async def announce(batch: Batch) -> None:
        _log_commit(batch)
        feed.offer(batch, "local")
        await sync_balance_across_all_systems(batch, bus)

    return announce


async def make_first_users(manager: BalanceManager) -> None:
    """Give the users of development mode their play money, once however often it is called."""
    kind = manager.types["deposit"]
    first = [
        changes.directed(
            manager.catalog,
            kind,
            user_id,
            _FIRST_MONEY,
            asset="USDT",
            book=book,
            details=Details(
                description="First money in development mode",
                key=IdempotencyKey("development", "system", f"{book}/{user_id}"),
            ),
        )
        for book in FIRST_BOOKS
        for user_id in _FIRST_USERS
    ]
    await manager.post_many(first, atomic=True)


async def _counts(settings: Settings, stack: AsyncExitStack) -> Elsewhere | None:
    """The counts of connections in every process, until `stack` closes; None without Redis."""
    if settings.redis_url is None:
        return None
    from .sync.connection_counts import ConnectionCounts

    counts = ConnectionCounts(settings.redis_url, settings.user_connections)
    await counts.start()
    stack.push_async_callback(counts.close)
    return counts


async def _learn_revocations(manager: BalanceManager, revocations: Revocations, hub: Hub) -> None:
    for user_id, at in (await manager.access.load_revocations()).items():
        _revoke(revocations, hub, user_id, at)


def _revoke(revocations: Revocations, hub: Hub, user_id: str, at: int) -> None:
    if revocations.revoke(user_id, at):
        hub.disconnect(user_id)


async def _follow_others(manager: BalanceManager, revocations: Revocations, hub: Hub) -> None:
    """Learn of the revocations and settings that other processes made."""
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        try:
            await _learn_revocations(manager, revocations, hub)
            await manager.read_catalog()
        except LedgerError as error:
            _log.warning("revocations and settings not read", reason=str(error))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
