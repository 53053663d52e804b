"""A backend that another package registers through the entry-point group ``rnnx.backends``."""

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest

import rnnx
from rnnx import backends
from rnnx.backends import registry
from rnnx.backends.base import Backend
from rnnx.errors import BackendError, MixedArraysError


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """No default is set, and none outlives a test."""
    monkeypatch.delenv("RNNX_BACKEND", raising=False)
    monkeypatch.setattr(registry, "_process_default", None)


@dataclass(frozen=True)
class ForeignBackend(Backend):
    """What another package may register."""

    def holds(self, x):
        return isinstance(x, Foreign) and x.device == self.device

    def asarray(self, values, dtype=None):
        return Foreign(np.asarray(values, dtype=self.dtype(dtype)), self.device)

    def to_numpy(self, x):
        return x.values


class Foreign:
    def __init__(self, values, device):
        self.values = values
        self.device = device


def create_foreign(device):
    if device == "none":
        import_module("a_package_that_nobody_has")
    return ForeignBackend("foreign" if device is None else f"foreign:{device}", numpy_namespace, device)


@pytest.fixture
def foreign(monkeypatch):
    def points(group):
        assert group == "rnnx.backends"
        return [
            SimpleNamespace(name="foreign", load=lambda: create_foreign),
            SimpleNamespace(name="numpy", load=lambda: pytest.fail("a built-in name was taken")),
        ]

    monkeypatch.setattr(registry, "entry_points", points)
    monkeypatch.setattr(registry, "_made", {})
    registry._registered.cache_clear()
    yield
    registry._registered.cache_clear()


@pytest.mark.usefixtures("foreign")
def test_backend_of_another_package():
    assert backends.names() == ("numpy", "numba", "strict", "torch", "cupy", "foreign")
    assert rnnx.available_backends()["foreign"] == (True, "foreign on None", "")
    assert rnnx.set_backend("numpy").name == "numpy"
    with rnnx.use_backend("foreign:2") as other:
        array = rnnx.asarray(np.arange(3.0))
        assert other.device == "2"
        assert other.holds(array)
    assert backends.of({"x": array}, "f") is other
    np.testing.assert_array_equal(rnnx.to_numpy(array), np.arange(3.0))
    np.testing.assert_array_equal(rnnx.asarray(array), np.arange(3.0))
    with pytest.raises(MixedArraysError, match="x is on numpy, h is on foreign:2"):
        backends.of({"x": np.ones(1), "h": array}, "f")


@pytest.mark.usefixtures("foreign")
def test_backend_of_another_package_that_lacks_something():
    with pytest.raises(BackendError) as caught:
        rnnx.set_backend("foreign:none")
    assert caught.value.problem == (
        "foreign cannot be used: the package 'a_package_that_nobody_has' is not installed."
    )
    assert caught.value.hint == "Run: pip install a_package_that_nobody_has."
