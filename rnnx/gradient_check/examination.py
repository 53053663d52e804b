"""One problem on one backend: everything that is compared, one comparison after the other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import combinations

import numpy as np

from rnnx.backends import Backend, use_backend
from rnnx.gradient_check.comparison import Comparison, Place, compare, of_size, refused, rounding
from rnnx.gradient_check.judge import Host, Judge, changes
from rnnx.gradient_check.oracles import ALONG, COMPLEX, Oracle
from rnnx.gradient_check.precision import compare_precisions
from rnnx.gradient_check.problem import Problem, Tensors, draw
from rnnx.gradient_check.purity import Purity, unfit_outputs
from rnnx.gradient_check.report import FORWARD, LARGE, UNTOUCHED
from rnnx.typing import Array

MOST_ENTRIES = 3000
"""Entries of all tensors together up to which every single one is checked; above, random directions are."""

MOST_DERIVATIVES = 10**7
"""The same for their derivatives, of which there is one for every output."""

AUTOGRAD = "autograd"

DIRECTIONS = 3

ALL_SUBSETS = 3
"""Outputs up to which every subset of them has upstream gradients."""

PROVEN_ON = "numpy"
"""Backend on which every single entry has an oracle of its own."""

LARGE_UPSTREAM = 1e6
"""Factor on one more set of upstream gradients: a backward pass is linear in them, so none may be clipped."""


class Examination:
    """What is found of one problem: iterate over `comparisons`; the `judge` knows the notes then."""

    def __init__(self, problem: Problem, backend: Backend, seed: int) -> None:
        self.problem, self.backend, self.seed = problem, backend, seed
        self.rng = np.random.default_rng(seed)
        self._given_up: set[str] = set()

    def comparisons(self) -> Iterator[Comparison]:
        """Everything, from the forward pass to the precisions."""
        problem, backend = self.problem, self.backend
        if not backend.double:
            yield from self._in_low_precision()
            return
        self.tensors = {k: backend.asarray(v.copy(), "float64") for k, v in problem.tensors.items()}
        outputs, _ = problem.forward(self.tensors)
        self.shapes = {name: tuple(getattr(value, "shape", ())) for name, value in outputs.items()}
        self.judge = Judge(problem, backend, self.shapes, self.seed)
        unfit = list(unfit_outputs(problem, backend, outputs))
        if unfit:
            yield from unfit
            return
        self.outputs = {name: backend.to_numpy(value) for name, value in outputs.items()}
        entries, length = problem.entries, self.judge.length
        self.small = entries <= MOST_ENTRIES and entries * (length - entries) <= MOST_DERIVATIVES
        # What runs on NumPy is proven there, entry by entry, and compared with that on every other backend.
        self.whole = self.small and (not problem.portable or str(backend) == PROVEN_ON)
        purity = Purity(self.judge)
        spoilt = False
        for found in purity.of_forward():
            spoilt |= found.row.oracle == UNTOUCHED and not found.row.passed
            yield found
        if spoilt:
            return  # other inputs with every call: nothing else can be told
        yield from self._forward_passes()
        yield from self._gradients()
        yield from purity.of_backward()

    def _in_low_precision(self) -> Iterator[Comparison]:
        """A device without float64: no oracles run on it, and its gradients are compared with NumPy's."""
        with use_backend("numpy"):
            outputs, _ = self.problem.forward(dict(self.problem.tensors))
        shapes = {name: value.shape for name, value in outputs.items()}
        self.judge = Judge(self.problem, self.backend, shapes, self.seed)
        self.judge.notes.append("no float64 here: compared with NumPy's gradients only")
        upstream = {name: draw(self.rng, shape) for name, shape in shapes.items()}
        yield from compare_precisions(self.judge, upstream, {}, self.problem.analytic is False)

    def _forward_passes(self) -> Iterator[Comparison]:
        """An oracle judges the forward pass with a tape: all others must give the same."""
        for label, run in zip(FORWARD, (self.problem.without_tape, self.problem.by_steps), strict=True):
            if run is not None:
                place = Place(self.problem, str(self.backend), label)
                for name, value in run(self.tensors).items():
                    allowed = rounding(self.judge.length) * of_size(np.abs(self.outputs[name]))
                    arrays = self.backend.to_numpy(value), self.outputs[name]
                    found = compare(place, name, *arrays, allowed)
                    yield (
                        compare(place, name, *arrays, allowed + self._moved[name])
                        if found.wrong.any()
                        else found
                    )

    @cached_property
    def _moved(self) -> Host:
        """How far rounding may move the outputs: sums that cancel are larger inside than what comes out.

        A computed product is the exact one of operands that are off by a rounding (N. J. Higham, "Accuracy
        and Stability of Numerical Algorithms", 2nd edition, 2002, section 3.5), so the operands are moved.
        """

        def run(point: Host) -> Host:
            outputs, _ = self.problem.forward({k: self.backend.asarray(v) for k, v in point.items()})
            return {name: self.backend.to_numpy(value) for name, value in outputs.items()}

        slack = rounding(self.judge.length)
        return changes(run, self.problem.tensors, self.outputs, slack, self.seed)

    def _gradients(self) -> Iterator[Comparison]:
        oracle = Oracle(self.problem, self.backend, self.seed)
        if oracle.note:
            self.judge.notes.append(f"{oracle.name} in place of the {COMPLEX}: {oracle.note}")
        if self.whole:
            yield from self._against(oracle)
        else:
            found = list(self._against(oracle))
            if self.small and any(each.wrong.any() or each.row.skipped for each in found):
                self.whole = True  # which entries are wrong, directions do not tell
                found = list(self._against(oracle))
            yield from found
        everything = {name: draw(self.rng, shape) for name, shape in self.shapes.items()}
        sizes = {name: size for name, (_, _, size) in self._expected(everything).items() if self.whole}
        kinked = not oracle.by_complex_step and self.problem.analytic is not True
        yield from compare_precisions(self.judge, everything, sizes, kinked)

    def _against(self, oracle: Oracle) -> Iterator[Comparison]:
        """All gradients under all upstream gradients beside an oracle's, by entries or along directions."""
        self.directions = {
            name: self._unit_directions(value) if self.whole else self._random_directions(value)
            for name, value in self.problem.tensors.items()
        }
        self.label = oracle.name if self.whole else ALONG[oracle.name]
        self.jacobians: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name, rows in self.directions.items():
            found = [oracle.derivative(name, row) for row in rows]
            derivatives, errors = map(np.stack, zip(*found, strict=True))
            self.jacobians[name] = derivatives, errors
        for label, upstream in self._upstreams():
            yield from self._under(label, upstream)

    def _expected(self, upstream: Host) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The oracle's gradients, its own errors in them, and the sizes of the terms that they sum."""
        flat = np.concatenate([upstream.get(k, np.zeros(shape)).ravel() for k, shape in self.shapes.items()])
        found = {}
        for name, (derivatives, errors) in self.jacobians.items():
            part = derivatives @ flat, _weighted(errors, np.abs(flat)), np.abs(derivatives) @ np.abs(flat)
            shape = self.problem.tensors[name].shape if self.whole else (len(derivatives),)
            found[name] = part[0].reshape(shape), part[1].reshape(shape), part[2].reshape(shape)
        return found

    def _under(self, label: str, upstream: Host) -> Iterator[Comparison]:
        """All gradients under one choice of upstream gradients."""
        place = Place(self.problem, str(self.backend), self.label, label)
        gradients: Host = {}
        for name, array in self._backward(upstream).items():
            unfit = self._unfit(name, array)
            if unfit:
                yield refused(place, name, *unfit)
            else:
                gradients[name] = self.backend.to_numpy(array)
        for name in self.problem.tensors.keys() - self._returned:
            yield refused(place, name, "no gradient", f"backward must return {name!r}, too.")
        expected, slack = self._expected(upstream), rounding(self.judge.length)
        numeric = {name: value for name, (value, _, _) in expected.items()}
        scale = max(float(np.max(np.abs(value), initial=0.0)) for value in upstream.values())
        for name, value in gradients.items():
            oracle, own, size = expected[name]
            allowed = own + slack * of_size(size)
            if self.whole:
                found = self.judge.compare(place, name, value, oracle, allowed, scale)
                yield replace(found, others=numeric, outputs=self.outputs)
            else:
                yield self._along(place, name, value, oracle, allowed, scale)
        yield from self._against_autograd(label, upstream, gradients, expected if self.whole else {})

    def _along(
        self,
        place: Place,
        name: str,
        gradient: np.ndarray,
        oracle: np.ndarray,
        allowed: np.ndarray,
        scale: float,
    ) -> Comparison:
        """Compare a gradient's products with the directions."""
        products = (gradient * self.directions[name]).reshape(len(oracle), -1)
        allowed = allowed + rounding(self.judge.length) * np.sum(np.abs(products), axis=1)
        options = {"least": np.linalg.norm(products, axis=1), "directions": True}
        scale *= float(np.sqrt(gradient.size))  # a direction of length 1 adds up that many errors
        return self.judge.compare(place, name, np.sum(products, axis=1), oracle, allowed, scale, **options)

    def _against_autograd(
        self, label: str, upstream: Host, gradients: Host, expected: Mapping[str, tuple[np.ndarray, ...]]
    ) -> Iterator[Comparison]:
        """Compare with the library's own differentiation of the same forward pass, if it can follow that."""
        problem = self.problem
        run = problem.by_steps or (None if problem.portable else lambda values: problem.forward(values)[0])
        mixed = 1 < len(upstream) < len(self.shapes)  # a sum of others, and autograd takes long
        if run is None or not self.backend.autograd or AUTOGRAD in self._given_up or mixed:
            return
        try:
            automatic = self._automatic(run, upstream)
        except RuntimeError as error:  # a pass that hides from autograd: no graph, or an overwritten array
            self._give_up(f"autograd does not follow the forward pass: {error}")
            return
        slack = rounding(self.judge.length)
        place = Place(problem, str(self.backend), AUTOGRAD, label)
        found = []
        for name, value in automatic.items():
            oracle, own, size = expected.get(name, (value, 0.0, np.abs(value)))
            allowed = slack * of_size(size)
            if not problem.portable and np.any(np.abs(value - oracle) > own + allowed):
                self._give_up(
                    f"autograd does not follow the forward pass: it finds another gradient of {name}"
                )
                return
            if name in gradients:
                found.append((name, gradients[name], value, allowed))
        scale = max(float(np.max(np.abs(value), initial=0.0)) for value in upstream.values())
        others = {name: value for name, (value, *_) in expected.items()}
        for name, hand, value, allowed in found:
            compared = self.judge.compare(place, name, hand, value, allowed, scale)
            yield replace(compared, others=others, outputs=self.outputs)

    def _give_up(self, note: str) -> None:
        self._given_up.add(AUTOGRAD)
        self.judge.notes.append(note)

    def _automatic(self, run: Callable[[Tensors], Tensors], upstream: Host) -> Host:
        weights = {name: self.backend.asarray(value) for name, value in upstream.items()}
        xp = self.backend.xp

        def scalar(tensors: Tensors) -> object:
            outputs = run(tensors)
            return sum(xp.sum(outputs[name] * weight) for name, weight in weights.items())

        found = self.backend.differentiate(scalar, self.tensors)
        return {name: self.backend.to_numpy(value) for name, value in found.items()}

    def _backward(self, upstream: Host) -> Tensors:
        _, backward = self.problem.forward(self.tensors)
        gradients = backward({name: self.backend.asarray(value) for name, value in upstream.items()})
        self._returned = set(gradients)
        return gradients

    def _unfit(self, name: str, gradient: Array) -> tuple[str, str] | None:
        """What is wrong with a gradient as an array, and what to change."""
        tensor = self.tensors.get(name)
        if tensor is None:
            known = ", ".join(self.tensors)
            return "a gradient of nothing", f"backward must return the gradients of {known}, and no other."
        if not self.backend.holds(gradient):
            return f"a gradient that is no array on {self.backend}", "Return arrays where the inputs are."
        found, expected = tuple(gradient.shape), tuple(tensor.shape)
        if found != expected:
            return f"gradient of shape {found}, expected {expected}", "A gradient has its tensor's shape."
        if gradient.dtype != tensor.dtype:
            return f"gradient of dtype {gradient.dtype}, expected {tensor.dtype}", "Keep the inputs' dtype."
        return None

    def _unit_directions(self, value: np.ndarray) -> np.ndarray:
        return np.eye(value.size).reshape(value.size, *value.shape)

    def _random_directions(self, value: np.ndarray) -> np.ndarray:
        # Where every entry is compared with NumPy's, too, one is enough.
        directions = draw(self.rng, (1 if self.small else DIRECTIONS, *value.shape))
        lengths = np.sqrt(np.sum(directions**2, axis=tuple(range(1, directions.ndim)), keepdims=True))
        unit: np.ndarray = directions / lengths
        return unit

    def _upstreams(self) -> Iterator[tuple[str, Host]]:
        """Random gradients for subsets of the outputs, and large ones for all of them."""
        names, most = list(self.shapes), len(self.shapes)
        counts = {1, most - 1, most} if most > ALL_SUBSETS else set(range(1, most + 1))
        for count in sorted(counts):
            for chosen in combinations(names, count):
                yield ", ".join(chosen), {name: draw(self.rng, self.shapes[name]) for name in chosen}
        large = {name: LARGE_UPSTREAM * draw(self.rng, shape) for name, shape in self.shapes.items()}
        yield f"{', '.join(names)}, {LARGE}", large


def _weighted(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Errors of weighted sums; what has no weight does no harm, however large its error."""
    if not errors.any():
        return np.zeros(len(errors))
    with np.errstate(invalid="ignore"):
        total: np.ndarray = np.where(weights > 0.0, errors * weights, 0.0).sum(axis=1)
    return total
