"""
Chromium for the tests: found, or installed from Debian where that is allowed.

`python -m tests.services.chromium` prints the path of the browser; where there is none it runs
`apt-get install chromium` as root or through a sudo that asks nothing, else says what to do.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .debian import install

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoBrowser(RuntimeError):
    """There is no Chromium; install it with `apt-get install chromium`, then run this again."""

    def __str__(self) -> str:
        return str(self.__doc__)


def find_chromium() -> Path:
    """The path of an installed Chromium or Chrome; NoBrowser where there is none."""
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    downloads = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright"
    for found_path in sorted(Path(downloads).glob("chromium-*/chrome-linux*/chrome")):
        return found_path
    raise NoBrowser


def install_chromium() -> None:
    """Install Debian's chromium; NoBrowser where this account may not."""
    if not install("chromium"):
        raise NoBrowser


def main() -> int:
    """Find or install, print the path; the result is the exit code."""
    try:
        try:
            found = find_chromium()
        except NoBrowser:
            install_chromium()
            found = find_chromium()
    except NoBrowser as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
