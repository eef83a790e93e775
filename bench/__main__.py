"""`python -m bench [commits|writers]`: measure, and print what was measured; all where none."""

from __future__ import annotations

import sys

import uvloop

from . import commits, writers

MEASUREMENTS = {"commits": commits.measure, "writers": writers.measure}

for name in sys.argv[1:] or MEASUREMENTS:
    uvloop.run(MEASUREMENTS[name]())
