"""The pages load nothing from other hosts, and would not if somebody slipped it into them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Request, WebSocket

from ..services.server import RunningServer
from .conftest import NewTab

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = {
    "/": "Watch balances move",
    "/docs": "Calls",
    "/static/test-balance-sync.html?user=root&operate=superadmin": "All users",
    "/static/admin.html?user=root&role=superadmin": "Changes of all users",
}

# The result is what ran in spite of the policy; which of its parts refused something: `refused`.
_SLIP_IN = """
async (elsewhere) => {
  window.refused = new Set();
  addEventListener("securitypolicyviolation", (event) => refused.add(event.effectiveDirective));
  const slip = (html) => {
    document.body.insertAdjacentHTML("beforeend", html);
    return document.body.lastElementChild;
  };
  const script = document.createElement("script");
  script.textContent = "window.ran = 'script'";
  document.body.append(script);
  slip(`<i onclick="window.ran = 'handler'">i</i>`).click();
  const style = slip(`<style>body { --ran: style }</style>`);
  const styled = slip(`<b style="--ran: attribute">b</b>`);
  const image = slip(`<img src="${elsewhere}/static/icon.svg" alt="">`);
  slip(`<iframe src="/healthz" title="frame"></iframe>`);
  slip(`<form action="${elsewhere}/healthz"></form>`).requestSubmit();
  const answer = await fetch(`${elsewhere}/healthz`, { mode: "no-cors" }).catch(() => null);
  await new Promise((done) => { image.onerror = done; image.onload = done; });
  const ran = [
    window.ran,
    getComputedStyle(document.body).getPropertyValue("--ran"),
    getComputedStyle(styled).getPropertyValue("--ran"),
    image.naturalWidth > 0 && "image",
    answer && "fetch",
  ];
  return ran.filter(Boolean);
}
"""

_ALL_REFUSED = "(parts) => parts.every((part) => refused.has(part))"
_REFUSED = [
    "connect-src",
    "form-action",
    "frame-src",
    "img-src",
    "script-src-attr",
    "script-src-elem",
    "style-src-attr",
    "style-src-elem",
]


async def test_pages_load_from_their_own_host_only_and_run_nothing_that_was_slipped_in(
    shared_site: RunningServer, new_shared_tab: NewTab
) -> None:
    own = urlsplit(shared_site.base_url).netloc
    tab = await new_shared_tab()
    hosts: set[str] = set()

    def asked(request: Request | WebSocket) -> None:
        hosts.add(urlsplit(request.url).netloc)

    tab.page.on("request", asked)
    tab.page.on("websocket", asked)
    for path, heading in PAGES.items():
        answer = await tab.page.goto(f"{shared_site.base_url}{path}")
        assert answer is not None
        policies = [
            answer.headers["content-security-policy"],
            await tab.page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute(
                "content"
            ),
        ]
        assert all(policy.startswith("default-src 'none'; ") for policy in policies if policy)
        assert "unsafe" not in f"{policies}"
        await tab.page.get_by_role("heading", name=heading).first.wait_for()
        if "user=" in path:
            await tab.expect_state("Connected")
    assert hosts == {own}
    assert tab.faults == []

    elsewhere = shared_site.base_url.replace("127.0.0.1", "localhost")
    tab.excuse("Content Security Policy")
    for path in PAGES:
        await tab.page.goto(f"{shared_site.base_url}{path}")
        assert await tab.page.evaluate(_SLIP_IN, elsewhere) == [], path
        await tab.page.wait_for_function(_ALL_REFUSED, arg=_REFUSED)
    tab.faults.clear()
