"""The pages for those who use Tallywire, block by block: docs/*.md and the README."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")))

_FENCE = re.compile(r"^(?P<indent>[ \t>]*)```(?P<language>.*)$")
_FILE = re.compile(r"(?:#|//|--|;|<!--) (?P<name>[\w@/.-]+)(?: -->)?\n")


class Misled(AssertionError):
    """A page that promises something else than what happens."""


@dataclass(frozen=True)
class Block:
    """
    One fenced block of a page.

    page: its name below the repository. line: of the fence, from 1. language: what the fence says,
    "" where nothing. prose: what stands between the block before and this one. heading: the nearest
    above, without its marks.
    """

    page: str
    line: int
    language: str
    text: str
    prose: str
    heading: str

    @property
    def place(self) -> str:
        """`docs/cutover.md:43 (sh)`."""
        return f"{self.page}:{self.line} ({self.language or 'no language'})"

    @property
    def file(self) -> str | None:
        """The file that the block is, where its first line is a comment that names one."""
        named = _FILE.match(self.text)
        return named["name"] if named and "." in named["name"] else None


def blocks_of(text: str, page: str = "a page") -> list[Block]:
    """The blocks of a page in their order; Misled where one is indented or has no end."""
    blocks: list[Block] = []
    prose: list[str] = []
    inside: list[str] | None = None
    opened = (0, "")
    heading = ""
    for line, written in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(written)
        if inside is not None:
            if written == "```":
                content = "".join(f"{each}\n" for each in inside)
                blocks.append(Block(page, *opened, content, "\n".join(prose), heading))
                prose, inside = [], None
            else:
                inside.append(written)
        elif fence is None:
            prose.append(written)
            if written.startswith("#"):
                heading = written.lstrip("#").strip()
        elif fence["indent"]:
            # An example's README has such blocks for what else one might do.
            if page in PAGES or fence["language"]:
                raise Misled(f"{page}:{line}: a block that is indented is not found")
        else:
            opened, inside = (line, fence["language"].strip()), []
    if inside is not None:
        raise Misled(f"{page}:{opened[0]}: a block without an end")
    return blocks


def page(name: str, *languages: str) -> list[Block]:
    """The blocks of the page `name` (as in PAGES), in one of `languages` where any are given."""
    blocks = blocks_of((ROOT / name).read_text(), name)
    return [block for block in blocks if not languages or block.language in languages]


def texts(name: str, *languages: str) -> list[str]:
    """The texts of those blocks."""
    return [block.text for block in page(name, *languages)]
