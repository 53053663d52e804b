"""What can be checked: a function of named tensors with a hand-written backward pass.

Trap inputs leave no error a place to hide: all sizes different, biases and initial states random and far from
zero, one single step, saturated gates.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from rnnx import states
from rnnx.backends import get_backend
from rnnx.errors import FunctionError
from rnnx.typing import Array, SequenceCell

Tensors = dict[str, Array]
Backward = Callable[[Tensors], Tensors]

BIASES = ("b", "bf", "br")
"""Parameters that are added to pre-activations."""


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
    analytic : bool or None
        Whether the complex step applies; None where that is to be found out.
    without_tape, by_steps : callable, optional
        Other ways to the same outputs: as for inference, and step by step. The second one writes to no
        array, so that a library's automatic differentiation can follow it.
    gates : mapping of str to tuple of str
        Names of the blocks that the last axis of a tensor consists of.
    over_time : frozenset of str
        Tensors and outputs whose first axis is time.
    padding : mapping of str to bool array
        Where sequences are over: these entries of outputs and gradients are exactly zero.
    saturated : bool
        Whether the gradients have few digits in a low precision.
    portable : bool
        Whether the function runs on every backend.
    """

    name: str
    case: str
    tensors: dict[str, np.ndarray]
    forward: Callable[[Tensors], tuple[Tensors, Backward]]
    analytic: bool | None = True
    without_tape: Callable[[Tensors], Tensors] | None = None
    by_steps: Callable[[Tensors], Tensors] | None = None
    gates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    over_time: frozenset[str] = frozenset()
    padding: Mapping[str, np.ndarray] = field(default_factory=dict)
    saturated: bool = False
    portable: bool = True

    @property
    def entries(self) -> int:
        """Entries of all tensors together."""
        return sum(value.size for value in self.tensors.values())


def parts(result: Any, function: str, *names: str, hint: str = "") -> tuple[Any, ...]:
    """What a function returns, which must be a tuple of so many."""
    if isinstance(result, tuple) and len(result) == len(names):
        return result
    found = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
    raise FunctionError(f"gradcheck: {function} returns {found}; expected ({', '.join(names)}).", hint)


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
    lengths: Sequence[int] | None = None,
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
    lengths : sequence of int, optional
        Length of each sequence; the padding holds numbers, which must not matter.
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
            if key.rpartition(".")[2] in BIASES:
                value[::3] = 7.0 * np.sign(value[::3])
    sizes = cell.state_sizes
    starts = {name: draw(rng, (batch, size)) for name, size in states.leaves(sizes)}
    finals = [name for name, _ in states.leaves(sizes, "final")]
    given = starts if with_state else {}
    tensors = weights | {"x": draw(rng, (steps, batch, cell.input_size))} | given
    ragged: dict[str, Any] = {} if lengths is None else {"lengths": list(lengths)}
    alive = np.arange(steps)[:, None] < np.asarray(lengths or [steps] * batch)

    def split(values: Tensors) -> tuple[Tensors, Array, Any]:
        state = states.from_leaves(sizes, (values[k] for k in starts)) if with_state else None
        return {k: values[k] for k in weights}, values["x"], state

    def outputs(y: Array, final: Any) -> Tensors:
        return {"y": y} | dict(states.leaves(final, "final"))

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        params, x, state = split(values)
        result = cell.forward(params, x, state, **ragged)
        y, final, tape = parts(result, f"{name}.forward", "y", "final state", "tape")
        named = outputs(y, final)
        if named.keys() != {"y", *finals}:
            raise FunctionError(
                f"gradcheck: {name}.forward returns a {type(final).__name__} as final state; expected one "
                f"with {', '.join(finals).replace('final.', '')}."
            )

        def backward(upstream: Tensors) -> Tensors:
            ends = [upstream.get(name) for name in finals]
            dfinal = None if all(end is None for end in ends) else states.from_leaves(sizes, iter(ends))
            found = cell.backward(tape, upstream.get("y"), dfinal)
            dx, dstate, grads = parts(found, f"{name}.backward", "dx", "dstate", "grads")
            if not isinstance(grads, Mapping):
                raise FunctionError(
                    f"gradcheck: {name}.backward returns a {type(grads).__name__} as grads; expected a dict.",
                    "Its keys are the names of the parameters.",
                )
            return {**grads, "x": dx, **(dict(states.leaves(dstate)) if with_state else {})}

        return named, backward

    def without_tape(values: Tensors) -> Tensors:
        y, final, _ = cell.forward(*split(values), **ragged, training=False)
        return outputs(y, final)

    def by_steps(values: Tensors) -> Tensors:
        params, x, state = split(values)
        backend, rows = get_backend(), []
        for t in range(steps):
            row, after = cell.step(params, x[t, ...], state)
            if not alive[t].all():
                on, off = (backend.asarray(mask[:, None], x.dtype) for mask in (alive[t], ~alive[t]))
                row, after = row * on, states.transform(partial(_blend, on, off), sizes, after, state)
            rows.append(row)
            state = after
        return outputs(backend.xp.stack(rows), state)

    return Problem(
        name,
        case,
        tensors,
        forward,
        cell.analytic,
        without_tape,
        by_steps if cell.causal else None,
        gates=gate_names(cell),
        over_time=frozenset({"x", "y"}),
        padding=dict.fromkeys(("x", "y"), ~alive) if not alive.all() else {},
        saturated=saturated,
    )


