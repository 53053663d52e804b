"""Which backends there are, which one is the default, and which one a set of arrays belongs to."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from rnnx.backends.base import Backend, BackendStatus
from rnnx.errors import BackendError, MixedArraysError
from rnnx.typing import Array

BUILT_IN = {
    "numpy": "rnnx.backends.numpy_backend",
    "numba": "rnnx.backends.numba_backend",
    "strict": "rnnx.backends.strict_backend",
    "torch": "rnnx.backends.torch_backend",
    "cupy": "rnnx.backends.cupy_backend",
}
LIBRARIES = {"numpy": "numpy", "array_api_strict": "strict", "torch": "torch", "cupy": "cupy"}
"""Backend by the library that an array's type comes from."""

LABELS = {
    "numpy": "NumPy",
    "numba": "Numba",
    "strict": "array-api-strict",
    "torch": "PyTorch",
    "cupy": "CuPy",
}
INSTALL = {
    "numba": 'pip install "rnnx[numba]"',
    "strict": "pip install array-api-strict",
    "torch": 'pip install "rnnx[torch]"',
    "cupy": (
        'pip install "rnnx[cuda13]" for cupy-cuda13x (NVIDIA driver 580 or newer),'
        ' or pip install "rnnx[cuda12]" for cupy-cuda12x (525 or newer)'
    ),
}

_process_default: Backend | None = None
_made: dict[str, Backend] = {}
_scoped: ContextVar[Backend | None] = ContextVar("rnnx_backend", default=None)


def names() -> tuple[str, ...]:
    """Names of all backends: the library's own, then those that other packages register."""
    return (*BUILT_IN, *(name for name in _registered() if name not in BUILT_IN))


def set_backend(name: str | Backend) -> Backend:
    """Set the backend that new arrays (weights, states, batches) are made on, for every thread.

    Parameters
    ----------
    name : str
        ``"numpy"``, ``"cupy"``, ``"cupy:1"``, ``"torch"``, ``"torch:mps"``, ``"strict"``, or one that another
        package registers.

    Returns
    -------
    Backend

    Raises
    ------
    BackendError
        The name is unknown, or the backend cannot be used here; the message says why and what to do.
    """
    global _process_default
    _process_default = resolve(name)
    return _process_default


def get_backend() -> Backend:
    """The default backend: of `use_backend`, else of `set_backend`, else of ``RNNX_BACKEND``, else NumPy."""
    global _process_default
    found = _scoped.get() or _process_default
    if found is None:
        found = _process_default = _from_environment()
    return found


def _from_environment() -> Backend:
    name = os.environ.get("RNNX_BACKEND") or "numpy"
    try:
        return resolve(name)
    except BackendError as error:
        raise BackendError(f"RNNX_BACKEND is {name!r}: {error.problem}", error.hint) from error


@contextmanager
def use_backend(name: str | Backend) -> Iterator[Backend]:
    """`set_backend` for the body of a ``with`` statement, and for this thread or task only."""
    token = _scoped.set(resolve(name))
    try:
        yield get_backend()
    finally:
        _scoped.reset(token)


def available_backends() -> dict[str, BackendStatus]:
    """Try every known backend.

    Returns
    -------
    dict of str to BackendStatus
        By name: ``usable``, ``reason`` (library, version and device, or in one sentence why not), ``install``
        (what mends it, empty if usable). Libraries are imported by this call.
    """
    return {name: _status(name) for name in names()}


def _status(name: str) -> BackendStatus:
    try:
        backend = resolve(name)
    except BackendError as error:
        return BackendStatus(False, error.problem, error.hint)
    return BackendStatus(True, f"{library_and_version(name)} on {backend.device}", "")


def library_and_version(name: str) -> str:
    """Library of a backend that has been made, such as ``CuPy 14.2.0``."""
    name = name.partition(":")[0]
    if name not in LABELS:
        return name
    module = next((module for module, kind in LIBRARIES.items() if kind == name), name)
    version = sys.modules[module].__version__
    return f"{LABELS[name]} {version.partition('+')[0]}"


def memory_report(backend: str | Backend | None = None) -> dict[str, int]:
    """Memory of one backend's device.

    Parameters
    ----------
    backend : str or Backend, optional
        The default backend if not given.

    Returns
    -------
    dict of str to int
        Bytes, as far as the library tells: ``used`` by arrays, ``held`` by the library's pool (what is used,
        and what is kept for later arrays), ``free`` on the device outside of the pool, and ``total``. On a
        GPU all four; on a CPU under Linux ``free`` and ``total`` of the machine, else an empty dict.

    Raises
    ------
    BackendError
        The backend is unknown or cannot be used here.
    """
    return (get_backend() if backend is None else resolve(backend)).memory_report()


