"""The comparison of a hand-written backward pass with its oracles, tensor by tensor."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from rnnx.backends import Backend, use_backend
from rnnx.errors import BackendError
from rnnx.gradient_check.oracles import Oracle
from rnnx.gradient_check.problem import Problem, Tensors, draw
from rnnx.gradient_check.report import GradientReport, GradientRow

TOLERANCE = {"complex step": 1e-12, "central differences": 1e-8, "autograd": 1e-12}
"""Largest relative error by oracle, in float64."""

MOST_ENTRIES = 3000
"""Entries of all tensors together up to which every single one is checked; above, random directions are."""

DIRECTIONS = 4


def relative_error(
    analytic: np.ndarray,
    numeric: np.ndarray,
    floor: np.ndarray | float = 0.0,
    noise: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Element-wise ``(|a - n| - noise) / max(|a|, |n|, 0.01 max|a|, 0.01 max|n|, floor)``; NaN is kept."""
    larger = np.maximum(np.abs(analytic), np.abs(numeric))
    floor = np.maximum(np.maximum(larger, 0.01 * np.max(larger, initial=0.0)), floor)
    error: np.ndarray = np.maximum(np.abs(analytic - numeric) - noise, 0.0)
    np.divide(error, floor, out=error, where=floor != 0.0)
    return error


