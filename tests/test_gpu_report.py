"""The report that `tox -e gpu` writes, here of NumPy and of a device that is not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnnx

SCRIPT = Path(__file__).with_name("gpu_report.py")
KEYS = ["format", "backend", "passed", "doctor", "tests", "gradients", "times"]

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two">{}</testcase>
<testcase classname="tests.a" name="three"><skipped/></testcase>
</testsuite></testsuites>"""


def write(tmp_path, *arguments, junit=""):
    """Run the script; return its exit status, the report and what it printed."""
    (tmp_path / "tests.xml").write_text(JUNIT.format(junit))
    files = ["--tests", str(tmp_path / "tests.xml"), "--output", str(tmp_path / "report.json")]
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", *files, *arguments],
        env={name: value for name, value in os.environ.items() if not name.startswith("RNNX_")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not run.stderr
    return run.returncode, json.loads((tmp_path / "report.json").read_text()), run.stdout


def test_report_of_numpy(tmp_path):
    status, report, printed = write(tmp_path, "--backend", "numpy")
    assert status == 0, printed
    assert list(report) == KEYS
    assert (report["format"], report["backend"], report["passed"]) == (1, "numpy", True)
    assert report["doctor"]["findings"][0]["works"] is True
    assert report["doctor"]["versions"]["rnnx"] == rnnx.__version__
    assert report["tests"] == {"passed": 2, "failed": 0, "skipped": 1, "failures": []}
    assert set(report["gradients"]) == {"rnn", "linear"}
    for found in report["gradients"].values():
        assert found["passed"] is True
        assert found["error"] <= found["allowed"] <= 1e-12
        assert found["gradients"] > 0
        assert found["worst"].endswith(".")
    assert {row["cell"] for row in report["times"]["rows"]} == {"rnn", "lstm", "gru"}
    for row in report["times"]["rows"]:
        assert list(row) == ["cell", "T", "N", "D", "H", "dtype", "rnnx", "torch"]
        assert (row["torch"] is None) == bool(report["times"]["torch"]["absent"])
        for times in filter(None, (row["rnnx"], row["torch"])):
            assert times["forward"] > 0.0
            assert times["forward_and_backward"] > 0.0
    assert "numpy: works\ntests: 2 passed, 0 failed, 1 skipped\n" in printed
    assert printed.endswith(f"Passed; the report is {tmp_path / 'report.json'}.\n")


@pytest.mark.parametrize("verdict", ["<failure/>", "<error/>"])
def test_a_failed_test_fails_the_report(tmp_path, verdict):
    status, report, printed = write(tmp_path, "--backend", "numpy", junit=verdict)
    assert (status, report["passed"]) == (1, False)
    assert report["tests"] == {"passed": 1, "failed": 1, "skipped": 1, "failures": ["tests.a::two"]}
    assert "FAILED" in printed


def test_a_device_that_is_not_there(tmp_path):
    status, report, printed = write(tmp_path, "--backend", "numpy:gpu")
    assert (status, report["passed"]) == (1, False)
    assert list(report) == KEYS
    assert (report["gradients"], report["times"]) == (None, None)
    assert "numpy:gpu: numpy has no device 'gpu'; its only device is the CPU." in printed
