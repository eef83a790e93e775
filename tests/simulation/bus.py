"""A bus between the servers that loses, delays, repeats and reorders, and at times goes deaf."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tallywire.ledger.updates import Batch

from .faults import Faults
from .loop import Process
from .trace import Trace


class SimulatedBus:
    """What all servers are connected to."""

    def __init__(self, faults: Faults, trace: Trace) -> None:
        self.faults = faults
        self.trace = trace
        self.ports: list[Port] = []

    def port(self, server: Process) -> Port:
        """The connection of one server."""
        port = Port(self, server)
        self.ports = [other for other in self.ports if other.server.alive]
        self.ports.append(port)
        return port

    def carry(self, batch: Batch, port: Port) -> None:
        """Deliver `batch` at `port`, or not, or late, or twice."""
        faults = self.faults
        if port.deaf or faults.chance(faults.profile.bus_drop):
            self.trace.note("bus", f"{batch.first}-{batch.last} lost to {port.server.name}")
            return
        copies = 2 if faults.chance(faults.profile.bus_duplicate) else 1
        for _ in range(copies):
            delay = faults.latency()
            if faults.chance(faults.profile.bus_delay):
                delay += faults.between(0.0, 1.0)
            port.server.call_later(delay, port.deliver, batch)


class Port:
    """One server's side of the bus."""

    def __init__(self, bus: SimulatedBus, server: Process) -> None:
        self.server = server
        self.deaf = False
        self.is_up = True
        self._bus = bus
        self._subscribers: list[Callable[[Batch], None]] = []
        self._changed: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Nothing has to be started."""

    async def close(self) -> None:
        """Deliver nothing more."""
        self._subscribers.clear()
        self._changed.clear()

    async def publish(self, batch: Batch) -> None:
        """Send `batch` to every server; fails where this port is known to be down."""
        await asyncio.sleep(self._bus.faults.latency())
        if not self.is_up:
            raise ConnectionError("the bus is away")
        for port in self._bus.ports:
            self._bus.carry(batch, port)

    def subscribe(self, deliver: Callable[[Batch], None]) -> None:
        """Have `deliver` called with what arrives."""
        self._subscribers.append(deliver)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever `is_up` changes."""
        self._changed.append(changed)

    def turn_to(self, up: bool) -> None:
        """The server notices that its port works, or not."""
        self.is_up = up
        for changed in self._changed:
            changed()

    async def publish_revocation(self, user_id: str, at: int) -> None:
        """No token is revoked in a simulation."""
        raise AssertionError("nobody revokes")

    def subscribe_revocations(self, revoked: Callable[[str, int], None]) -> None:
        """No token is revoked in a simulation."""

    def deliver(self, batch: Batch) -> None:
        """Hand on what arrived."""
        for deliver in self._subscribers:
            deliver(batch)
