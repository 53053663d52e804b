"""What can be checked: a function of named tensors with a hand-written backward pass.

Trap inputs leave no error a place to hide: all sizes different, biases and initial states random and far from
zero, one single step, saturated gates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx import states
from rnnx.backends import get_backend
from rnnx.typing import Array, SequenceCell

Tensors = dict[str, Array]
Backward = Callable[[Tensors], Tensors]


@dataclass(frozen=True)
class Problem:
    """One function at one set of inputs.

    Attributes
    ----------
    name : str
        The cell, layer or loss.
    case : str
        What is special about these inputs.
    tensors : dict of str to float64 NumPy array
        Inputs, states and parameters to differentiate by.
    forward : callable
        From the tensors on a backend to the outputs by name and a backward function, which maps the gradients
        of a subset of the outputs to the gradients of all tensors.
    analytic : bool
        Whether the complex step applies.
    without_tape, by_steps : callable, optional
        Other ways to the same outputs: as for inference, and step by step. The second one writes to no
        array, so that a library's automatic differentiation can follow it.
    """

    name: str
    case: str
    tensors: dict[str, np.ndarray]
    forward: Callable[[Tensors], tuple[Tensors, Backward]]
    analytic: bool = True
    without_tape: Callable[[Tensors], Tensors] | None = None
    by_steps: Callable[[Tensors], Tensors] | None = None


def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw numbers in ±[0.2, 1]: none is near zero, where an error in a factor would not show."""
    numbers: np.ndarray = rng.uniform(0.2, 1.0, shape) * rng.choice([-1.0, 1.0], shape)
    return numbers


def cell_problem(
    cell: SequenceCell,
    name: str,
    case: str,
    steps: int,
    batch: int,
    *,
    saturated: bool = False,
    with_state: bool = True,
    seed: int = 0,
) -> Problem:
    """Sequence of a cell, by every parameter, x and every initial state; outputs are y and every final state.

    Parameters
    ----------
    cell : SequenceCell
    name, case : str
    steps, batch : int
        T and N.
    saturated : bool
        Whether to push every third pre-activation to about ±7 by its bias.
    with_state : bool
        Whether an initial state is given.
    seed : int
    """
    rng = np.random.default_rng(seed)
    # More inputs to a unit would saturate it, and 1 - tanh**2 would have no digits left to compare.
    scale = min(1.0, (8.0 / (cell.input_size + cell.output_size)) ** 0.5)
    weights = {
        key: draw(rng, shape) * (scale if len(shape) > 1 else 1.0) for key, shape in cell.param_shapes.items()
    }
    if saturated:
        for key, value in weights.items():
            if key.rpartition(".")[2] == "b":
                value[::3] = 7.0 * np.sign(value[::3])
    sizes = cell.state_sizes
    starts = {name: draw(rng, (batch, size)) for name, size in states.leaves(sizes)}
    finals = [name for name, _ in states.leaves(sizes, "final")]
    given = starts if with_state else {}
    tensors = weights | {"x": draw(rng, (steps, batch, cell.input_size))} | given

    def split(values: Tensors) -> tuple[Tensors, Array, Any]:
        state = states.from_leaves(sizes, (values[k] for k in starts)) if with_state else None
        return {k: values[k] for k in weights}, values["x"], state

    def outputs(y: Array, final: Any) -> Tensors:
        return {"y": y} | dict(states.leaves(final, "final"))

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        params, x, state = split(values)
        y, final, tape = cell.forward(params, x, state)

        def backward(upstream: Tensors) -> Tensors:
            ends = [upstream.get(name) for name in finals]
            dfinal = None if all(end is None for end in ends) else states.from_leaves(sizes, iter(ends))
            dx, dstate, grads = cell.backward(tape, upstream.get("y"), dfinal)
            return {**grads, "x": dx, **(dict(states.leaves(dstate)) if with_state else {})}

        return outputs(y, final), backward

    def without_tape(values: Tensors) -> Tensors:
        y, final, _ = cell.forward(*split(values), training=False)
        return outputs(y, final)

    def by_steps(values: Tensors) -> Tensors:
        params, x, state = split(values)
        rows = []
        for t in range(steps):
            row, state = cell.step(params, x[t, ...], state)
            rows.append(row)
        return outputs(get_backend().xp.stack(rows), state)

    return Problem(
        name, case, tensors, forward, cell.analytic, without_tape, by_steps if cell.causal else None
    )


def cell_problems(make: Callable[[int, int], SequenceCell], name: str) -> list[Problem]:
    """Small problems of a registered cell for a check of every element."""
    return [
        cell_problem(make(3, 5), name, "T=4, N=2", steps=4, batch=2),
        cell_problem(make(4, 3), name, "one step", steps=1, batch=2),
        cell_problem(make(1, 1), name, "one unit", steps=3, batch=1),
        cell_problem(make(2, 3), name, "saturated", steps=3, batch=1, saturated=True),
        cell_problem(make(2, 3), name, "no initial state", steps=3, batch=2, with_state=False),
    ]
