"""What goes wrong, how often, and until when; drawn from the seed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Literal

Fate = Literal["fine", "lost", "answer_lost", "late", "refused", "slow"]


@dataclass(frozen=True)
class Profile:
    """Probabilities per event, and seconds; one world has one profile."""

    statement: float
    commit: float
    slow: float
    outages: int
    bus_drop: float
    bus_duplicate: float
    bus_delay: float
    bus_deaf: int
    deaths: int
    clock_jumps: int
    restarts: int
    pauses: int
    new_epochs: int
    older_programs: int
    vanishing: float
    slow_readers: float
    until: float
    trading: bool

    @classmethod
    def draw(cls, random: Random, *, trading: bool) -> Profile:
        """Some worlds are calm, some have one trouble, some have all; where `trading` is: that."""
        wild = random.choice((0.0, 1.0, 1.0, 2.0))

        def some(most: float) -> float:
            return 0.0 if random.random() < 0.4 else wild * most * random.random()

        def times(most: int) -> int:
            return random.randint(0, most) if wild else 0

        return cls(
            statement=some(0.02),
            commit=some(0.3),
            slow=some(0.05),
            outages=times(2),
            bus_drop=some(0.4),
            bus_duplicate=some(0.2),
            bus_delay=some(0.4),
            bus_deaf=times(2),
            deaths=times(3),
            # A jump forward leaves prices stale, and options open, for the rest of a world.
            clock_jumps=times(3) if not trading else times(3) // 3,
            restarts=random.choice((0, 0, 1, 2)),
            pauses=random.choice((0, 0, 1)),
            new_epochs=random.choice((0, 0, 0, 1)),
            older_programs=random.choice((0, 0, 0, 0, 1, 2)),
            vanishing=random.choice((0.1, 0.5)),
            slow_readers=random.choice((0.0, 0.3, 0.6)),
            until=12.0,
            trading=trading,
        )

    @property
    def database_fails(self) -> bool:
        """Whether a caller may ever be told that the database is away."""
        return bool(self.statement or self.commit or self.slow or self.outages or self.deaths)


class Faults:
    """Decides, event by event, what goes wrong."""

    def __init__(self, profile: Profile, random: Random) -> None:
        self.profile = profile
        self.random = random
        self._away_until = 0.0

    def now(self) -> bool:
        """Whether it is still time for faults."""
        return asyncio.get_running_loop().time() < self.profile.until

    def chance(self, probability: float) -> bool:
        """Whether a fault of this probability happens now."""
        return self.now() and self.random.random() < probability

    @property
    def database_away(self) -> bool:
        """Whether the database takes no connections now."""
        return asyncio.get_running_loop().time() < self._away_until

    def send_database_away(self, seconds: float) -> None:
        """Let the database take no connections for so long."""
        until = asyncio.get_running_loop().time() + seconds
        self._away_until = max(self._away_until, until)

    def of_statement(self) -> Fate:
        """What becomes of a statement."""
        if self.chance(self.profile.statement):
            return self.random.choice(("lost", "answer_lost", "refused"))
        return "slow" if self.chance(self.profile.slow) else "fine"

    def of_commit(self) -> Fate:
        """What becomes of a COMMIT."""
        if self.chance(self.profile.commit):
            return self.random.choice(("lost", "answer_lost", "late"))
        return "slow" if self.chance(self.profile.slow) else "fine"

    def latency(self) -> float:
        """Seconds for one way to the database or a client."""
        return 0.0002 + 0.002 * self.random.random()

    def between(self, least: float, most: float) -> float:
        """Some seconds."""
        return self.random.uniform(least, most)
