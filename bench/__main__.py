"""`python -m bench [commits|journals|monitor_page|verify|writers]`: measure; all where none."""

from __future__ import annotations

import sys

import uvloop

from . import commits, journals, monitor_page, verify, writers

MEASUREMENTS = {
    "commits": commits.measure,
    "journals": journals.measure,
    "monitor_page": monitor_page.measure,
    "verify": verify.measure,
    "writers": writers.measure,
}

for name in sys.argv[1:] or MEASUREMENTS:
    uvloop.run(MEASUREMENTS[name]())
