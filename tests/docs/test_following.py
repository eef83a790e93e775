"""Following a page notices where it says something else than happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from .following import Check, Step, follow_page, keeps, repository_with, steps_of
from .pages import Block, Misled, blocks_of

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
# notes/note.py
NOTE = "six"
```

```python
import asyncio

from notes.note import NOTE

print(await asyncio.sleep(0, NOTE))
```
```text
six
```

```yaml
note: 7
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


NOTES: list[str] = []
CHECKS: dict[str, Check] = {"yaml": lambda block: NOTES.append(block.text)}


def test_the_steps_of_a_page() -> None:
    steps = steps_of(blocks_of(PAGE), CHECKS)
    assert [step.elsewhere for step in steps] == [*[False] * 6, True]
    assert [step.kind for step in steps] == [None, "text", "json", None, "text", "text", "text"]
    assert [step.block.file for step in steps if step.block.file] == ["notes/note.py"]
    assert NOTES.pop() == "note: 7\n"


async def test_a_page_that_says_what_happens(tmp_path: Path) -> None:
    await follow_page(repository_with("django_shop", tmp_path), PAGE, others=CHECKS)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"note": "5"', '"note": "6"'),
        ('"a": "7-…"', '"a": "8-…"'),
        (' "b": [1, "x"]', ' "b": [1]'),
        ("…/repository", "…/repository\nmore"),
        ("NOTE=5", "NOTE=5; false"),
        ("make examples", "make nothing &&"),
        ("exec ", "true "),
        ('"six"', '"seven"'),
    ],
)
async def test_a_page_that_misleads(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in PAGE
    root, page = repository_with("django_shop", tmp_path), PAGE.replace(right, wrong)
    with pytest.raises(Misled, match="promises"):
        await follow_page(root, page, others=CHECKS)


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("```yaml", "```toml", r":42 \(toml\) is run by nobody"),
        ("```yaml", "```", r":42 \(no language\) is run by nobody"),
        ("```yaml", "```text", r":42 \(text\) is run by nobody"),
        ("```text\nsix", "So:\n```text\nsix", r"\(text\) is parted"),
        ("```sh\ncurl", "  ```sh\ncurl", r":57: a block that is indented"),
        ("repository\n```", "repository\n", r":60: a block without an end"),
    ],
)
def test_a_block_without_a_place(right: str, wrong: str, place: str) -> None:
    assert right in PAGE
    with pytest.raises(Misled, match=place):
        steps_of(blocks_of(PAGE.replace(right, wrong)), CHECKS)


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
    block = Block("a page", 1, "sh", "true\n", "", "")
    assert keeps(Step(block, False, "text", promised), printed) is kept
