"""`python -m bench [commits|journals|verify|writers]`: measure, and print it; all where none."""

from __future__ import annotations

import sys

import uvloop

from . import commits, journals, verify, writers

MEASUREMENTS = {
    "commits": commits.measure,
    "journals": journals.measure,
    "verify": verify.measure,
    "writers": writers.measure,
}

for name in sys.argv[1:] or MEASUREMENTS:
    uvloop.run(MEASUREMENTS[name]())
