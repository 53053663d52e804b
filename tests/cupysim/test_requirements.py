"""What is missing is said in one sentence, and whether that fails or skips is for the environment to say."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from cupysim import machine_library, requirements

ROOT = Path(__file__).parents[2]
CHECKED = "cupy-cuda13x 14.2.0 and cupy-cuda12x 14.2.0"


@pytest.fixture
def wheels(monkeypatch):
    """A function that puts CuPy's distributions, by version, in place of those that are installed."""

    def put(**versions):
        found = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name):
            if name not in found:
                raise metadata.PackageNotFoundError(name)
            return found[name]

        monkeypatch.setattr(metadata, "version", version)

    return put


def refusal():
    with pytest.raises(requirements.SimulatorError) as caught:
        requirements.require_all()
    return str(caught.value)


def test_no_wheel(wheels):
    wheels()
    assert refusal() == (
        "The CuPy simulator runs the CuPy wheel, which is not installed;"
        " run: pip install cupy-cuda13x==14.2.0."
    )


@pytest.mark.parametrize(
    ("name", "version"), [("cupy_cuda13x", "15.0.0"), ("cupy_cuda12x", "14.0.1"), ("cupy_cuda11x", "13.6.0")]
)
def test_a_version_that_was_not_checked(wheels, name, version):
    wheels(**{name: version})
    assert refusal() == (
        f"The CuPy simulator was not checked with {name.replace('_', '-')} {version}, only with {CHECKED};"
        " run: pip install cupy-cuda13x==14.2.0."
    )


def test_two_wheels(wheels):
    wheels(cupy_cuda12x="14.2.0", cupy_cuda13x="14.2.0")
    assert refusal() == "Two CuPy wheels are installed, cupy-cuda12x and cupy-cuda13x; uninstall one of them."


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(requirements, "COMPILER", "no-such-g++")
    assert refusal() == (
        "The CuPy simulator compiles kernels with no-such-g++, which is not installed"
        " (Debian and Ubuntu: apt install g++)."
    )


def test_no_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(requirements.sysconfig, "get_path", lambda name: str(tmp_path))
    assert refusal() == (
        f"The CuPy simulator needs Python's headers, and there is no Python.h in {tmp_path}"
        " (Debian and Ubuntu: apt install python3-dev)."
    )


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_another_platform(monkeypatch, system, machine):
    monkeypatch.setattr(requirements.platform, "system", lambda: system)
    monkeypatch.setattr(requirements.platform, "machine", lambda: machine)
    assert refusal() == f"The CuPy simulator runs on Linux on x86_64; this is {system} on {machine}."


def test_cupy_imported_before():
    assert "cupy" in sys.modules or __import__("cupy")
    assert refusal().startswith("CuPy is imported already;")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("LAZY", "yes", "0 or 1"),
        ("DEVICES", "0", "a number from 1 to 8"),
        ("DEVICES", "12", "a number from 1 to 8"),
    ],
)
def test_a_variable_that_is_not_understood(variable, value, expected):
    code = "import cupysim; cupysim.install()"
    environment = os.environ | {f"CUPYSIM_{variable}": value, "PYTHONPATH": str(ROOT / "tests")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert f"SimulatorError: CUPYSIM_{variable} is '{value}'; expected {expected}." in run.stderr


# ---- the suite, where the compiler is missing

SENTENCE = "The CuPy simulator compiles kernels with no-such-g++, which is not installed"


def pytest_without_compiler(required):
    environment = os.environ | {"CXX": "no-such-g++", "RNNX_CUPYSIM": "1", "RNNX_REQUIRE_BACKENDS": required}
    tests = "tests/backends/test_base.py", "tests/cupysim/test_machine.py"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_it_fails_where_cupy_is_required():
    run = pytest_without_compiler("cupy")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"RNNX_REQUIRE_BACKENDS names cupy: {SENTENCE}" in run.stderr


def test_it_skips_where_it_is_not():
    run = pytest_without_compiler("")
    assert run.returncode == 0, run.stdout
    assert "passed" not in run.stdout
    assert f"cupy            did not run: {SENTENCE}" in run.stdout


@pytest.mark.parametrize(
    ("says", "reason"), [("", "it said nothing"), ("fatal: no cmath", "fatal: no cmath")]
)
def test_a_compiler_that_fails_is_one_sentence(says, reason, tmp_path, monkeypatch):
    compiler = tmp_path / "g++"
    compiler.write_text(f"#!/bin/sh\n[ -z '{says}' ] || echo '{says}' >&2\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setattr(machine_library, "COMPILER", str(compiler))
    monkeypatch.setenv("CUPYSIM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(requirements.SimulatorError) as caught:
        machine_library.load()
    assert str(caught.value) == (
        f"The CuPy simulator cannot be built with {compiler}: {reason}."
        " On Debian: apt install g++ python3-dev."
    )


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CUPYSIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        requirements.SimulatorError, match=r"cannot write to its cache, .*Set CUPYSIM_CACHE to another"
    ):
        machine_library.load()
