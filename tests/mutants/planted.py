"""The planted bugs: patches of server/, each with its reason and the test that must notice it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("server", "static", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Mutant:
    """One planted bug; `test` is a command that must fail with it, and passes without."""

    name: str
    reason: str
    test: str
    patch: Path


def mutants() -> list[Mutant]:
    """Every planted bug, by name."""
    return [_read(patch) for patch in sorted(Path(__file__).parent.glob("*.patch"))]


def plant(mutant: Mutant, tree: Path) -> None:
    """Copy the working tree to `tree` and put the bug in; raises where it does not fit."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, tree / name)
    # Before the editable install, which has the import name for the tree without the bug.
    (tree / "import").mkdir()
    (tree / "import" / "tallywire").symlink_to(tree / "server")
    apply(mutant, tree)


def apply(mutant: Mutant, tree: Path, *, check_only: bool = False) -> None:
    """Apply the patch in `tree`, exactly; raises CalledProcessError where it does not fit."""
    options = ["--check"] if check_only else []
    subprocess.run(
        ["git", "apply", *options, str(mutant.patch)], cwd=tree, check=True, capture_output=True
    )


def _read(patch: Path) -> Mutant:
    fields = dict(
        line.split(": ", 1) for line in patch.read_text().split("\n\n", 1)[0].splitlines()
    )
    return Mutant(patch.stem, fields["Reason"], fields["Test"], patch)
