"""`python -m bench`: measure, and print what was measured."""

from __future__ import annotations

import uvloop

from . import commits

uvloop.run(commits.measure())
