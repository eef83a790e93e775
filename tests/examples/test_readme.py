"""Every example's README, followed to the letter; and that following notices what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from .readme import ROOT, Misled, Step, follow, follow_page, keeps, repository_with, steps_of

EXAMPLES = sorted(page.parent.name for page in ROOT.glob("examples/*/README.md"))


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_readme_on_sqlite(name: str, tmp_path: Path) -> None:
    await follow(name, tmp_path)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_readme_on_postgresql(name: str, tmp_path: Path, empty_postgres_url: str) -> None:
    await follow(name, tmp_path, database_url=empty_postgres_url)


PAGE = """
Make a note:

```sh
make examples
cd examples/django_shop && NOTE=5
```

```sh
echo "{\\"note\\": \\"$NOTE\\", \\"id\\": \\"$$\\"}"; pwd
```
```text
{"note": "5", "id": "…"}
…
…/examples/django_shop
```

```sh
echo '{"b": [1, "x"], "a": "7-8"}' >&2; false
```
```json
{"a": "7-…",
 "b": [1, "x"]}
```

```python
print("not a command")
```

Serve it:

```sh
cd .. && PORT=3004 && exec ../.venv/bin/python -m http.server --bind 127.0.0.1 $PORT
```
```text
Serving HTTP on … port …
```

Then, in another terminal:

```sh
curl -sS -o page.txt -w '%{http_code}\\n' http://127.0.0.1:3004/ && pwd
```
```text
200
…/repository
```
"""


def test_the_steps_of_a_page() -> None:
    assert [step.elsewhere for step in steps_of(PAGE)] == [False, False, False, False, True]
    assert [step.kind for step in steps_of(PAGE)] == [None, "text", "json", "text", "text"]


async def test_a_page_that_says_what_happens(tmp_path: Path) -> None:
    await follow_page(repository_with("django_shop", tmp_path), PAGE)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"note": "5"', '"note": "6"'),
        ('"a": "7-…"', '"a": "8-…"'),
        (' "b": [1, "x"]', ' "b": [1]'),
        ("…/repository", "…/repository\nmore"),
        ("200\n", ""),
        ("NOTE=5", "NOTE=5; false"),
        ("make examples", "make nothing &&"),
        ("exec ", "true "),
        ("```python", "```text"),
        ("```sh\ncurl", "  ```sh\ncurl"),
    ],
)
async def test_a_page_that_misleads(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in PAGE
    with pytest.raises(Misled) as raised:
        await follow_page(repository_with("django_shop", tmp_path), PAGE.replace(right, wrong))
    assert "promises" in str(raised.value)


@pytest.mark.parametrize(
    ("promised", "printed", "kept"),
    [
        ("a … c", "a b c\n", True),
        ("a … c", "a b\nc\n", False),
        ("a\n…\nc", "a\nc", True),
        ("a\n…\nc", "a\nb\nb\nc", True),
        ("a\n…\nc", "a\nb", False),
        ("1.00", "1x00", False),
        ("", "anything", False),
        ("", "", True),
    ],
)
def test_what_the_ellipsis_stands_for(promised: str, printed: str, kept: bool) -> None:
    assert keeps(Step("true", False, "text", promised), printed) is kept
