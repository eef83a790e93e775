"""
A page, followed to the letter by somebody who knows nothing else.

    await follow("fastapi_shop", tmp_path)                           # the README of an example
    await follow("fastapi_shop", tmp_path, database_url=empty_postgres_url)
    await follow_page(clone_in(tmp_path), text, others={"yaml": loaded})

Each block ```sh is pasted into a shell at the repository's root, all into the same one; prose that
speaks of "another terminal" opens a further one, and what was started before it goes on. A block
```python is run by that shell's python, `await` at its top level included. A block whose first
line is a comment with the name of a file becomes that file. The block ```text or ```json that
follows at once is what it must print, on either stream: `…` stands for any text within a line, a
line of `…` alone for any lines; JSON may be laid out otherwise. A block that promises nothing must
succeed. All other blocks go to the check for their language in `others`; without one, Misled.

The repository is a folder of links to this one, so what a page makes there stays there. The
addresses' ports 300x become free ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..services.processes import die_with_parent, free_port
from .pages import ROOT, Block, Misled, blocks_of

# Seconds for one block, until it has ended or its server answers.
DEADLINE = 60.0

_PORT = re.compile(
    r"(?:(?<=127\.0\.0\.1:)|(?<=localhost:)|(?<=--port )|(?<=PORT=)|(?<=http\.server ))\d+\b"
)
# A last block that ends like this goes on until it is stopped.
_SERVES = re.compile(r"^tallywire (?:serve|worker|watch)\b.*\n\Z", re.MULTILINE)
# What they would install or fetch is there: the tests run in it, at the root of a clone.
_PRELUDE = """
make() { command make --silent -o .venv/.runtime -o .venv/.dev "$@"; }
pip() { test "$*" = 'install ./tallywire'; }
git() { test "$1" = clone; }
cd() { test "$1" = tallywire || command cd "$@"; }
"""
_AWAITING = Path(__file__).with_name("awaiting.py")

# What a check is given: a block that is neither commands nor what these print.
Check = Callable[[Block], None]


@dataclass(frozen=True)
class Step:
    """
    One block of commands, or of Python, or a file.

    block: where it stands on the page. elsewhere: it goes into another terminal than the one
    before. kind: of the block that says what it prints, `text` or `json`; None where none does.
    promised: that block.
    """

    block: Block
    elsewhere: bool
    kind: str | None = None
    promised: str | None = None

    def commands(self, scratch: Path) -> str:
        """What is pasted; scratch: a folder for what is not commands itself."""
        if self.block.language == "sh" and self.block.file is None:
            return self.block.text
        kept = scratch / f"block-{self.block.line}"
        kept.write_text(self.block.text)
        if (name := self.block.file) is not None:
            return f"mkdir -p {Path(name).parent} && cp {kept} {name}\n"
        return f"{sys.executable} {_AWAITING} {kept}\n"


def steps_of(blocks: list[Block], others: Mapping[str, Check] | None = None) -> list[Step]:
    """
    What there is to do on a page, in order; Misled where a block has no place.

    others: what becomes of each block of another language, done at once.
    """
    others = others or {}
    steps: list[Step] = []
    before: Block | None = None
    for block in blocks:
        if block.language in others:
            others[block.language](block)
        elif block.language in {"sh", "python"} or block.file is not None:
            steps.append(Step(block, elsewhere="another terminal" in block.prose))
        elif block.language in {"text", "json"} and steps and before == steps[-1].block:
            if block.prose.strip():
                raise Misled(f"{block.place} is parted from the commands that would print it")
            steps[-1] = replace(steps[-1], kind=block.language, promised=block.text)
        else:
            raise Misled(f"{block.place} is run by nobody")
        before = block
    return steps


def keeps(step: Step, printed: str) -> bool:
    """Whether a step printed what it promises; True where it promises nothing."""
    if step.promised is None:
        return True
    promised = step.promised
    if step.kind == "json":
        promised, printed = _laid_out(promised), _laid_out(printed)
    pattern = "".join(
        r"(?:.*\n)*?"
        if line.strip() == "…"
        else ".*?".join(map(re.escape, line.split("…"))) + r"\n"
        for line in _lines(promised)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _laid_out(text: str) -> str:
    """One or more JSON documents, always laid out alike; what is not JSON as it is."""
    decoder = json.JSONDecoder()
    documents = []
    rest = text.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            return text
        documents.append(json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True))
        rest = rest[end:].lstrip()
    return "\n".join(documents)


async def follow(name: str, folder: Path, *, database_url: str | None = None) -> None:
    """
    Do what the README of examples/`name` says; Misled where it says something else than happens.

    folder: an existing empty one. database_url: DATABASE_URL of all terminals; None = not set.
    """
    environment = {} if database_url is None else {"DATABASE_URL": database_url}
    root, page = repository_with(name, folder), f"examples/{name}/README.md"
    await follow_page(root, (ROOT / page).read_text(), name=page, environment=environment)


def repository_with(name: str, folder: Path) -> Path:
    """A repository in `folder` that is this one, but with an example's folder of its own."""
    root = clone_in(folder)
    (root / "examples").unlink()
    left = shutil.ignore_patterns("*.db*", "__pycache__", ".mypy_cache")
    shutil.copytree(ROOT / "examples" / name, root / "examples" / name, ignore=left)
    return root


def clone_in(folder: Path) -> Path:
    """A repository in `folder` that is this one, without what was made in it."""
    root = folder / "repository"
    root.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in {".git", ".venv", "data"}:
            (root / entry.name).symlink_to(entry)
    (root / ".venv").symlink_to(sys.prefix)
    return root


