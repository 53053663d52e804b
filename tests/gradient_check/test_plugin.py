"""The pytest fixture: a failure reads as the report does, JUnit gets numbers, and nothing heavy is loaded."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import entry_points

import pytest

TESTS = """
import numpy as np
import rnnx


def forward(x, W):
    y = np.tanh(x @ W)
    return y, (x, W, y)


def backward(dy, cache):
    x, W, y = cache
    da = dy * (1.0 - y * y)
    return {"x": da @ W.T, "W": x.T @ da}


def wrong(dy, cache):
    return backward(dy, cache) | {"W": -backward(dy, cache)["W"]}


inputs = {"x": np.linspace(-1, 1, 12).reshape(4, 3), "W": np.linspace(0.2, 1, 6).reshape(3, 2)}


def test_right(gradcheck):
    assert gradcheck(forward, backward, inputs).passed


def test_wrong(gradcheck):
    gradcheck(forward, wrong, inputs)


def test_cell(gradcheck):
    gradcheck(rnnx.GRU(2, 3), steps=2)
"""


def run(folder, *options):
    """Run pytest in a folder, in a process of its own, with the plugin as it is installed."""
    installed = {point.value for point in entry_points(group="pytest11")}
    assert "rnnx.pytest_plugin" in installed, "Install anew, for the entry point: pip install -e ."
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_layers.py").write_text(TESTS)
    return run(folder, "--junit-xml=report.xml"), folder / "report.xml"


def test_failures_read_as_the_report(result):
    output = result[0].stdout
    assert "1 failed, 2 passed" in output
    assert (
        "forward on numpy: the gradient of W DIFFERS from the complex step: relative error 2.0e+00" in output
    )
    assert "Hint: Its sign is wrong." in output
    assert "pytest_plugin.py" not in output
    assert "Traceback" not in output


def test_junit_has_the_failure_and_the_numbers(result):
    cases = {case.get("name"): case for case in ElementTree.parse(result[1]).iter("testcase")}
    assert "the gradient of W DIFFERS" in cases["test_wrong"].find("failure").text
    found = {each.get("name"): each.get("value") for each in cases["test_right"].iter("property")}
    assert found["gradcheck"].endswith("comparisons, 0 differ")
    assert float(found["gradcheck digits"]) > 0.0


def test_the_plugin_loads_nothing_heavy():
    code = "import sys, rnnx.pytest_plugin; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"numpy", "torch", "rnnx.backends", "matplotlib", "rich"}.isdisjoint(loaded.split())
