"""Which backends there are, which one is the default and for whom, and what is said of an unknown one."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import rnnx
from rnnx import backends
from rnnx.backends import registry
from rnnx.errors import BackendError

SOURCES = ("numpy", "numba", "strict", "torch", "cupy")


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """No default is set, and none outlives a test."""
    monkeypatch.delenv("RNNX_BACKEND", raising=False)
    monkeypatch.setattr(registry, "_process_default", None)


def resolve(name):
    try:
        return backends.resolve(name)
    except BackendError as error:
        pytest.skip(str(error))


def in_new_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def in_new_process(code, **environment):
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.returncode, run.stdout.strip(), run.stderr


def test_numpy_is_the_default():
    assert rnnx.get_backend().name == "numpy"
    assert isinstance(rnnx.asarray([1.0]), np.ndarray)


def test_set_backend_returns_it_and_holds_until_the_next():
    for name in ("strict", "numpy", "strict", "strict"):
        assert rnnx.set_backend(name) is rnnx.get_backend()
        assert rnnx.get_backend().name == name
    assert rnnx.set_backend(backends.resolve("numpy")).name == "numpy"


def test_weights_states_and_batches_are_made_on_the_default(backend):
    cell = rnnx.LSTM(3, 4)
    arrays = [*cell.init().values(), *cell.init_state(2), rnnx.asarray([[1.0]])]
    assert all(backend.holds(array) for array in arrays)


def test_use_backend_nests_and_ends_with_an_error():
    rnnx.set_backend("numpy")
    with rnnx.use_backend("strict") as outer:
        assert rnnx.get_backend() is outer
        with rnnx.use_backend("numpy"):
            assert rnnx.get_backend().name == "numpy"
        assert rnnx.get_backend() is outer
        with pytest.raises(ZeroDivisionError), rnnx.use_backend("numpy"):
            raise ZeroDivisionError
        assert rnnx.get_backend() is outer
    assert rnnx.get_backend().name == "numpy"


def test_set_backend_inside_use_backend_shows_after_it():
    with rnnx.use_backend("numpy"):
        rnnx.set_backend("strict")
        assert rnnx.get_backend().name == "numpy"
    assert rnnx.get_backend().name == "strict"


def test_set_backend_holds_for_every_thread():
    rnnx.set_backend("strict")
    assert in_new_thread(lambda: rnnx.get_backend().name) == "strict"
    in_new_thread(lambda: rnnx.set_backend("numpy"))
    assert rnnx.get_backend().name == "numpy"


def test_use_backend_holds_for_its_own_thread_only():
    entered, leave = threading.Event(), threading.Event()

    def scoped():
        with rnnx.use_backend("strict"):
            entered.set()
            leave.wait(10.0)
            return rnnx.get_backend().name

    found = []
    thread = threading.Thread(target=lambda: found.append(scoped()))
    thread.start()
    entered.wait(10.0)
    assert rnnx.get_backend().name == "numpy"
    with rnnx.use_backend("strict"):
        assert in_new_thread(lambda: rnnx.get_backend().name) == "numpy"
    leave.set()
    thread.join()
    assert found == ["strict"]


def test_use_backend_holds_for_its_own_task_only():
    async def scoped(name):
        with rnnx.use_backend(name):
            await asyncio.sleep(0.0)
            return rnnx.get_backend().name

    async def both():
        return await asyncio.gather(scoped("strict"), scoped("numpy"))

    assert asyncio.run(both()) == ["strict", "numpy"]


def test_the_environment_names_the_first_default():
    code = "import rnnx; print(rnnx.get_backend()); rnnx.set_backend('numpy'); print(rnnx.get_backend())"
    assert in_new_process(code, RNNX_BACKEND="strict")[1].split() == ["strict", "numpy"]
    assert in_new_process(code, RNNX_BACKEND="")[1].split() == ["numpy", "numpy"]


def test_an_unknown_name_in_the_environment(monkeypatch):
    monkeypatch.setenv("RNNX_BACKEND", "cuda")
    with pytest.raises(BackendError) as caught:
        rnnx.get_backend()
    assert caught.value.problem == "RNNX_BACKEND is 'cuda': There is no backend 'cuda'."
    assert rnnx.set_backend("numpy") is rnnx.get_backend()


@pytest.mark.parametrize("name", ["cuda", "", "Numpy", "cuda:1", ":1"])
def test_unknown_name(name):
    rnnx.set_backend("strict")
    with pytest.raises(BackendError) as caught:
        rnnx.set_backend(name)
    assert caught.value.problem == f"There is no backend {name!r}."
    assert caught.value.hint.startswith("Known are numpy, numba, strict, torch, cupy")
    assert isinstance(caught.value, RuntimeError)
    assert rnnx.get_backend().name == "strict"


@pytest.mark.parametrize("name", [None, 3, np])
def test_a_name_that_is_no_string(name):
    with pytest.raises(BackendError, match="expected a name"), rnnx.use_backend(name):
        pass


def test_unknown_devices():
    with pytest.raises(BackendError, match="numpy has no device 'gpu'; its only device is the CPU"):
        rnnx.set_backend("numpy:gpu")
    with pytest.raises(BackendError, match="strict has no device 'x'; its devices are CPU_DEVICE, device1"):
        rnnx.set_backend("strict:x")


def test_unknown_torch_device(torch):
    with pytest.raises(BackendError, match="torch cannot use the device 'nonsense' here") as caught:
        rnnx.set_backend("torch:nonsense")
    assert caught.value.hint == 'Use set_backend("torch") for its CPU.'


def test_one_backend_has_one_object():
    assert backends.resolve("numpy") is backends.resolve("numpy:cpu")
    assert backends.resolve("strict") is backends.resolve("strict:device1")
    assert backends.resolve("strict") != backends.resolve("strict:device2")


def test_available_backends():
    found = rnnx.available_backends()
    assert tuple(found)[:5] == backends.names()[:5] == SOURCES
    assert found["numpy"] == (True, f"NumPy {np.__version__} on cpu", "")
    for name, status in found.items():
        if status.usable:
            assert status.install == ""
            assert resolve(name).name == name
        else:
            assert status.reason
            assert status.install
            with pytest.raises(BackendError) as caught:
                backends.resolve(name)
            assert str(caught.value) == f"{status.reason} {status.install}"


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(registry, "_made", {})
    monkeypatch.delitem(sys.modules, "rnnx.backends.torch_backend", raising=False)
    monkeypatch.delitem(sys.modules, "array_api_compat.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    status = rnnx.available_backends()["torch"]
    assert status == (
        False,
        "torch cannot be used: the package 'torch' is not installed.",
        'Run: pip install "rnnx[torch]".',
    )


def test_backends_is_no_package_of_its_own():
    root = Path(__file__).resolve().parents[2]
    status, _, errors = in_new_process(f"import sys; sys.path.insert(0, {str(root)!r}); import backends")
    assert status == 1
    assert "This package is rnnx.backends; it was imported as 'backends'." in errors
