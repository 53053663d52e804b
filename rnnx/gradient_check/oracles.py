"""Independent ways to a derivative, each told from the forward pass alone.

Complex step: Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM
Review 40 (1998), 110-112. Along a random direction v it gives the product of the Jacobian J with v, so that
``<J v, w> = <v, J' w>`` is the adjoint test of a backward pass, which computes ``J' w``.
"""

import numpy as np

from rnnx.backends import Backend
from rnnx.gradient_check import analyticity, differences
from rnnx.gradient_check.problem import Problem, Tensors, draw

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
        self._point = {name: backend.asarray(value, "float64") for name, value in problem.tensors.items()}
        self._centre, counts = self._outputs(problem.tensors)
        names = list(counts.items())
        self._noise = differences.noise_of(self._everywhere, names)
        self._steps = (
            differences.STEPS_WITH_KINKS if problem.analytic is False else differences.SMOOTH_STEPS
        )
        self.note = ""
        self.by_complex_step = problem.analytic is not False and backend.complex
        if self.by_complex_step:
            self.note = self._against_complex_step(np.random.default_rng(seed))
            self.by_complex_step = not self.note
        self.name = COMPLEX if self.by_complex_step else DIFFERENCES

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
            found = self._complex_step(tensor, direction)
            return found, np.zeros_like(found)
        return self._difference(tensor, direction)

    def quotients(self, tensor: str, direction: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Plain central difference quotients for a range of steps: (K, M)."""
        along = self._along(tensor, direction)
        with np.errstate(all="ignore"):
            return np.stack([(along(step) - along(-step)) / (2.0 * step) for step in steps])

    def _complex_step(self, tensor: str, direction: np.ndarray) -> np.ndarray:
        moved = self.problem.tensors | {
            tensor: self.problem.tensors[tensor] + 1j * COMPLEX_STEP * direction
        }
        values, _ = self._outputs(moved, "complex128")
        derivative: np.ndarray = values.imag / COMPLEX_STEP
        return derivative

    def _difference(self, tensor: str, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = self.problem.tensors[tensor]
        # Steps are in units of what is moved; an entry that is small among large ones moves by a hundredth.
        moved = np.max(np.abs(value * direction), initial=0.0) / np.max(np.abs(direction), initial=1e-300)
        unit = max(float(moved), 0.01 * float(np.max(np.abs(value), initial=0.0))) or 1.0
        with np.errstate(all="ignore"):  # a step may leave the domain; that is no finite number, and skipped
            found, error = differences.derivative(
                self._along(tensor, unit * direction), self._centre, self._noise, self._steps
            )
        return found / unit, error / unit

    def _along(self, tensor: str, direction: np.ndarray) -> differences.Along:
        def outputs(step: float) -> np.ndarray:
            moved = self.backend.asarray(self.problem.tensors[tensor] + step * direction, "float64")
            return self._flat(self._point | {tensor: moved})

        return outputs

    def _everywhere(self, step: float) -> np.ndarray:
        values = {
            name: self.backend.asarray(value * (1.0 + step), "float64")
            for name, value in self.problem.tensors.items()
        }
        return self._flat(values)

    def _flat(self, values: Tensors) -> np.ndarray:
        outputs, _ = self.problem.forward(values)
        return np.concatenate([self.backend.to_numpy(value).ravel() for value in outputs.values()])

    def _outputs(
        self, tensors: dict[str, np.ndarray], dtype: str = "float64"
    ) -> tuple[np.ndarray, dict[str, int]]:
        """All outputs as one vector on the host, and the number of entries of each."""
        outputs, _ = self.problem.forward(
            {name: self.backend.asarray(value, dtype) for name, value in tensors.items()}
        )
        host = {name: self.backend.to_numpy(value).ravel() for name, value in outputs.items()}
        return np.concatenate(list(host.values())), {name: value.size for name, value in host.items()}

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

    def _is_real(self, value: object) -> bool:
        return not np.iscomplexobj(self.backend.to_numpy(value))

    def _agrees(self, rng: np.random.Generator) -> bool:
        for name, value in self.problem.tensors.items():
            direction = draw(rng, value.shape) / np.sqrt(max(value.size, 1))
            exact = self._complex_step(name, direction)
            found, error = self._difference(name, direction)
            known = np.isfinite(error)
            difference = np.abs(exact - found)[known]
            scale = AGREEMENT * np.max(np.abs(found[known]), initial=0.0)
            if not np.all(difference <= scale + 3.0 * error[known]):
                return False
        return True

    def _operations(self) -> list[str]:
        """What is not analytic, where NumPy arrays can watch."""
        if not isinstance(self.backend.asarray(0.0), np.ndarray):
            return []
        return analyticity.operations(self.problem.forward, self.problem.tensors)


def _first(operations: list[str]) -> str:
    """The operation that tells most: one that loses the imaginary part before one that compares."""
    return min(operations, key=lambda found: analyticity.COMPARES in found, default="")
