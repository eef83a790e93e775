"""Every block of every page is run or checked by a test, and every link leads somewhere."""

from __future__ import annotations

import re

import pytest

from .pages import PAGES, ROOT, blocks_of, page

FOLLOWED = "tests/docs/test_pages.py"
# The test that has all blocks of a language, by page; a page without languages is followed whole.
RUN_BY: dict[str, str | dict[str, str]] = {
    "README.md": FOLLOWED,
    "docs/backup.md": {
        "sh": "tests/journeys/test_restore.py",
        "python": FOLLOWED,
    },
    "docs/client.md": {
        "sh": "tests/client/test_page.py",
        "js": "tests/client/test_page.py",
        "mermaid": "tests/client/states.test.js",
    },
    "docs/contract.md": FOLLOWED,
    "docs/cutover.md": {
        "sh": "tests/cutover/test_recipe.py",
        "python": "tests/cutover/test_recipe.py",
    },
    "docs/deployment.md": "tests/docs/test_deployment_page.py",
    "docs/concepts.md": FOLLOWED,
    "docs/embedding.md": {
        "python": "tests/docs/test_embedding_page.py",
        "text": "tests/docs/test_embedding_page.py",
    },
    "docs/getting-started.md": "tests/docs/test_getting_started_page.py",
    "docs/http.md": "tests/docs/test_wire_pages.py",
    "docs/mirrors.md": FOLLOWED,
    "docs/operations.md": "tests/docs/test_operations_page.py",
    "docs/time.md": FOLLOWED,
    "docs/trading.md": FOLLOWED,
    "docs/webhooks.md": FOLLOWED,
    "docs/wire.md": "tests/docs/test_wire_pages.py",
}

_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


def _anchors(name: str) -> set[str]:
    """What `#…` may name on a page: its headings, as they are linked to."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_block_has_its_test(name: str) -> None:
    runner = RUN_BY.get(name)
    for block in page(name):
        test = runner.get(block.language) if isinstance(runner, dict) else runner
        assert test is not None, f"{block.place} is run by no test: name one in RUN_BY"
        assert name in (ROOT / test).read_text(), f"{test} does not speak of {name}"


def test_no_test_is_named_for_what_is_gone() -> None:
    assert set(RUN_BY) <= set(PAGES)
    for name, runner in RUN_BY.items():
        if isinstance(runner, dict):
            assert set(runner) == {block.language for block in page(name)}, name


@pytest.mark.parametrize("name", [*PAGES, "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    blocks_of((ROOT / name).read_text(), name)
    for link in _LINK.finditer((ROOT / name).read_text()):
        target, _, anchor = link["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (ROOT / name).parent / target if target else ROOT / name
        assert file.exists(), f"{name}: {link['target']}"
        if anchor:
            assert anchor in _anchors(str(file.resolve().relative_to(ROOT))), link["target"]
