"""The wheel is whole, and gets along with an application that has a package `server` itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROGRAM = """
import asyncio, server, tallywire
from tallywire.ledger import open_ledger

async def main():
    async with open_ledger("sqlite:///ledger.db") as manager:
        receipt = await manager.update_balance("alice", "500.25", "deposit", "Bank deposit")
        print(receipt.position, await manager.get_balance("alice"))

asyncio.run(main())
print(server.WHOSE, tallywire.__file__)
"""


def _run(*command: str, cwd: Path, path: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy, because setuptools leaves its build/ beside the sources.
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("server", "static"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    _run("-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    code = {
        f"tallywire/{file.relative_to(ROOT / 'server')}" for file in ROOT.glob("server/**/*.py")
    }
    shown = {
        f"tallywire/{file.relative_to(ROOT)}" for file in ROOT.glob("static/**/*") if file.is_file()
    }
    assert code | shown | {"tallywire/py.typed"} <= packed


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    folders = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {folder.partition("-")[0] for folder in folders} == {"tallywire"}


def test_every_folder_of_the_package_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    folders = {file.parent.relative_to(ROOT / "server") for file in ROOT.glob("server/**/*.py")}
    names = {".".join(("tallywire", *folder.parts)) for folder in folders}
    assert set(declared) == names | {"tallywire.static"}


def test_it_works_beside_an_application_with_a_package_named_server(
    wheel: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site))
    _run(*pip, str(wheel), cwd=tmp_path)
    application = tmp_path / "application"
    (application / "server").mkdir(parents=True)
    (application / "server" / "__init__.py").write_text("WHOSE = 'theirs'\n")
    (application / "program.py").write_text(PROGRAM)

    output = _run("-W", "error", "program.py", cwd=application, path=str(site))
    booked, whose = output.splitlines()
    assert booked == "1 500.250000"
    assert whose == f"theirs {site / 'tallywire' / '__init__.py'}"


def test_the_lock_files_carry_hashes_and_no_addresses() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert "--find-links" not in text
        pinned = [line for line in text.splitlines() if "==" in line and line[0] not in " #"]
        assert pinned
        assert all(line.endswith("\\") for line in pinned), "every pin is followed by its hashes"
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert packages.pop("")
    assert all(package["integrity"] for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
