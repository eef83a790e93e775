"""The pictures in docs/ are those that `make screenshots` takes, and small enough to load."""

from __future__ import annotations

from docs.screenshots import FOLDER, PICTURES

from .pages import ROOT

BYTES_MOST = 300_000


def test_every_picture_is_one_that_is_taken_anew() -> None:
    assert {file.name for file in FOLDER.glob("*.png")} == set(PICTURES)


def test_every_picture_is_small_and_as_wide_as_its_name_says() -> None:
    for name, (viewport, _) in PICTURES.items():
        data = (FOLDER / name).read_bytes()
        assert len(data) < BYTES_MOST, name
        # A PNG begins with its signature and the header chunk, whose first number is the width.
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(data[16:20]) == viewport["width"], name


def test_the_readme_shows_both_pages() -> None:
    shown = [name for name in PICTURES if f"](docs/{name})" in (ROOT / "README.md").read_text()]
    assert {name.rpartition("-")[0] for name in shown} == {"balance-sync", "admin"}
