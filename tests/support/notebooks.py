"""What tests of the notebooks' functions share: one forward and one backward function, and three oracles."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rnnx.gradient_check.problem import draw
from rnnx.notebooks.gradient_check import eval_numerical_gradient_array, rel_error
from support.complexstep import complex_step

CENTRAL, COMPLEX = 1e-8, 1e-12


class Pair(NamedTuple):
    """A forward function, its backward function, and the shapes of the arguments in their order.

    ``outputs, ..., cache = forward(*arguments)``, and ``gradients = backward(*upstream, cache)``, one for
    each argument but those in `fixed`, in the order of `order` if that is given.
    """

    forward: Callable
    backward: Callable
    shapes: dict
    order: tuple = ()
    fixed: tuple = ()

    @property
    def names(self):
        return self.order or tuple(self.shapes)

    def draw(self, rng):
        return {name: draw(rng, shape) for name, shape in self.shapes.items()}

    def outputs(self, arguments):
        *outputs, _ = self.forward(*arguments.values(), *self.fixed)
        return outputs

    def run(self, arguments, make_upstream, times=1):
        """Return the outputs, the upstream gradients, and the gradients by name of each backward pass."""
        *outputs, cache = self.forward(*arguments.values(), *self.fixed)
        upstream = [make_upstream(k, output) for k, output in enumerate(outputs)]
        found = []
        for _ in range(times):
            gradients = self.backward(*upstream, cache)
            found.append(dict(zip(self.names, gradients, strict=True)))
        return outputs, upstream, found


def check_gradients(pair, rng):
    """Every element of every gradient, beside central differences and the complex step, on NumPy."""
    arguments = pair.draw(rng)
    _, upstream, (found,) = pair.run(arguments, lambda k, output: draw(rng, output.shape))
    assert found.keys() == arguments.keys()

    def scalar(point):
        return sum(np.sum(y * dy) for y, dy in zip(pair.outputs(point), upstream, strict=True))

    exact = complex_step(scalar, arguments)
    for name, gradient in found.items():
        assert gradient.shape == arguments[name].shape, name
        assert np.all(gradient != 0.0), name
        assert rel_error(exact[name], gradient) <= COMPLEX, name
        assert rel_error(central(pair, arguments, name, upstream), gradient) <= CENTRAL, name


def central(pair, arguments, name, upstream, step=1e-3):
    """Central differences at two steps, with one extrapolation."""

    def quotient(k, h):
        def output(moved):
            return pair.outputs(arguments | {name: moved})[k]

        return eval_numerical_gradient_array(output, arguments[name], upstream[k], h)

    coarse, fine = (sum(quotient(k, h) for k in range(len(upstream))) for h in (step, 0.5 * step))
    return (4.0 * fine - coarse) / 3.0


def check_backend(pair, rng, backend, dtype, tolerance):
    """Outputs and gradients are arrays of that backend and equal NumPy's; a cache serves twice."""
    host = pair.draw(rng)
    weights = [draw(rng, output.shape) for output in pair.outputs(host)]
    expected, _, (gradients,) = pair.run(host, lambda k, _: weights[k])

    moved = {name: backend.asarray(value, dtype) for name, value in host.items()}
    outputs, _, both = pair.run(moved, lambda k, _: backend.asarray(weights[k], dtype), times=2)
    found = [(f"output {k}", output, expected[k]) for k, output in enumerate(outputs)]
    for again in both:
        found += [(name, value, gradients[name]) for name, value in again.items()]
    for name, value, wanted in found:
        assert backend.holds(value), name
        assert value.dtype == backend.dtype(dtype), name
        assert tuple(value.shape) == wanted.shape, name
        allowed = tolerance * max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(backend.to_numpy(value), wanted, rtol=0, atol=allowed, err_msg=name)
    for name, value in host.items():
        np.testing.assert_array_equal(backend.to_numpy(moved[name]), value.astype(dtype), err_msg=name)
