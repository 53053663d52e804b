"""Which backends work on this machine, and what keeps the others from it: found out by running something."""

import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from rnnx import backends
from rnnx.backends import Backend
from rnnx.backends.registry import first_line, library_and_version
from rnnx.cells import LSTM
from rnnx.errors import BackendError, RnnxError

HIDDEN, BATCH = 128, 32
"""H and N of the self-test: an LSTM's pointwise body, and its recurrent product (4H, H) @ (H, N)."""

ALLOWED = 1e-5
"""Largest error of the self-test in float32, over the largest value."""

REPEATS = 20


@dataclass(frozen=True)
class SelfTest:
    """One computation of a backend beside NumPy's in float64.

    Attributes
    ----------
    what : str
        ``"pointwise kernel"`` or ``"matrix product"``.
    error : float
        Largest difference over the largest value, in float32; infinite if a result is not finite.
    first_seconds : float
        The first run, with all that is compiled or loaded for it.
    seconds : float
        A run after that, the mean of some: a rough number.
    """

    what: str
    error: float
    first_seconds: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the numbers are right."""
        return self.error <= ALLOWED


@dataclass(frozen=True)
class Finding:
    """What was found of one backend.

    Attributes
    ----------
    name : str
    problem, hint : str
        What keeps it from working, and what mends that: the sentences that `set_backend` raises. Empty if it
        works.
    library, device, kernels : str
        Library with its version, device, and how pointwise bodies run; empty if it cannot be used.
    details : dict of str to str
        What the library tells of its device.
    memory : dict of str to int
        Bytes, as `memory_report` returns them.
    tests : tuple of SelfTest
    """

    name: str
    problem: str = ""
    hint: str = ""
    library: str = ""
    device: str = ""
    kernels: str = ""
    details: dict[str, str] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    tests: tuple[SelfTest, ...] = ()

    @property
    def works(self) -> bool:
        """Whether it can be used and its self-tests passed."""
        return not self.problem


@dataclass(frozen=True)
class Examination:
    """What `examine` found.

    Attributes
    ----------
    versions : dict of str to (str or None)
        Of rnnx, Python, the system, and every package that a backend may need; None for one that is missing.
    chosen : str
        The backend that was asked for, else the default one.
    required : tuple of str
        Backends that must work besides.
    findings : tuple of Finding
    """

    versions: dict[str, str | None]
    chosen: str
    required: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the chosen and required backends that do not work."""
        needed = {self.chosen, *self.required}
        return tuple(each.name for each in self.findings if each.name in needed and not each.works)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as numbers, strings, lists and dicts, with the keys that docs/gpu.md lists."""
        found = asdict(self)
        for finding, each in zip(found["findings"], self.findings, strict=True):
            finding["works"] = each.works
            for test, result in zip(finding["tests"], each.tests, strict=True):
                test["passed"] = result.passed
                test["error"] = result.error if math.isfinite(result.error) else None  # JSON has no infinity
        return {"passed": not self.failed, "failed": list(self.failed)} | found


def examine(backend: str | None = None, required: Iterable[str] = ()) -> Examination:
    """Try backends, and run a kernel and a matrix product on each that can be used.

    Parameters
    ----------
    backend : str, optional
        The one to try; by default all that are known.
    required : iterable of str
        Backends to try in any case.

    Returns
    -------
    Examination
        It raises no error of a backend: what is wrong with one is a finding.
    """
    required = tuple(required)
    chosen = backend or os.environ.get("RNNX_BACKEND") or "numpy"
    tried = [chosen, *required] if backend else [*backends.names(), *required, chosen]
    findings = tuple(examine_backend(name) for name in dict.fromkeys(tried))
    versions: dict[str, str | None]
    versions = {"Python": platform.python_version(), "system": platform.platform()}
    return Examination(versions | backends.installed(), chosen, required, findings)


def examine_backend(name: str) -> Finding:
    """Try one backend."""
    try:
        backend = backends.resolve(name)
    except BackendError as error:
        return Finding(name, error.problem, error.hint)
    except Exception as error:  # what no backend foresaw must not end a report about what is wrong
        return Finding(name, f"{name} cannot be used: {_one_line(error)}.", "Please report this.")
    finding = Finding(name, "", "", library_and_version(name), str(backend.device), backend.kernels)
    try:
        finding = replace(finding, details=backend.details(), memory=backend.memory_report())
        finding = replace(finding, tests=tuple(self_tests(backend)))
    except RnnxError as error:
        return replace(finding, problem=error.problem, hint=error.hint)
    except Exception as error:  # as above
        return replace(finding, problem=f"{name} fails: {_one_line(error)}.", hint="Please report this.")
    wrong = [f"the {test.what} is off by {test.error:.1e}" for test in finding.tests if not test.passed]
    if wrong:
        problem = f"{name} computes wrong numbers: {' and '.join(wrong)} of the largest value."
        return replace(finding, problem=problem, hint="Do not use it, and please report this.")
    return finding


def self_tests(backend: Backend) -> Iterator[SelfTest]:
    """Yield the two self-tests of a backend."""
    rng = np.random.default_rng(0)
    body = LSTM(1, HIDDEN).bodies[0]
    shape, dtype = (HIDDEN, BATCH), backend.dtype("float32")
    inputs = [rng.standard_normal(shape) for _ in body.program.inputs]
    out = [backend.empty(shape, dtype) for _ in body.program.outputs]
    with backend.untracked():
        kernel = backend.kernel(body.program, shape, dtype)
        yield _self_test(
            "pointwise kernel",
            backend,
            lambda *arrays: kernel(*arrays, out=tuple(out)),
            inputs,
            backends.resolve("numpy").functional_kernel(body.program)(*inputs),
        )
        a, b = rng.standard_normal((4 * HIDDEN, HIDDEN)), rng.standard_normal(shape)
        product = backend.matmul((4 * HIDDEN, BATCH), dtype)
        slab = backend.empty((4 * HIDDEN, BATCH), dtype)
        yield _self_test("matrix product", backend, lambda x, y: (product(x, y, slab),), [a, b], (a @ b,))


def _self_test(
    what: str,
    backend: Backend,
    compute: Callable[..., tuple[Any, ...]],
    inputs: list[np.ndarray],
    expected: tuple[np.ndarray, ...],
) -> SelfTest:
    arrays = [backend.asarray(value, "float32") for value in inputs]
    start = perf_counter()
    results = compute(*arrays)
    backend.synchronize()
    first = perf_counter() - start
    error = 0.0
    for result, value in zip(results, expected, strict=True):
        difference = np.abs(backend.to_numpy(result) - value).max() / np.abs(value).max()
        error = max(error, float(difference) if np.isfinite(difference) else np.inf)
    start = perf_counter()
    for _ in range(REPEATS):
        compute(*arrays)
    backend.synchronize()
    return SelfTest(what, error, first, (perf_counter() - start) / REPEATS)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
