"""The table that ends each of the rewritten notebooks: what was expected and what was found."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rnnx.notebooks.gradient_check import eval_numerical_gradient_array

CENTRAL, COMPLEX = 1e-8, 1e-12
"""Largest relative errors that a gradient may have beside the two kinds of numerical ones."""

STEP = 1e-3
"""Step of the central differences; one extrapolation takes their truncation to the order of STEP**4."""

COMPLEX_STEP = 1e-40


class Row(NamedTuple):
    """One line of the table."""

    what: str
    expected: str
    found: str
    agrees: bool


class Proof:
    """Rows of expected and found, on NumPy arrays."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def number(self, what: str, expected: float, found: float, tolerance: float) -> None:
        """One number, which may differ by so much."""
        agrees = bool(abs(expected - found) <= tolerance)
        self.rows.append(Row(what, f"{expected!r} ± {tolerance:.2g}", repr(float(found)), agrees))

    def difference(self, what: str, expected: np.ndarray, found: np.ndarray, tolerance: float) -> None:
        """Arrays, no element of which may differ by more."""
        same_shape = np.shape(expected) == np.shape(found)
        largest = np.max(np.abs(np.subtract(expected, found))) if same_shape else np.inf
        self.at_most(what, tolerance, float(largest))

    def at_most(self, what: str, bound: float, found: float) -> None:
        """A number that may not be larger; NaN is."""
        self.rows.append(Row(what, f"<= {bound:.2g}", f"{found:.2g}", bool(found <= bound)))

    def gradients(
        self,
        what: str,
        function: Callable[..., tuple[np.ndarray, ...]],
        arguments: Mapping[str, np.ndarray],
        upstream: tuple[np.ndarray, ...],
        gradients: Mapping[str, np.ndarray],
    ) -> None:
        """Gradients of ``sum(output * upstream)``, element by element, one row for each argument.

        A row has the largest relative errors beside central differences and beside the complex step: the
        difference over the larger of both values, or over a hundredth of the tensor's largest where that is
        more, as in `rnnx.gradcheck`. An element whose terms cancel has no more digits than these.

        Parameters
        ----------
        what : str
        function : callable
            From the arguments by name to its outputs, one for each upstream gradient.
        arguments : mapping of str to float64 array
        upstream : tuple of float64 array
        gradients : mapping of str to float64 array
            The hand-derived ones, by the names of the arguments.
        """
        for name, gradient in gradients.items():
            central = central_differences(function, arguments, name, upstream)
            exact = complex_step(function, arguments, name, upstream)
            errors = _relative(central, gradient), _relative(exact, gradient)
            self.rows.append(
                Row(
                    f"{what}: d{name}",
                    f"<= {CENTRAL:.2g}, {COMPLEX:.2g}",
                    f"{errors[0]:.2g}, {errors[1]:.2g}",
                    errors[0] <= CENTRAL and errors[1] <= COMPLEX,
                )
            )

    def close(self) -> None:
        """Print the table.

        Raises
        ------
        AssertionError
            A row does not agree; the message holds those rows.
        """
        titles = Row("", "expected", "found", True)
        widths = [max(len(str(row[k])) for row in (titles, *self.rows)) for k in range(3)]
        lines = []
        for row in (titles, *self.rows):
            line = "  ".join(f"{text:{width}}" for text, width in zip(row[:3], widths, strict=True))
            lines.append(line.rstrip() + ("" if row.agrees else "  DIFFERS"))
        print(*lines, sep="\n")
        wrong = [line for line, row in zip(lines[1:], self.rows, strict=True) if not row.agrees]
        if wrong or not self.rows:
            raise AssertionError("\n".join(["expected and found differ:", *wrong]))


def _relative(numerical: np.ndarray, gradient: np.ndarray) -> float:
    if numerical.shape != gradient.shape:
        return np.inf
    larger = np.maximum(np.abs(numerical), np.abs(gradient))
    scale = np.maximum(larger, 0.01 * np.max(larger, initial=0.0))
    return float(np.max(np.abs(numerical - gradient) / np.where(scale == 0.0, 1.0, scale), initial=0.0))


def central_differences(
    function: Callable[..., tuple[np.ndarray, ...]],
    arguments: Mapping[str, np.ndarray],
    name: str,
    upstream: tuple[np.ndarray, ...],
) -> np.ndarray:
    """Central differences at two steps, with one Richardson extrapolation."""

    def outputs(moved: np.ndarray) -> np.ndarray:
        return _joined(function(**dict(arguments) | {name: moved}))

    df = _joined(upstream)
    coarse, fine = (
        eval_numerical_gradient_array(outputs, arguments[name], df, h) for h in (STEP, 0.5 * STEP)
    )
    return np.asarray((4.0 * fine - coarse) / 3.0)


def _joined(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in arrays])


def complex_step(
    function: Callable[..., tuple[np.ndarray, ...]],
    arguments: Mapping[str, np.ndarray],
    name: str,
    upstream: tuple[np.ndarray, ...],
) -> np.ndarray:
    """The imaginary part that an imaginary step leaves, over the step: exact to rounding."""
    point = {key: value.astype(np.complex128) for key, value in arguments.items()}
    found = np.empty(arguments[name].shape)
    for index in np.ndindex(found.shape):
        moved = point[name].copy()
        moved[index] += 1j * COMPLEX_STEP
        outputs = function(**point | {name: moved})
        total = sum(np.sum(output * dy) for output, dy in zip(outputs, upstream, strict=True))
        found[index] = np.imag(total) / COMPLEX_STEP
    return found
