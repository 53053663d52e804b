"""Independent ways to a derivative, each told from the forward pass alone.

Complex step: Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM
Review 40 (1998), 110-112. Along a random direction v it gives the product of the Jacobian J with v, so that
``<J v, w> = <v, J' w>`` is the adjoint test of a backward pass, which computes ``J' w``.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

import numpy as np

from rnnx.backends import Backend
from rnnx.gradient_check import analyticity, differences
from rnnx.gradient_check.problem import Problem, draw
from rnnx.typing import Array

Directions: TypeAlias = Mapping[str, np.ndarray]
"""Of some of a problem's tensors, by name."""

TINY = float(np.finfo(np.float64).tiny)

COMPLEX, DIFFERENCES = "complex step", "central differences"
ADJOINT, DIRECTIONS = "adjoint test by complex step", "random directions by central differences"
ALONG = {COMPLEX: ADJOINT, DIFFERENCES: DIRECTIONS}
"""What an oracle is called that is asked along random directions."""

COMPLEX_STEP = 1e-40
"""Imaginary step: its square is below the rounding of any value, itself far above the smallest double."""

AGREEMENT = 1e-6
"""Relative difference from which on complex step and central differences contradict each other."""


class Oracle:
    """Derivatives of all outputs of a problem along a direction of one tensor.

    The complex step where the problem is analytic and the backend allows it, else central differences. The
    complex step is compared with them along one direction of each tensor, and given up if they disagree.

    Attributes
    ----------
    name : str
    note : str
        Why the complex step does not serve, if that is not known from the problem.
    """

    def __init__(self, problem: Problem, backend: Backend, seed: int = 0) -> None:
        self.problem, self.backend = problem, backend
        self._dtypes: dict[str, object] = {}  # looked up once, and not with every step
        self._centre, self._counts = self._outputs(problem.tensors)
        self._steps = differences.STEPS_WITH_KINKS if problem.analytic is False else differences.SMOOTH_STEPS
        self.note = ""
        self.by_complex_step = problem.analytic is not False and backend.complex
        if self.by_complex_step:
            self.note = self._against_complex_step(np.random.default_rng(seed))
            self.by_complex_step = not self.note
        self.name = COMPLEX if self.by_complex_step else DIFFERENCES

    @cached_property
    def _noise(self) -> np.ndarray:
        """Standard deviation of the outputs' rounding, measured."""
        tensors = self.problem.tensors
        return differences.noise_of(self._along(tensors), self._counts)

    def derivative(self, tensor: str, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Differentiate along a direction.

        Parameters
        ----------
        tensor : str
        direction : float64 array of the tensor's shape

        Returns
        -------
        derivative : (M,) float64 array
            Of all outputs, raveled one after the other.
        error : (M,) float64 array
            The oracle's own, as it estimates it: 0 for the complex step, whose truncation is below rounding.
        """
        if self.by_complex_step:
            found = self._complex_step({tensor: direction})
            return found, np.zeros_like(found)
        return self._difference({tensor: direction})

    def quotients(self, tensor: str, direction: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Plain central difference quotients for a range of steps: (K, M)."""
        along = self._along({tensor: direction})
        with np.errstate(all="ignore"):
            return np.stack([(along(step) - along(-step)) / (2.0 * step) for step in steps])

    def _complex_step(self, directions: Directions) -> np.ndarray:
        step = {name: 1j * COMPLEX_STEP * direction for name, direction in directions.items()}
        moved = {name: self.problem.tensors[name] + each for name, each in step.items()}
        values, _ = self._outputs(self.problem.tensors | moved, "complex128")
        derivative: np.ndarray = values.imag / COMPLEX_STEP
        return derivative

    def _difference(self, directions: Directions) -> tuple[np.ndarray, np.ndarray]:
        # Steps are in units of what is moved; an entry that is small among large ones moves by a hundredth.
        unit = 0.0
        for name, direction in directions.items():
            value = np.abs(self.problem.tensors[name])
            moved = np.max(value * np.abs(direction), initial=0.0) / np.max(np.abs(direction), initial=TINY)
            unit = max(unit, float(moved), 0.01 * float(np.max(value, initial=0.0)))
        unit = unit or 1.0
        along = self._along({name: unit * direction for name, direction in directions.items()})
        with np.errstate(all="ignore"):  # a step may leave the domain; that is no finite number, and skipped
            found, error = differences.derivative(along, self._centre, self._noise, self._steps)
        return found / unit, error / unit

    def _along(self, directions: Directions) -> differences.Along:
        tensors = self.problem.tensors

        def outputs(step: float) -> np.ndarray:
            moved = {name: tensors[name] + step * direction for name, direction in directions.items()}
            return self._outputs(tensors | moved)[0]

        return outputs

    def _outputs(
        self, tensors: dict[str, np.ndarray], dtype: str = "float64"
    ) -> tuple[np.ndarray, list[int]]:
        """All outputs as one vector on the host, and the number of entries of each."""
        if dtype not in self._dtypes:
            self._dtypes[dtype] = self.backend.dtype(dtype)
        asarray, own = self.backend.asarray, self._dtypes[dtype]
        outputs, _ = self.problem.forward({name: asarray(value, own) for name, value in tensors.items()})
        host = [self.backend.to_numpy(value).ravel() for value in outputs.values()]
        return np.concatenate(host), [value.size for value in host]

    def _against_complex_step(self, rng: np.random.Generator) -> str:
        """Why the complex step does not apply; empty if it does."""
        found = self._operations() if self.problem.analytic is None else []
        if found:
            return _first(found)
        try:
            with analyticity.lost_parts() as lost, np.errstate(all="ignore"):
                outputs, _ = self.problem.forward(
                    {k: self.backend.asarray(v, "complex128") for k, v in self.problem.tensors.items()}
                )
        except Exception as error:  # whatever a function that knows real numbers only may say
            return f"it takes no complex numbers ({type(error).__name__}: {str(error).strip()})"
        if lost:
            return f"the imaginary part is lost where a real array is written to ({lost[0]})"
        real = [name for name, value in outputs.items() if self._is_real(value)]
        if real or not self._agrees(rng):
            return _first(self._operations()) or (
                f"{real[0]} comes back real" if real else "it disagrees with central differences"
            )
        return ""

    def _is_real(self, value: Array) -> bool:
        return not np.iscomplexobj(self.backend.to_numpy(value))

    def _agrees(self, rng: np.random.Generator) -> bool:
        """Whether both give the same along a direction of all tensors."""
        directions = {
            name: draw(rng, value.shape) / np.sqrt(max(value.size, 1))
            for name, value in self.problem.tensors.items()
        }
        exact, (found, error) = self._complex_step(directions), self._difference(directions)
        known = np.isfinite(error)
        scale = AGREEMENT * np.max(np.abs(found[known]), initial=0.0)
        return bool(np.all(np.abs(exact - found)[known] <= scale + 3.0 * error[known]))

    def _operations(self) -> list[str]:
        """What is not analytic, as far as the backend's arrays can tell."""
        if isinstance(self.backend.asarray(0.0), np.ndarray):
            return analyticity.operations(self.problem.forward, self.problem.tensors)
        return analyticity.operations_on(self.backend, self.problem.forward, self.problem.tensors)


def _first(operations: list[str]) -> str:
    """The operation that tells most: one that loses the imaginary part before one that compares."""
    return min(operations, key=lambda found: analyticity.COMPARES in found, default="")
