"""The comparison of a hand-written backward pass with its oracles, tensor by tensor."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from rnnx.backends import Backend, use_backend
from rnnx.errors import BackendError
from rnnx.gradient_check.oracles import Oracle
from rnnx.gradient_check.problem import Problem, Tensors, draw
from rnnx.gradient_check.report import FORWARD, GradientReport, GradientRow

TOLERANCE = dict.fromkeys(("complex step", "autograd", *FORWARD), 1e-12) | {"central differences": 1e-8}
"""Largest relative error by oracle, in float64; the rounding of difference quotients is allowed besides."""

LARGE_UPSTREAM = 1e6
"""Factor on one more set of upstream gradients: a backward pass is linear in them, so none may be clipped."""

MOST_ENTRIES = 3000
"""Entries of all tensors together up to which every single one is checked; above, random directions are."""

DIRECTIONS = 4


def divisor(analytic: np.ndarray, numeric: np.ndarray, least: np.ndarray | float = 0.0) -> np.ndarray:
    """What a difference is relative to: ``max(|a|, |n|, 0.01 max|a|, 0.01 max|n|, least)``, or 1."""
    larger = np.maximum(np.abs(analytic), np.abs(numeric))
    found = np.maximum(np.maximum(larger, 0.01 * np.max(larger, initial=0.0)), least)
    return np.where(found == 0.0, 1.0, found)


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
        self.outputs = {name: backend.to_numpy(value) for name, value in outputs.items()}
        self.shapes = {name: value.shape for name, value in self.outputs.items()}
        self.rows: dict[tuple[str, str], GradientRow] = {}

    def run(self) -> Iterator[GradientRow]:
        self._compare_forward_passes()
        self._compare_gradients()
        yield from self.rows.values()

    def _compare_forward_passes(self) -> None:
        """An oracle judges the forward pass with a tape: all others must give the same."""
        for label, run in zip(FORWARD, (self.problem.without_tape, self.problem.by_steps), strict=True):
            if run is not None:
                for name, value in run(self.tensors).items():
                    found = self.backend.to_numpy(value)
                    self._compare(name, label, {}, found, self.outputs[name], np.zeros(found.shape))

    def _compare_gradients(self) -> None:
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
            for name in sorted(gradients.keys() ^ directions.keys()):
                missing = name in directions
                self._refuse(name, label, upstream, "no gradient" if missing else "a gradient of nothing")
            for name, rows in directions.items():
                if name not in gradients:
                    continue
                numeric, noise = jacobians[name] @ flat, _weighted(noises[name], np.abs(flat))
                if gradients[name].shape != self.tensors[name].shape:
                    wanted = self.problem.tensors[name].shape
                    shapes = f"gradient of shape {gradients[name].shape}, expected {wanted}"
                    self._refuse(name, label, upstream, shapes)
                elif entries <= MOST_ENTRIES:
                    shape = gradients[name].shape
                    numeric, noise = numeric.reshape(shape), noise.reshape(shape)
                    self._compare(name, label, upstream, gradients[name], numeric, noise)
                else:
                    products = (gradients[name] * rows).reshape(len(rows), -1)
                    analytic, size = np.sum(products, axis=1), np.linalg.norm(products, axis=1)
                    self._compare(name, label, upstream, analytic, numeric, noise, size)
            if self.backend.autograd and self.problem.by_steps is not None:
                for name, value in self._automatic(upstream).items():
                    if name in gradients and gradients[name].shape == value.shape:
                        exact = np.zeros(value.shape)
                        self._compare(name, "autograd", upstream, gradients[name], value, exact)

    def _unit_directions(self, value: np.ndarray) -> np.ndarray:
        return np.eye(value.size).reshape(value.size, *value.shape)

    def _random_directions(self, value: np.ndarray) -> np.ndarray:
        directions = draw(self.rng, (DIRECTIONS, *value.shape))
        lengths = np.sqrt(np.sum(directions**2, axis=tuple(range(1, directions.ndim)), keepdims=True))
        unit: np.ndarray = directions / lengths
        return unit

    def _upstreams(self) -> Iterator[dict[str, np.ndarray]]:
        """Random gradients for every non-empty subset of the outputs, and large ones for all of them."""
        for count in range(1, len(self.shapes) + 1):
            for names in combinations(self.shapes, count):
                yield {name: draw(self.rng, self.shapes[name]) for name in names}
        yield {name: LARGE_UPSTREAM * draw(self.rng, shape) for name, shape in self.shapes.items()}

    def _hand_written(self, upstream: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _, backward = self.problem.forward(self.tensors)
        gradients = backward({name: self.backend.asarray(value) for name, value in upstream.items()})
        return {name: self.backend.to_numpy(value) for name, value in gradients.items()}

    def _automatic(self, upstream: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        weights = {name: self.backend.asarray(value) for name, value in upstream.items()}
        by_steps, xp = self.problem.by_steps, self.backend.xp

        def scalar(tensors: Tensors) -> object:
            outputs = by_steps(tensors) if by_steps else {}
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
        least: np.ndarray | float = 0.0,
    ) -> None:
        smooth = np.isfinite(noise)
        pair = np.where(smooth, analytic, 0.0), np.where(smooth, numeric, 0.0)
        relative = divisor(*pair, least)
        errors = np.abs(pair[0] - pair[1]) / relative
        allowed = TOLERANCE[oracle.removeprefix("directional ")] + np.where(smooth, noise, 0.0) / relative
        excess = np.where(smooth, np.nan_to_num(errors, nan=np.inf) - allowed, -np.inf)
        worst = np.unravel_index(int(np.argmax(excess)), errors.shape)
        self._keep(
            GradientRow(
                name=self.problem.name,
                backend=str(self.backend),
                tensor=tensor,
                oracle=oracle,
                entries=int(np.sum(smooth)),
                skipped=int(np.sum(~smooth)),
                error=float(errors[worst]),
                tolerance=float(allowed[worst]),
                case=self.problem.case,
                upstream=", ".join(upstream),
                index=() if oracle.startswith("directional") else tuple(int(i) for i in worst),
                analytic=float(analytic[worst]),
                numeric=float(numeric[worst]),
            )
        )

    def _refuse(self, tensor: str, oracle: str, upstream: Mapping[str, np.ndarray], found: str) -> None:
        names = self.problem.name, str(self.backend), tensor, oracle
        case = f"{self.problem.case}: {found}"
        self._keep(GradientRow(*names, 1, 0, np.inf, 0.0, case, ", ".join(upstream), (), np.nan, np.nan))

    def _keep(self, row: GradientRow) -> None:
        self.rows[row.tensor, row.oracle] = worse(self.rows.get((row.tensor, row.oracle)), row)


def worse(known: GradientRow | None, found: GradientRow) -> GradientRow:
    """The row that is nearer to failing (a NaN is nearest), counting the entries of both."""
    if known is None:
        return found

    def excess(row: GradientRow) -> float:
        return np.inf if np.isnan(row.error) else row.error - row.tolerance

    keep = known if excess(found) <= excess(known) else found
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
