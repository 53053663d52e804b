"""Independent ways to a derivative, each told from the forward pass alone.

Complex step: Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM
Review 40 (1998), 110-112. Richardson extrapolation: Press et al., Numerical Recipes, section 5.7.
"""

from dataclasses import dataclass

import numpy as np

from rnnx.backends import Backend
from rnnx.gradient_check.problem import Problem, Tensors

COMPLEX_STEP = 1e-40
"""Imaginary step: its square is below the rounding of any value, itself far above the smallest double."""

CENTRAL_STEP = 1e-3
"""Step of central differences; with one extrapolation the truncation is of order step**4."""

CENTRAL_STEP_WITH_KINKS = 1e-5
"""The same for functions that are smooth in pieces: small, so that hardly any step meets a kink."""

KINK = 1e-5
"""Disagreement of two quotients, relative to the larger of 1 and the derivative, that tells of a kink."""


@dataclass
class Oracle:
    """Derivatives of all outputs of a problem along a direction of one tensor."""

    problem: Problem
    backend: Backend

    def __post_init__(self) -> None:
        self.by_complex_step = self.problem.analytic and self.backend.complex
        self.name = "complex step" if self.by_complex_step else "central differences"
        self._step = CENTRAL_STEP if self.problem.analytic else CENTRAL_STEP_WITH_KINKS
        self._dtype = "complex128" if self.by_complex_step else "float64"
        self._tensors: Tensors = {
            name: self.backend.asarray(value, self._dtype) for name, value in self.problem.tensors.items()
        }

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
        noise : (M,) float64 array
            Error of the quotients from the rounding of the outputs: 0 for the complex step, infinite if a
            kink was found within the step.
        """
        if self.by_complex_step:
            derivative = self._outputs(tensor, 1j * COMPLEX_STEP * direction).imag / COMPLEX_STEP
            return derivative, np.zeros_like(derivative)
        coarse, _ = self._quotient(tensor, direction, self._step)
        fine, size = self._quotient(tensor, direction, 0.5 * self._step)
        noise = 4.0 * np.finfo(np.float64).eps * size / self._step
        if np.any(np.abs(fine - coarse) > KINK * np.maximum(1.0, np.abs(fine))):
            noise[...] = np.inf
        return (4.0 * fine - coarse) / 3.0, noise

    def _quotient(self, tensor: str, direction: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Central difference quotient, and the size of the outputs."""
        ahead, behind = self._outputs(tensor, step * direction), self._outputs(tensor, -step * direction)
        return (ahead - behind) / (2.0 * step), np.maximum(np.abs(ahead), np.abs(behind))

    def _outputs(self, tensor: str, step: np.ndarray) -> np.ndarray:
        """Outputs, as one vector on the host, with one tensor moved by a step."""
        moved = self.backend.asarray(self.problem.tensors[tensor] + step, self._dtype)
        values, _ = self.problem.forward(self._tensors | {tensor: moved})
        return np.concatenate([self.backend.to_numpy(value).ravel() for value in values.values()])
