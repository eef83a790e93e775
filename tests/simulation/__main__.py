"""`python -m tests.simulation --seeds 1000 --from 1`: many seeds, or one with its trace."""

from __future__ import annotations

import argparse
import sys
import time

from .world import Outcome, run


def main() -> int:
    """Run the seeds; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first")
    parser.add_argument("--trace", action="store_true", help="print what happened in each")
    parser.add_argument("--stop", action="store_true", help="at the first seed that fails")
    options = parser.parse_args()
    started = time.monotonic()
    failed: list[int] = []
    positions = 0
    for seed in range(options.first, options.first + options.seeds):
        outcome = run(seed)
        positions += outcome.positions
        if options.trace:
            print(*outcome.lines, sep="\n")
        if outcome.fault is not None:
            failed.append(seed)
            show(outcome)
            if options.stop:
                break
    minutes = (time.monotonic() - started) / 60
    print(
        f"{options.seeds} seeds, {positions} transactions, {len(failed)} failed"
        f" {failed or ''}: {options.seeds / minutes:.0f} seeds a minute"
    )
    return 1 if failed else 0


def show(outcome: Outcome) -> None:
    """The end of the trace of a failed seed, and what was wrong."""
    print(*outcome.lines[-60:], sep="\n")
    print(f"seed {outcome.seed} failed; again: make simulate SEEDS=1 FROM={outcome.seed}")
    print(outcome.fault)


if __name__ == "__main__":
    sys.exit(main())
