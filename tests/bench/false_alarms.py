"""Gradient checks of right cells at random sizes, of which none may fail.

    PYTHONPATH=tests python tests/bench/false_alarms.py [RUNS [CELL ...]]

It prints a line for each cell: failures, the smallest margin of error and tolerance in digits by oracle,
and skipped entries. The exit status is 1 if any check failed. The suite runs a few other seeds.

Of 1,000 runs of each of the ten cells none failed; it took one to three minutes a cell on one core.
"""

import sys
from time import perf_counter

import rnnx
from rnnx.cells import REGISTRY
from rnnx.gradient_check.check import check
from support.random_problems import random_problem


def study(name, runs):
    """Run one cell; return its failures."""
    backend, start, margins, failed, entries, skipped = rnnx.get_backend(), perf_counter(), {}, 0, 0, 0
    for seed in range(runs):
        report = check([random_problem(REGISTRY[name], name, seed)], backend, seed)
        for row in report.rows:
            if row.kind != "forward":
                margins[row.oracle] = min(margins.get(row.oracle, row.margin), row.margin)
            entries, skipped = entries + row.entries, skipped + row.skipped
        if not report.passed:
            failed += 1
            print(report)
    listed = ", ".join(f"{oracle} {margin:.1f}" for oracle, margin in margins.items())
    took = perf_counter() - start
    print(
        f"{name}: {failed} of {runs} failed in {took:.0f} s; {skipped} of {entries} skipped; {listed}",
        flush=True,
    )
    return failed


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    return sum(study(name, runs) for name in sys.argv[2:] or REGISTRY) > 0


if __name__ == "__main__":
    sys.exit(main())
