"""`python -m bench [commits|verify|writers]`: measure, print what was measured; all where none."""

from __future__ import annotations

import sys

import uvloop

from . import commits, verify, writers

MEASUREMENTS = {"commits": commits.measure, "verify": verify.measure, "writers": writers.measure}

for name in sys.argv[1:] or MEASUREMENTS:
    uvloop.run(MEASUREMENTS[name]())
