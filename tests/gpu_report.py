"""One JSON file on how rnnx does on a device: what it is, which tests passed, how exact and how fast it is.

    python tests/gpu_report.py [--backend cupy] [--tests JUNIT_XML] [--output FILE] [--quick]

``tox -e gpu`` runs it after the tests; docs/gpu.md lists the keys. The exit status is 1 if anything failed.
"""

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path
from time import perf_counter

import numpy as np

import rnnx
from rnnx import backends
from rnnx.cells import REGISTRY
from rnnx.cli.gradcheck import problems
from rnnx.doctor import examine
from rnnx.files import write_atomically
from rnnx.gradient_check.check import check
from rnnx.gradient_check.layers import LAYERS

FORMAT = 1
SIZES = ((100, 32, 64, 128), (100, 64, 256, 512))
QUICK_SIZES = ((5, 2, 3, 4),)
"""T, N, D and H that are timed."""

TIMED = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
"""Cells that are timed, with their names in torch.nn."""

REPEATS, WARM_UPS = 7, 2


def tests_of(path):
    """Read pytest's JUnit file: counts, and the names of what failed."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    return {
        "passed": len(cases) - len(failed) - len(skipped),
        "failed": len(failed),
        "skipped": len(skipped),
        "failures": [f"{case.get('classname')}::{case.get('name')}" for case in failed],
    }


def gradients_on(backend, names):
    """Run the gradient check: the largest error of each cell, layer and loss, and where it was."""
    found = {}
    for name in names:
        report = check(problems(name), backend)
        rows, worst = report.rows, min(report.gradients, key=lambda row: row.margin)
        found[name] = {
            "passed": all(row.passed for row in rows),
            "gradients": len(rows),
            "error": worst.error if np.isfinite(worst.error) else None,  # JSON has no infinity
            "allowed": worst.tolerance,
            "oracle": worst.oracle,
            "worst": str(worst),
        }
    return found


def microseconds_per_step(run, synchronize, steps):
    """Median time of a run over its time steps; the clock is read when all queued work is done."""
    times = []
    for _ in range(WARM_UPS + REPEATS):
        synchronize()
        start = perf_counter()
        run()
        synchronize()
        times.append(perf_counter() - start)
    return 1e6 * float(np.median(times[WARM_UPS:])) / steps


def time_of(name, sizes, backend):
    """Time a cell: a forward pass alone, and a forward pass with its backward pass."""
    T, N, D, H = sizes
    rng = np.random.default_rng(0)
    cell = REGISTRY[name](D, H)
    with backends.use_backend(backend):
        params = cell.init()
        x, dy = (rnnx.asarray(rng.standard_normal((T, N, size)), "float32") for size in (D, H))

    def train():
        _, _, tape = cell.forward(params, x)
        cell.backward(tape, dy)

    def infer():
        cell.forward(params, x, training=False)

    return {
        "forward": microseconds_per_step(infer, backend.synchronize, T),
        "forward_and_backward": microseconds_per_step(train, backend.synchronize, T),
    }


def time_of_torch(torch, place, name, sizes):
    """Time the same of torch.nn."""
    T, N, D, H = sizes
    rng = np.random.default_rng(0)
    layer = getattr(torch.nn, TIMED[name])(D, H).to(place)
    x, dy = (
        torch.tensor(rng.standard_normal((T, N, size)), dtype=torch.float32, device=place) for size in (D, H)
    )
    x.requires_grad_()

    def train():
        layer.zero_grad()
        x.grad = None
        layer(x)[0].backward(dy)

    def infer():
        with torch.no_grad():
            layer(x)

    synchronize = torch.cuda.synchronize if place == "cuda" else lambda: None
    return {
        "forward": microseconds_per_step(infer, synchronize, T),
        "forward_and_backward": microseconds_per_step(train, synchronize, T),
    }


def peer(on_device):
    """Return torch, where it is to run, and what the report says of it; no torch if it cannot run there."""
    try:
        torch = import_module("torch")
    except ImportError:
        return None, "", {"version": None, "device": None, "absent": "torch is not installed"}
    if on_device and not torch.cuda.is_available():
        return (
            None,
            "",
            {"version": torch.__version__, "device": None, "absent": "this torch sees no CUDA device"},
        )
    place = "cuda" if on_device else "cpu"
    device = torch.cuda.get_device_name() if on_device else "cpu"
    return torch, place, {"version": torch.__version__, "device": device, "absent": ""}


def times_on(backend, all_sizes):
    """Time the cells beside torch's: microseconds per time step, float32."""
    torch, place, described = peer(backend.asynchronous)
    rows = []
    for name in TIMED:
        for sizes in all_sizes:
            row = {"cell": name, **dict(zip("TNDH", sizes, strict=True)), "dtype": "float32"}
            row["rnnx"] = time_of(name, sizes, backend)
            row["torch"] = time_of_torch(torch, place, name, sizes) if torch else None
            rows.append(row)
    return {"unit": "microseconds per time step", "torch": described, "rows": rows}


def report_on(name, tests, quick):
    """Make the report; what cannot be found out on a device that does not work is None."""
    found = examine(name)
    report = {
        "format": FORMAT,
        "backend": name,
        "passed": not found.failed and not (tests and (tests["failed"] or not tests["passed"])),
        "doctor": found.to_dict(),
        "tests": tests,
        "gradients": None,
        "times": None,
    }
    if not found.failed:
        backend = backends.resolve(name)
        report["gradients"] = gradients_on(backend, ["rnn", "linear"] if quick else [*REGISTRY, *LAYERS])
        report["times"] = times_on(backend, QUICK_SIZES if quick else SIZES)
        report["passed"] &= all(each["passed"] for each in report["gradients"].values())
    return report


def summary(report):
    """Lines for the terminal."""
    for finding in report["doctor"]["findings"]:
        yield f"{finding['name']}: {finding['problem'] or 'works'} {finding['hint']}".strip()
    if report["tests"]:
        yield "tests: " + ", ".join(
            f"{report['tests'][key]} {key}" for key in ("passed", "failed", "skipped")
        )
    for name, found in (report["gradients"] or {}).items():
        verdict = "agrees" if found["passed"] else "DIFFERS"
        yield f"{name}: {verdict}, {found['error']} (at most {found['allowed']}), {found['oracle']}"
    for row in report["times"]["rows"] if report["times"] else ():
        ours, theirs = row["rnnx"]["forward_and_backward"], row["torch"]
        beside = f", torch {theirs['forward_and_backward']:.1f}" if theirs else ""
        sizes = " ".join(f"{size}={row[size]}" for size in "TNDH")
        yield f"{row['cell']} {sizes}: {ours:.1f} µs a step, forward and backward{beside}"


def main():
    """Write the report and print its summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="cupy")
    parser.add_argument("--tests", type=Path, help="pytest's --junit-xml file")
    parser.add_argument("--output", type=Path, default=Path("rnnx-gpu-report.json"))
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, two gradients: the shape of the report"
    )
    options = parser.parse_args()
    report = report_on(options.backend, options.tests and tests_of(options.tests), options.quick)
    write_atomically(options.output, (json.dumps(report, indent=2) + "\n").encode())
    print(*summary(report), sep="\n")
    print(f"{'Passed' if report['passed'] else 'FAILED'}; the report is {options.output}.")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
