"""Time of the gradient check: everything of the library on NumPy, and a million parameters of each cell.

OPENBLAS_NUM_THREADS=1 python tests/bench/gradcheck_speed.py [CELL ...]
"""

import sys
from time import perf_counter, process_time

import rnnx
from rnnx.cells import REGISTRY
from rnnx.cli.gradcheck import KNOWN, problems
from rnnx.gradient_check.check import check
from rnnx.gradient_check.oracles import COMPLEX

MILLION = {
    "rnn": (448, 792),
    "rnn-relu": (448, 792),
    "rnn-identity": (448, 792),
    "lstm": (256, 388),
    "lstm-peephole": (256, 388),
    "gru": (256, 464),
    "gru-reset-before": (256, 464),
    "sru": (488, 512),
    "tflstm": (256, 324),
    "tflstm-no-peepholes": (256, 324),
}
"""D and H of a cell with a million parameters."""


def timed(start, work):
    """The time since then, and how much of it the process ran."""
    return f"{perf_counter() - start:.1f} s ({process_time() - work:.1f} s of work)"


def whole():
    """Check all that the command checks."""
    start, work, largest = perf_counter(), process_time(), {}
    for name in KNOWN:
        report = check(problems(name), rnnx.get_backend())
        assert report.passed, str(report)
        errors = [row.error for row in report.rows if row.oracle == COMPLEX]
        largest |= {name: max(errors)} if errors else {}
    worst = max(largest, key=largest.get)
    print(f"{len(KNOWN)} cells, containers, layers and losses in {timed(start, work)}")
    print(f"largest difference from the complex step {largest[worst]:.1e} ({worst})", flush=True)


def main():
    rnnx.set_backend("numpy")
    if not sys.argv[1:]:
        whole()
    for name in sys.argv[1:] or REGISTRY:
        cell = REGISTRY[name](*MILLION[name])
        size = sum(value.size for value in cell.init(seed=0).values())
        start, work = perf_counter(), process_time()
        report = rnnx.gradcheck(cell)
        took = timed(start, work)
        oracles = ", ".join({row.oracle for row in report.gradients})
        print(f"{name}: {size:,} parameters in {took} by {oracles}; passed: {report.passed}", flush=True)


if __name__ == "__main__":
    main()