def _blend(on: Array, off: Array, size: int, after: Array, before: Array) -> Array:
    """The next state of sequences that go on, and the last one of those that are over."""
    return after * on + before * off


def gate_names(cell: Any) -> dict[str, tuple[str, ...]]:
    """Names of the gate blocks of every parameter that has them, of a cell or of one made of cells."""
    found: dict[str, tuple[str, ...]] = {}
    for prefix, member in getattr(cell, "members", {}).items():
        found |= {f"{prefix}.{name}": gates for name, gates in gate_names(member).items()}
    if found or not hasattr(cell, "gate_blocks"):
        return found
    order = tuple(getattr(cell, "order", ()))
    for name in cell.param_shapes:
        blocks = cell.gate_blocks(name)
        if blocks > 1:
            found[name] = order if len(order) == blocks else tuple(map(str, range(blocks)))
    return found


def cell_problems(make: Callable[[int, int], SequenceCell], name: str) -> list[Problem]:
    """Small problems of a registered cell for a check of every element."""
    return [
        cell_problem(make(3, 5), name, "T=4, N=2", steps=4, batch=2),
        cell_problem(make(4, 3), name, "one step", steps=1, batch=1),
        cell_problem(make(1, 1), name, "one unit", steps=3, batch=1),
        cell_problem(make(2, 3), name, "saturated", steps=2, batch=1, saturated=True),
        cell_problem(make(2, 3), name, "no initial state", steps=2, batch=1, with_state=False),
        cell_problem(make(3, 2), name, "lengths 3, 4, 1", steps=4, batch=3, lengths=(3, 4, 1)),
    ]


REQUIRED = (
    *("input_size", "output_size", "param_shapes", "state_sizes", "analytic", "causal"),
    *("forward", "backward", "step"),
)
"""What every problem of a cell uses of it."""


def lacking(cell: Any) -> list[str]:
    """Names of what it takes to be a cell that an object has not."""
    return [name for name in REQUIRED if isinstance(cell, type) or not hasattr(cell, name)]


def problems_of(cell: SequenceCell, name: str, steps: int, batch: int, seed: int = 0) -> list[Problem]:
    """Problems of one cell of any size; its forward pass may know of no lengths."""
    problems = [
        cell_problem(cell, name, f"T={steps}, N={batch}", steps, batch, seed=seed),
        cell_problem(cell, name, "one step", 1, 1, seed=seed),
        cell_problem(cell, name, "saturated", steps, batch, saturated=True, seed=seed),
        cell_problem(cell, name, "no initial state", steps, batch, with_state=False, seed=seed),
    ]
    if steps > 1 and "lengths" in inspect.signature(cell.forward).parameters:
        lengths = [1 + (2 * n + 1) % steps for n in range(max(batch, 2))]
        listed = ", ".join(map(str, lengths))
        case = f"lengths {listed}" if len(lengths) < 5 else "ragged lengths"
        problems.append(cell_problem(cell, name, case, steps, len(lengths), lengths=lengths, seed=seed))
    return problems
