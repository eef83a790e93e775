"""The planted bugs still fit the code; `make mutants` sees each of them caught."""

from __future__ import annotations

import subprocess

import pytest

from .planted import ROOT, Mutant, apply, mutants


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: str(mutant.name))
def test_the_patch_applies(mutant: Mutant) -> None:
    apply(mutant, ROOT, check_only=True)
    assert mutant.reason and mutant.test.startswith("python -m ")


def test_a_patch_that_does_not_fit_is_an_error(tmp_path: object) -> None:
    mutant = mutants()[0]
    with pytest.raises(subprocess.CalledProcessError):
        apply(mutant, ROOT / "tests", check_only=True)