def _weighted(noise: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Noise of the weighted sums of outputs; an infinite one stays so whatever its weight."""
    kinked = np.isinf(noise).any(axis=1)
    total: np.ndarray = np.where(np.isinf(noise), 0.0, noise) @ weights
    total[kinked] = np.inf
    return total


class _Check:
    """One problem on one backend: what is compared, and the worst of it by tensor and oracle."""

    def __init__(self, problem: Problem, backend: Backend, seed: int) -> None:
        self.problem, self.backend = problem, backend
        self.rng = np.random.default_rng(seed)
        self.tensors = {name: backend.asarray(value, "float64") for name, value in problem.tensors.items()}
        outputs, _ = problem.forward(self.tensors)
        self.shapes = {name: tuple(value.shape) for name, value in outputs.items()}
        self.rows: dict[tuple[str, str], GradientRow] = {}

    def run(self) -> Iterator[GradientRow]:
        entries = sum(value.size for value in self.problem.tensors.values())
        directions = {
            name: self._unit_directions(value) if entries <= MOST_ENTRIES else self._random_directions(value)
            for name, value in self.problem.tensors.items()
        }
        oracle = Oracle(self.problem, self.backend)
        label = oracle.name if entries <= MOST_ENTRIES else f"directional {oracle.name}"
        jacobians, noises = {}, {}
        for name, rows in directions.items():
            found = [oracle.derivative(name, row) for row in rows]
            jacobians[name], noises[name] = map(np.stack, zip(*found, strict=True))
        for upstream in self._upstreams():
            gradients = self._hand_written(upstream)
            flat = np.concatenate(
                [upstream.get(k, np.zeros(shape)).ravel() for k, shape in self.shapes.items()]
            )
            for name, rows in directions.items():
                numeric, noise = jacobians[name] @ flat, _weighted(noises[name], np.abs(flat))
                if gradients[name].shape != self.tensors[name].shape:
                    self._misshapen(name, label, upstream, gradients[name])
                elif entries <= MOST_ENTRIES:
                    shape = gradients[name].shape
                    numeric, noise = numeric.reshape(shape), noise.reshape(shape)
                    self._compare(name, label, upstream, gradients[name], numeric, noise)
                else:
                    products = (gradients[name] * rows).reshape(len(rows), -1)
                    analytic, size = np.sum(products, axis=1), np.linalg.norm(products, axis=1)
                    self._compare(name, label, upstream, analytic, numeric, noise, size)
            if self.backend.autograd and self.problem.followed is not None:
                for name, value in self._automatic(upstream).items():
                    if gradients[name].shape == value.shape:
                        exact = np.zeros(value.shape)
                        self._compare(name, "autograd", upstream, gradients[name], value, exact)
        yield from self.rows.values()

    def _unit_directions(self, value: np.ndarray) -> np.ndarray:
        return np.eye(value.size).reshape(value.size, *value.shape)

    def _random_directions(self, value: np.ndarray) -> np.ndarray:
        directions = draw(self.rng, (DIRECTIONS, *value.shape))
        lengths = np.sqrt(np.sum(directions**2, axis=tuple(range(1, directions.ndim)), keepdims=True))
        unit: np.ndarray = directions / lengths
        return unit

    def _upstreams(self) -> Iterator[dict[str, np.ndarray]]:
        """Random gradients for every non-empty subset of the outputs."""
        for count in range(1, len(self.shapes) + 1):
            for names in combinations(self.shapes, count):
                yield {name: draw(self.rng, self.shapes[name]) for name in names}

    def _hand_written(self, upstream: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _, backward = self.problem.forward(self.tensors)
        gradients = backward({name: self.backend.asarray(value) for name, value in upstream.items()})
        return {name: self.backend.to_numpy(gradients[name]) for name in self.tensors}

    def _automatic(self, upstream: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        weights = {name: self.backend.asarray(value) for name, value in upstream.items()}
        followed, xp = self.problem.followed, self.backend.xp

        def scalar(tensors: Tensors) -> object:
            outputs = followed(tensors) if followed else {}
            return sum(xp.sum(outputs[name] * weight) for name, weight in weights.items())

        found = self.backend.differentiate(scalar, self.tensors)
        return {name: self.backend.to_numpy(value) for name, value in found.items()}

    def _compare(
        self,
        tensor: str,
        oracle: str,
        upstream: Mapping[str, np.ndarray],
        analytic: np.ndarray,
        numeric: np.ndarray,
        noise: np.ndarray,
        floor: np.ndarray | float = 0.0,
    ) -> None:
        smooth = np.isfinite(noise)
        pair = np.where(smooth, analytic, 0.0), np.where(smooth, numeric, 0.0)
        errors = relative_error(*pair, floor, np.where(smooth, noise, 0.0))
        worst = np.unravel_index(int(np.argmax(np.nan_to_num(errors, nan=np.inf))), errors.shape)
        self._keep(
            GradientRow(
                name=self.problem.name,
                backend=str(self.backend),
                tensor=tensor,
                oracle=oracle,
                entries=int(np.sum(smooth)),
                skipped=int(np.sum(~smooth)),
                error=float(errors[worst]),
                tolerance=TOLERANCE[oracle.removeprefix("directional ")],
                case=self.problem.case,
                upstream=", ".join(upstream),
                index=() if oracle.startswith("directional") else tuple(int(i) for i in worst),
                analytic=float(analytic[worst]),
                numeric=float(numeric[worst]),
            )
        )

    def _misshapen(
        self, tensor: str, oracle: str, upstream: Mapping[str, np.ndarray], gradient: np.ndarray
    ) -> None:
        expected = self.problem.tensors[tensor].shape
        case = f"{self.problem.case}: gradient of shape {gradient.shape}, expected {expected}"
        nothing = GradientRow(
            self.problem.name,
            str(self.backend),
            tensor,
            oracle,
            1,
            0,
            np.inf,
            0.0,
            case,
            ", ".join(upstream),
            (),
            np.nan,
            np.nan,
        )
        self._keep(nothing)

    def _keep(self, row: GradientRow) -> None:
        self.rows[row.tensor, row.oracle] = worse(self.rows.get((row.tensor, row.oracle)), row)


def worse(known: GradientRow | None, found: GradientRow) -> GradientRow:
    """The row with the larger error (a NaN is the largest), counting the entries of both."""
    if known is None:
        return found
    keep = known if found.error <= known.error or np.isnan(known.error) else found
    return replace(keep, entries=known.entries + found.entries, skipped=known.skipped + found.skipped)


def check(problems: list[Problem], backend: Backend, seed: int = 0) -> GradientReport:
    """Compare the hand-written gradients of all problems, on a backend with float64, with their oracles."""
    if not backend.double:
        raise BackendError(
            f"The gradient check needs float64, which {backend} does not have.",
            'Check the same cell on the CPU: rnnx.use_backend("numpy").',
        )
    rows: dict[tuple[str, str, str], GradientRow] = {}
    with use_backend(backend):
        for problem in problems:
            for row in _Check(problem, backend, seed).run():
                key = row.name, row.tensor, row.oracle
                rows[key] = worse(rows.get(key), row)
    return GradientReport(tuple(rows.values()))
