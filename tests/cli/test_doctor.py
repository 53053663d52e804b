"""The command ``rnnx doctor``: what it finds, its exit status and its JSON."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import rnnx
from rnnx import backends
from rnnx.backends.numpy_backend import NumpyBackend
from rnnx.cli.app import app
from rnnx.doctor import ALLOWED, examine
from rnnx.errors import BackendError, OptionError


@pytest.fixture(autouse=True)
def _nothing_is_chosen(monkeypatch):
    monkeypatch.delenv("RNNX_REQUIRE_BACKENDS", raising=False)
    monkeypatch.delenv("RNNX_BACKEND", raising=False)


def doctor(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def put(monkeypatch, **found):
    """Let these be the backends that there are, by name: a backend, or the error of asking for it."""

    def resolve(name):
        if name in found and isinstance(found[name], Exception):
            raise found[name]
        return found.get(name) or backends.registry.resolve(name)

    monkeypatch.setattr(backends, "names", lambda: tuple(found))
    monkeypatch.setattr(backends, "resolve", resolve)


def test_every_backend_that_is_present(backend, monkeypatch):
    put(monkeypatch, **{str(backend): backend})
    result = doctor("--backend", str(backend), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == ["passed", "failed", "versions", "chosen", "required", "findings"]
    assert (found["passed"], found["failed"]) == (True, [])
    assert (found["chosen"], found["required"]) == (str(backend), [])
    (finding,) = found["findings"]
    assert list(finding) == [
        "name", "problem", "hint", "library", "device", "kernels", "details", "memory", "tests", "works",
    ]  # fmt: skip
    assert (finding["name"], finding["problem"], finding["hint"]) == (str(backend), "", "")
    assert finding["works"] is True
    assert finding["device"] == str(backend.device)
    assert finding["kernels"] == backend.kernels
    assert finding["details"] == backend.details()
    assert set(finding["memory"]) == set(backend.memory_report())
    assert [test["what"] for test in finding["tests"]] == ["pointwise kernel", "matrix product"]
    for test in finding["tests"]:
        assert list(test) == ["what", "error", "first_seconds", "seconds", "passed"]
        assert 0.0 < test["error"] < ALLOWED  # float32 beside float64: not zero
        assert test["passed"] is True
        assert test["seconds"] > 0.0
        assert test["first_seconds"] > 0.0


def test_all_backends_in_text():
    result = doctor()
    assert result.exit_code == 0
    assert f"  numpy              {np.__version__}\n" in result.stdout
    assert f"  rnnx               {rnnx.__version__}\n" in result.stdout
    assert "numpy (the one in use): works\n" in result.stdout
    assert "  kernels            NumPy ufuncs with out=\n" in result.stdout
    for name, status in rnnx.available_backends().items():
        if status.usable:
            assert f"{name}: works\n" in result.stdout.replace(" (the one in use)", "")
        else:
            assert f"{name}: does not work\n  problem            {status.reason}\n" in result.stdout
            assert f"  remedy             {status.install}\n" in result.stdout


def test_versions_come_from_metadata_alone():
    code = (
        "import sys; from rnnx.backends import installed; print(installed());"
        "heavy = {'torch', 'cupy', 'array_api_strict', 'numba'} & set(sys.modules); assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert f"'numpy': {np.__version__!r}" in run.stdout
    versions = examine("numpy").versions
    assert {"rnnx", "Python", "system", "numpy", "array-api-compat", "torch", "cupy-cuda13x"} <= set(versions)
    assert versions["rnnx"] == rnnx.__version__


def test_exit_status(monkeypatch):
    missing = BackendError("missing is not here.", "Run: pip install missing.")
    put(monkeypatch, numpy=backends.resolve("numpy"), missing=missing)
    assert doctor().exit_code == 0
    assert doctor("--backend", "numpy").exit_code == 0
    result = doctor("--backend", "missing")
    assert result.exit_code == 1
    assert (
        "  problem            missing is not here.\n  remedy             Run: pip install missing.\n"
        in result.stdout
    )
    assert "Needed here, and not working: missing.\n" in result.stdout
    assert "numpy:" not in result.stdout

    monkeypatch.setenv("RNNX_BACKEND", "missing")
    assert doctor().exit_code == 1
    assert doctor("--backend", "numpy").exit_code == 0
    monkeypatch.delenv("RNNX_BACKEND")
    monkeypatch.setenv("RNNX_REQUIRE_BACKENDS", "numpy-readonly, missing")
    result = doctor("--backend", "numpy", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["passed"], found["failed"], found["required"]) == (False, ["missing"], ["missing"])
    assert [finding["works"] for finding in found["findings"]] == [True, False]


def test_unknown_names(monkeypatch):
    result = doctor("--backend", "jax")
    assert result.exit_code == 1
    assert "  problem            There is no backend 'jax'.\n" in result.stdout
    assert "  remedy             Known are numpy, numba, strict, torch, cupy" in result.stdout
    monkeypatch.setenv("RNNX_REQUIRE_BACKENDS", "jax")
    result = doctor()
    assert result.exit_code == 1
    assert "Error: RNNX_REQUIRE_BACKENDS names jax." in result.stderr


class WrongProduct(NumpyBackend):
    def matmul(self, shape, dtype):
        return lambda a, b, out: np.matmul(a, b, out) * 1.001


class NoNumber(NumpyBackend):
    def kernel(self, program, shape, dtype):
        kernel = super().kernel(program, shape, dtype)
        return lambda *inputs, out: [value * np.nan for value in kernel(*inputs, out=out)]


class Raises(NumpyBackend):
    error = ZeroDivisionError("\nthe device is lost.\nmore")

    def kernel(self, program, shape, dtype):
        raise self.error


class RaisesOnPurpose(Raises):
    error = OptionError("The kernel does not compile.", "Run: this.")


@pytest.mark.parametrize(
    ("kind", "problem", "hint"),
    [
        (
            WrongProduct,
            "broken computes wrong numbers: the matrix product is off by 1.0e-03 of",
            "Do not use",
        ),
        (NoNumber, "broken computes wrong numbers: the pointwise kernel is off by inf of", "Do not use"),
        (Raises, "broken fails: ZeroDivisionError: the device is lost.\n", "Please report"),
        (RaisesOnPurpose, "The kernel does not compile.\n", "Run: this.\n"),
    ],
)
def test_broken_backend(monkeypatch, kind, problem, hint):
    numpy = backends.resolve("numpy")
    put(monkeypatch, numpy=numpy, broken=kind("broken", numpy.xp, "cpu"))
    assert doctor().exit_code == 0
    result = doctor("--backend", "broken")
    assert result.exit_code == 1
    assert f"  problem            {problem}" in result.stdout
    assert f"  remedy             {hint}" in result.stdout
    assert "broken (the one in use): does not work\n" in result.stdout


def test_an_error_that_no_backend_foresaw(monkeypatch):
    put(monkeypatch, broken=OSError("libc is gone"))
    result = doctor("--backend", "broken")
    assert result.exit_code == 1
    assert "broken cannot be used: OSError: libc is gone.\n" in result.stdout


def test_a_backend_with_a_device_in_its_name(monkeypatch):
    other = replace(backends.resolve("numpy"), name="numpy:cpu")
    put(monkeypatch, **{"numpy:cpu": other})
    assert f"library            NumPy {np.__version__}\n" in doctor("--backend", "numpy:cpu").stdout