async def follow_page(
    root: Path,
    page: str,
    *,
    name: str = "a page",
    environment: Mapping[str, str] | None = None,
    others: Mapping[str, Check] | None = None,
    before: str = "",
) -> None:
    """Do what `page` says, as in `followed`, to its end."""
    async with followed(
        root, page, name=name, environment=environment, others=others, before=before
    ):
        pass


@contextlib.asynccontextmanager
async def followed(
    root: Path,
    page: str,
    *,
    name: str = "a page",
    environment: Mapping[str, str] | None = None,
    others: Mapping[str, Check] | None = None,
    before: str = "",
) -> AsyncIterator[Mapping[str, int]]:
    """
    Do what `page` says at `root`, whose parent takes the logs; Misled as for `follow`.

    page: its text; name: what it is called. environment: further variables of all terminals.
    others: checks by language. before: a command that the page takes as given, which starts a
    server in a terminal of its own. Inside, what was started still runs; the value is the real port
    for each of the page's.
    """
    ports: defaultdict[str, int] = defaultdict(free_port)
    text = _PORT.sub(lambda found: _free(found[0], ports), page)
    steps = steps_of(blocks_of(text, name), others)
    assert steps, "the page has no commands"
    if before:
        steps[0] = replace(steps[0], elsewhere=True)
        steps.insert(0, Step(Block("what is given", 0, "sh", f"{before}\n", "", ""), False))
    variables = {
        "PATH": os.defpath,
        "HOME": str(root.parent),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
        # Of `make run`.
        "PORT": str(ports["3000"]),
        **(environment or {}),
    }
    terminals: list[Terminal] = []
    try:
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if step.elsewhere or not terminals:
                terminals.append(await Terminal.open(root, variables, len(terminals) + 1))
            if following.elsewhere if following else _SERVES.search(step.block.text):
                await terminals[-1].leave_running(step)
            else:
                await terminals[-1].run(step)
        yield ports
    finally:
        for terminal in terminals:
            await terminal.close()
    for terminal in terminals:
        if "Traceback (most recent call last)" in (said := terminal.printed()):
            raise Misled(f"a program failed without saying so to its user:\n{said}")


def _free(port: str, ports: defaultdict[str, int]) -> str:
    return str(ports[port]) if re.fullmatch(r"300\d", port) else port


class Terminal:
    """A shell at the repository's root, with all that is pasted into it."""

    def __init__(self, process: asyncio.subprocess.Process, environment: dict[str, str], log: Path):
        self._process = process
        self._environment = environment
        self._log = log

    @classmethod
    async def open(cls, root: Path, environment: dict[str, str], number: int) -> Terminal:
        """A new one; its blocks' output goes to a file, the shell's own is one status a block."""
        log = root.parent / f"terminal-{number}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *die_with_parent(["sh"], signal.SIGKILL),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                cwd=root,
                env=environment,
                start_new_session=True,
            )
        terminal = cls(process, environment, log)
        terminal._type(_PRELUDE)
        return terminal

    def printed(self, start: int = 0) -> str:
        """What its commands have printed, from the byte `start` of it on."""
        return self._log.read_bytes()[start:].decode(errors="replace")

    async def run(self, step: Step) -> None:
        """Paste a block and wait for its end; Misled where it does not keep its promise."""
        start = self._log.stat().st_size
        self._paste(step)
        try:
            async with asyncio.timeout(DEADLINE):
                status = await self._status()
        except TimeoutError:
            raise _misled(step, self.printed(start), f"still runs after {DEADLINE:g} s") from None
        printed = self.printed(start)
        if not keeps(step, printed) or (step.promised is None and status != "0"):
            raise _misled(step, printed, f"ended with {status}")

    async def leave_running(self, step: Step) -> None:
        """Paste a block that starts a server, and wait until it shows that it has started."""
        start = self._log.stat().st_size
        self._paste(step)
        ended = asyncio.create_task(self._status())
        try:
            async with asyncio.timeout(DEADLINE):
                while not await self._has_started(step, self.printed(start)):
                    await asyncio.sleep(0.05)
                    if ended.done():
                        how = f"ended with {ended.result()} instead of going on"
                        raise _misled(step, self.printed(start), how)
        except TimeoutError:
            raise _misled(step, self.printed(start), f"not started in {DEADLINE:g} s") from None
        finally:
            ended.cancel()

    async def _has_started(self, step: Step, printed: str) -> bool:
        if step.promised is not None:
            return keeps(step, printed)
        ports = _PORT.findall(step.block.text) or [self._environment["PORT"]]
        try:
            for port in ports:
                _, writer = await asyncio.open_connection("127.0.0.1", int(port))
                writer.close()
                await writer.wait_closed()
        except OSError:
            return False
        return True

    def _paste(self, step: Step) -> None:
        pasted = self._log.with_suffix(".sh")
        pasted.write_text(step.commands(self._log.parent))
        self._type(f". {pasted} </dev/null >>{self._log} 2>&1; echo $?\n")

    def _type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())

    async def _status(self) -> str:
        assert self._process.stdout is not None
        status = (await self._process.stdout.readline()).decode().strip()
        # Nothing: the shell has ended, or a program has taken its place.
        return status or str(await self._process.wait())

    async def close(self) -> None:
        """End it with whatever runs in it; what took the shell's place may end in order."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self._process.wait()
        # Also what outlived its shell.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


def _misled(step: Step, printed: str, how: str) -> Misled:
    promised = "nothing in particular\n" if step.promised is None else step.promised
    return Misled(
        f"{step.block.place} {how}:\n{step.block.text}\nThe page promises:\n{promised}\n"
        f"They printed:\n{printed}"
    )
