"""`python awaiting.py FILE`: a program that awaits at its top level, as in `python -m asyncio`."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import CodeType
from typing import Any


def compiled(text: str, file: str = "a page") -> CodeType:
    """The program `text`."""
    program: CodeType = compile(text, file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return program


def awaited(program: CodeType, names: dict[str, Any]) -> Coroutine[Any, Any, None]:
    """What runs a program that awaits at its top level; in the globals `names`."""
    running: Coroutine[Any, Any, None] = eval(program, names)  # noqa: S307 - the page's own code
    return running


if __name__ == "__main__":
    # As `python -c`: modules of the working directory are found, not those beside this file.
    sys.path[0] = ""
    program = compiled(Path(sys.argv[1]).read_text(), sys.argv[1])
    names: dict[str, Any] = {"__name__": "__main__"}
    if program.co_flags & inspect.CO_COROUTINE:
        asyncio.run(awaited(program, names))
    else:
        exec(program, names)  # noqa: S102 - the page's own code