def asarray(values: Any, dtype: Any = None) -> Array:
    """Array on the default backend, from nested sequences or from any backend's array.

    Parameters
    ----------
    values : array_like
        Sequence, scalar, or an array of any backend (copied through the host if it lives elsewhere).
    dtype : str or dtype, optional
        Such as ``"float32"``; by default that of the values.
    """
    backend = get_backend()
    if not backend.holds(values):
        owner = _find_owner(values)
        values = values if owner is None else owner.to_numpy(values)
    return backend.asarray(values, dtype)


def to_numpy(x: Array) -> np.ndarray:
    """Array as a NumPy array on the host; a copy unless x is one already."""
    return of({"x": x}, "to_numpy").to_numpy(x)


def of(arrays: Mapping[str, Any], where: str) -> Backend:
    """The one backend that all arrays belong to.

    Parameters
    ----------
    arrays : mapping of str to array
        By the name that an error shall use.
    where : str
        The function that asks, for the error.

    Raises
    ------
    MixedArraysError
        The arrays are of two libraries or devices, or one of them is no array.
    """
    default = get_backend()
    if all(map(default.holds, arrays.values())):
        return default
    owners = {name: _owner(name, x, where) for name, x in arrays.items()}
    home = next(iter(owners.values()))
    strays = [name for name, owner in owners.items() if owner != home]
    if strays:
        what = ", ".join(f"{name} is on {owner}" for name, owner in owners.items())
        raise MixedArraysError(
            f"{where}: {what}; expected all arrays in one library on one device.",
            f'Move it: with rnnx.use_backend("{home}"): {strays[0]} = rnnx.asarray({strays[0]}).',
        )
    return home


def resolve(name: str | Backend) -> Backend:
    """The backend of that name, made at the first call."""
    if isinstance(name, Backend):
        return name
    if not isinstance(name, str):
        raise BackendError(f"The backend is {name!r}; expected a name.", f"Known are {', '.join(names())}.")
    if name not in _made:
        made = _create(name)
        _made[name] = _made.setdefault(made.name, made)  # "torch" and "torch:cpu" are one
    return _made[name]


def _create(name: str) -> Backend:
    kind, _, device = name.partition(":")
    if kind not in names():
        raise BackendError(f"There is no backend {name!r}.", f"Known are {', '.join(names())}.")
    try:
        create = (
            importlib.import_module(BUILT_IN[kind]).create if kind in BUILT_IN else _registered()[kind].load()
        )
        backend: Backend = create(device or None)
    except ModuleNotFoundError as error:
        command = INSTALL.get(kind, f"pip install {error.name}")
        raise BackendError(
            f"{kind} cannot be used: the package {error.name!r} is not installed.", f"Run: {command}."
        ) from error
    except ImportError as error:
        command = INSTALL.get(kind, "pip install --force-reinstall, with the name of its package")
        raise BackendError(
            f"{kind} cannot be used: it does not import ({first_line(error)}).",
            f"Install it anew: {command}.",
        ) from error
    return backend


@cache
def _registered() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="rnnx.backends")}


def first_line(error: BaseException) -> str:
    """What an error or its cause says, as one line without a final stop: the first that is no ornament."""
    lines = (line.strip() for line in str(error.__cause__ or error).splitlines())
    return next((line for line in lines if line.strip("=-* ")), type(error).__name__).rstrip(".")


def _find_owner(x: Any) -> Backend | None:
    """The backend that holds x; None if x is no array of a library that is known or in use."""
    kind = LIBRARIES.get(type(x).__module__.partition(".")[0])
    if kind is not None and hasattr(x, "shape"):
        device = importlib.import_module(BUILT_IN[kind]).device_of(x)
        return resolve(f"{kind}:{device}" if device else kind)
    return next((backend for backend in (get_backend(), *_made.values()) if backend.holds(x)), None)


def _owner(name: str, x: Any, where: str) -> Backend:
    owner = _find_owner(x)
    if owner is None:
        raise MixedArraysError(
            f"{where}: {name} is a {type(x).__name__}; expected an array.",
            f"Convert it: rnnx.asarray({name}).",
        )
    return owner
