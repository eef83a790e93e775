"""
An event loop in simulated time, and processes in it that can die between any two steps.

There is no selector and no thread: where nothing is ready, time jumps to the next timer. What a
process does runs in a context that names the process; the steps of a dead one are put aside,
so no `finally` and no `except` of it runs, as after SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Stuck(Exception):
    """Everything waits and no timer is set: nothing will ever happen again."""


class Process:
    """Something that runs on the loop by itself and may be killed."""

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name = name
        self.alive = True
        self._loop = loop
        self._context = contextvars.copy_context()
        self._context.run(_process.set, self)
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._put_aside: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` as a task of this process."""
        return self._loop.create_task(work, context=self._context.copy())

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back as this process, `seconds` from now."""
        self._loop.call_later(seconds, callback, *args, context=self._context.copy())

    def kill(self) -> None:
        """Let nothing of it run again, no cleanup either."""
        self.alive = False

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Remember a task of this process until it is done."""
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def step(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Run one step of the process, or put it aside where the process is dead."""
        if self.alive:
            callback(*args)
        else:
            self._put_aside.append((callback, args))

    async def bury(self) -> None:
        """Once the verdict is in, let what is left of it run its cleanup."""
        self.alive = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        put_aside, self._put_aside = self._put_aside, []
        for callback, args in put_aside:
            self._context.copy().run(self._loop.call_soon, callback, *args)
        if tasks:
            await asyncio.wait(tasks, timeout=60)


class _Jumping:
    """In the place of a selector: nothing ever comes from outside."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("everything waits, and no timer is set")
        self._loop.now += max(timeout, 0.0)
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """Deterministic: the same program makes the same steps in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self._selector = _Jumping(self)
        self.set_task_factory(_adopted)  # type: ignore[arg-type]

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self.now

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As on every loop, by way of the process."""
        self.steps += 1
        process = _process.get() if context is None else context.get(_process)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(process.step, callback, args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """As on every loop, by way of the process."""
        process = _process.get() if context is None else context.get(_process)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, process.step, callback, args, context=context)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""


def _adopted(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, T],
    *,
    context: contextvars.Context | None = None,
    **options: Any,
) -> asyncio.Task[T]:
    task = asyncio.Task(work, loop=loop, context=context, **options)
    process = _process.get() if context is None else context.get(_process)
    if process is not None:
        process.adopt(task)
    return task
