"""The same gradients in other precisions and on other devices, against NumPy's in float64.

The oracles prove float64. What a lower precision may differ by follows from its unit roundoff and the length
of the sums; what no difference of precision explains is a mistake of its own: an overflow, a constant of the
wrong dtype, a sum in a narrower one.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from rnnx.backends import Backend, resolve
from rnnx.errors import DtypeError
from rnnx.gradient_check.comparison import Comparison, Place, compare, of_size, refused, rounding
from rnnx.gradient_check.judge import Host, Judge, changes, gradients
from rnnx.gradient_check.report import IN_FLOAT64

TOO_COARSE = 0.5
"""Relative rounding from which on a precision decides nothing: float16 has three digits to begin with."""


LIMITS = {dtype: np.finfo(dtype) for dtype in ("float64", "float32", "float16")}


def against(dtype: str) -> str:
    """What stands for the oracle in these rows."""
    return f"{IN_FLOAT64}, in {dtype}"


def dtypes(backend: Backend) -> list[str]:
    """The precisions that a backend has."""
    found = ["float64"] if backend.double else []
    for name in ("float32", "float16"):
        try:
            backend.dtype(name)
        except DtypeError:
            continue
        found.append(name)
    return found


def compare_precisions(
    judge: Judge, upstream: Host, sizes: Mapping[str, np.ndarray], kinked: bool
) -> Iterator[Comparison]:
    """Compare in every precision that is not the truth itself.

    Parameters
    ----------
    judge : Judge
    upstream : dict of str to float64 array
        Gradients of all outputs.
    sizes : dict of str to float64 array
        Sums of the absolute values of the terms of every gradient, where an oracle knows them.
    kinked : bool
        Whether the function may have kinks. Rounding may take an entry to the other side of one: how much the
        gradient changes nearby is allowed besides, as it always is in float16. There nothing is near, so that
        functions with kinks are left out.
    """
    problem, backend = judge.problem, judge.backend
    truth_backend = backend if str(backend) == "numpy" or not problem.portable else resolve("numpy")
    for dtype in dtypes(backend):
        double = dtype == "float64"
        if str(backend) == str(truth_backend) if double else problem.saturated:
            continue
        if dtype == "float16" and kinked:
            continue
        slack, limits = rounding(judge.length, dtype), LIMITS[dtype]
        if slack > TOO_COARSE:
            continue
        place = Place(problem, str(backend), against(dtype), ", ".join(upstream))
        # Inputs that both precisions hold exactly: only the arithmetic differs.
        point = {k: v.astype(dtype).astype(np.float64) for k, v in problem.tensors.items()}
        weights = {k: v.astype(dtype).astype(np.float64) for k, v in upstream.items()}
        derivatives = partial(gradients, problem, truth_backend, "float64", upstream=weights)
        try:
            truth = derivatives(point)
        except (DtypeError, AttributeError):
            return  # no gradients of that dtype, or no arrays: said where they are compared
        try:
            found = gradients(problem, backend, dtype, point, weights)
        except Exception as error:  # whatever a library says that lacks an operation in this precision
            if not problem.portable or dtype == "float16":
                judge.notes.append(f"not checked in {dtype}: {type(error).__name__}: {error}")
                continue
            hint = f"The passes must run in {dtype}, and stay in it."
            yield refused(place, "all", f"{type(error).__name__}: {error}", hint)
            continue
        # Few digits and a difference such as 1 - tanh**2: an entry may be worse off than its own terms tell.
        vague = kinked or dtype == "float16"
        nearby = changes(derivatives, point, truth, slack, judge.seed) if vague else {}
        for name, value in truth.items():
            if name not in found or found[name].shape != value.shape:
                continue  # said where the gradients are compared
            size = of_size(np.maximum(sizes.get(name, 0.0), np.abs(value)))
            # A product below the range is off by half of the smallest number; none is known beyond it.
            allowed = slack * (size + limits.smallest_subnormal / limits.eps) + nearby.get(name, 0.0)
            allowed = np.where(np.abs(value) <= limits.max, allowed, np.inf)
            arrays = found[name], value, allowed
            if double:
                judged = judge.compare(place, name, *arrays)
            else:
                judged = compare(place, name, *arrays, least=size, undecided=TOO_COARSE)
            if judged.row.checked:  # else the oracle's row tells of the kinks
                yield judged
