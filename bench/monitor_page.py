"""
How smoothly the monitor page draws while 2,000 changes a second come, and what memory it keeps.

A server, the page in headless Chromium and the load share this machine. The load is batches over
HTTP, encoded beforehand. A frame is the time between two animation frames; the heap is the page's
JavaScript heap after garbage collection, before the first change (its list is empty) and after.
Busy is the CPU time of the page's main thread, as a share of the time that passed: what others take
of the machine lengthens frames, but not this.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import httpx
import msgspec
from playwright.async_api import CDPSession, Page, async_playwright

from tests.services.chromium import FLAGS, find_chromium
from tests.services.server import RunningServer, server_environment

RATE = 2_000
SECONDS = int(os.environ.get("SECONDS", "60"))
BATCH = 100
USERS = 500
MIB = 1024 * 1024

_WATCH_FRAMES = """
() => {
  window.frames_ms = [];
  let before = performance.now();
  const tick = (now) => {
    frames_ms.push(now - before);
    before = now;
    window.frame_loop = requestAnimationFrame(tick);
  };
  window.frame_loop = requestAnimationFrame(tick);
}
"""
_FRAMES = "() => { cancelAnimationFrame(frame_loop); return frames_ms.slice(1); }"


async def measure() -> None:
    """Measure once and print a line."""
    print(
        f"{'changes/s':>10}{'seconds':>9}{'frames':>8}{'p50 ms':>8}{'p99 ms':>8}{'max ms':>8}"
        f"{'<50 ms':>9}{'busy':>7}{'heap MiB':>10}{'grown MiB':>11}"
    )
    with tempfile.TemporaryDirectory(prefix="tallywire-bench-") as name:
        folder = Path(name)
        environment = server_environment(f"sqlite+aiosqlite:///{folder}/bench.db", secret=None)
        server = RunningServer(folder, environment, secret=None)
        try:
            await server.start()
            await _measure(server)
        finally:
            server.discard()


async def _measure(server: RunningServer) -> None:
    token = await server.dev_token("root", "superadmin")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with (
        httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=30) as http,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(), args=list(FLAGS)
        )
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        await page.goto(f"{server.base_url}/static/admin.html?user=root&role=superadmin")
        await page.locator("#light[data-state=connected]").wait_for()
        bodies = _bodies()
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = await _metrics(devtools)
        await page.evaluate(_WATCH_FRAMES)
        rate = await _load(http, bodies, SECONDS)
        frames = await page.evaluate(_FRAMES)
        await _shown_all(page, http)
        after = await _metrics(devtools)
        await browser.close()
    _print(rate, sorted(frames), before, after)


def _bodies() -> list[bytes]:
    """Batches of deposits to many users, in the form of requests."""
    users = iter(range(10**9))
    return [
        msgspec.json.encode(
            {
                "items": [
                    {
                        "operation": "deposit",
                        "user_id": f"user-{next(users) % USERS}",
                        "asset": "USDT" if number % 4 else "BTC",
                        "amount": f"{number + 1}.25",
                        "description": "An order that was paid",
                        "reference": f"order-{number}",
                        "metadata": {"category": "orders"},
                    }
                    for number in range(BATCH)
                ]
            }
        )
        for _ in range(USERS // BATCH)
    ]


async def _load(http: httpx.AsyncClient, bodies: list[bytes], seconds: float) -> float:
    """Send batches at the rate for so many seconds; the result is the rate that was reached."""
    started = time.perf_counter()
    sent = 0
    while (passed := time.perf_counter() - started) < seconds:
        ahead = sent / RATE - passed
        if ahead > 0:
            await asyncio.sleep(ahead)
        answer = await http.post("/v1/batches", content=bodies[sent // BATCH % len(bodies)])
        answer.raise_for_status()
        sent += BATCH
    return sent / (time.perf_counter() - started)


async def _shown_all(page: Page, http: httpx.AsyncClient) -> None:
    """Wait until the page stands where the journal does."""
    head = (await http.get("/v1/users/root/balances")).json()["position"]
    await page.wait_for_function(
        "(head) => document.getElementById('position').textContent === String(head)", arg=head
    )


async def _metrics(devtools: CDPSession) -> dict[str, float]:
    """What Chromium measures of the page, by name, after garbage collection."""
    await devtools.send("HeapProfiler.collectGarbage")
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    return {each["name"]: float(each["value"]) for each in metrics}


def _print(
    rate: float, frames: list[float], before: dict[str, float], after: dict[str, float]
) -> None:
    grown = {name: after[name] - before[name] for name in after}
    smooth = sum(frame < 50 for frame in frames) / len(frames)
    print(
        f"{rate:10,.0f}{SECONDS:9}{len(frames):8,}{frames[len(frames) // 2]:8.1f}"
        f"{frames[int(len(frames) * 0.99)]:8.1f}{frames[-1]:8.1f}{smooth:9.2%}"
        f"{grown['TaskDuration'] / SECONDS:7.0%}"
        f"{after['JSHeapUsedSize'] / MIB:10.1f}{grown['JSHeapUsedSize'] / MIB:11.1f}",
        flush=True,
    )
