"""
Programs of Debian's for the tests: found, or installed where that is allowed.

`python -m tests.services.debian` sees to nginx and systemd-analyze. Where one is missing it runs
`apt-get install` as root or through a sudo that asks nothing, else says what to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The package of each.
PROGRAMS = {"nginx": "nginx-light", "systemd-analyze": "systemd"}


class NotInstalled(RuntimeError):
    """A program of Debian's is missing; the message says how to get it."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(
            f"There is no {name}; install it with `apt-get install {package}`, then run this again."
        )


def find_program(name: str) -> Path:
    """The path of one of PROGRAMS; NotInstalled where it is missing."""
    # Services are not on everybody's PATH.
    if found := shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        return Path(found)
    raise NotInstalled(name, PROGRAMS[name])


def install(package: str) -> bool:
    """Install a package of Debian's; whether this account may, and it was there."""
    become: list[str] = []
    if os.geteuid() != 0:
        become = ["sudo", "-n"]
        if not shutil.which("sudo") or subprocess.call([*become, "true"]) != 0:
            return False
    if not shutil.which("apt-get"):
        return False
    for arguments in (["update", "-q"], ["install", "-q", "-y", package]):
        command = [*become, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments]
        if subprocess.call(command, stdin=subprocess.DEVNULL, stdout=sys.stderr) != 0:
            return False
    return True


def main() -> int:
    """Find or install all; the result is the exit code."""
    for name, package in PROGRAMS.items():
        try:
            find_program(name)
        except NotInstalled as error:
            if not install(package):
                sys.stderr.write(f"{error}\n")
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
