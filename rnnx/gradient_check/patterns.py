"""Patterns in a wrong gradient that tell of a cause: a finder gives the sentences that fit one comparison.

A sentence is believed where it fits every comparison that failed (`rnnx.gradient_check.hints`).
"""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from rnnx.gradient_check.comparison import Comparison
from rnnx.gradient_check.places import blocks

CLOSE = 1e-6
"""Relative difference of what is taken to be equal: far above rounding, far below a mistake."""

SIGMOID = 4.0
"""A sigmoid's derivative s (1 - s) is at most a quarter."""

Finder = Callable[[Comparison], Iterator[str]]


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same up to rounding, and not all zero."""
    scale = float(np.max(np.abs(b), initial=0.0))
    return a.shape == b.shape and scale > 0.0 and bool(np.all(np.abs(a - b) <= CLOSE * scale))


def not_finite(found: Comparison) -> Iterator[str]:
    """NaN or infinity."""
    if not np.all(np.isfinite(found.hand)):
        yield "It is not finite: a division by zero, an overflow, or memory that was never written."


def zero(found: Comparison) -> Iterator[str]:
    """Nothing where there should be something."""
    hand = found.hand[found.wrong]
    if hand.size and not hand.any():
        yield "It is zero where it is wrong: a term is dropped, or the result was never stored."


def constant_ratio(found: Comparison) -> Iterator[str]:
    """The same factor everywhere."""
    hand, oracle = found.hand[found.wrong], found.oracle[found.wrong]
    large = np.abs(oracle) > 1e-3 * np.max(np.abs(oracle), initial=0.0)
    if not large.any():
        return
    ratios = hand[large] / oracle[large]
    ratio = float(np.median(ratios))
    within = max(CLOSE, 10.0 * found.row.tolerance)
    if not np.isfinite(ratio) or ratio == 0.0 or np.any(np.abs(ratios - ratio) > within * abs(ratio)):
        return
    yield from (sentence for value, sentence in _factors(found) if abs(ratio / value - 1.0) < within)
    if len(ratios) > 1 and f"{ratio:.4g}" != "1":
        yield f"It is {ratio:.4g} times the right value where it is wrong: a constant factor."


def _factors(found: Comparison) -> Iterator[tuple[float, str]]:
    """Ratios that have a name."""
    yield 2.0, "It is twice the right value: a term counted twice, or a factor 0.5 forgotten."
    yield 0.5, "It is half the right value: a term counted once instead of twice, or a factor 2 forgotten."
    yield -1.0, "Its sign is wrong."
    problem = found.place.problem
    for name in problem.over_time & problem.tensors.keys():
        T, N = (*problem.tensors[name].shape, 1)[:2]
        both = "time and batch"
        for count, axes in ((T, "time"), (N, "the batch"), (T * N, both)):
            if count > 1:
                yield 1.0 / count, f"It is averaged over {axes} instead of summed."
                yield float(count), f"It is multiplied by the length of {axes}: summed twice over it?"
    if not problem.over_time:
        lengths = {n: (name, axis) for name, v in problem.tensors.items() for axis, n in enumerate(v.shape)}
        for count, (name, axis) in lengths.items():
            if count > 2:
                what = f"{count}, the length of axis {axis} of {name}"
                yield 1.0 / count, f"It is too small by {what}: averaged instead of summed?"
                yield float(count), f"It is too large by {what}: summed instead of averaged?"


def transposed(found: Comparison) -> Iterator[str]:
    """A square matrix, the wrong way round."""
    if found.hand.ndim == 2 and close(found.hand, found.oracle.T):
        yield "It is transposed."


def gates(found: Comparison) -> Iterator[str]:
    """Blocks that hold another gate's gradient."""
    tensor, problem = found.row.tensor, found.place.problem
    hand, oracle = blocks(problem, tensor, found.hand), blocks(problem, tensor, found.oracle)
    taken = {
        gate: other
        for gate, other in permutations(hand, 2)
        if close(hand[gate], oracle[other]) and not close(hand[gate], oracle[gate])
    }
    for gate, other in taken.items():
        if taken.get(other) == gate:
            first, second = sorted((gate, other), key=list(hand).index)
            yield f"The gates {first} and {second} are swapped."
        else:
            yield f"Gate {gate} has the gradient of gate {other}."


def other_tensor(found: Comparison) -> Iterator[str]:
    """The right gradient of something else."""
    for name, value in found.others.items():
        if name != found.row.tensor and close(found.hand, value) and not close(found.hand, found.oracle):
            yield f"It is the gradient of {name}."


def from_the_tensor(found: Comparison) -> Iterator[str]:
    """The parameter's value is in it."""
    value = found.place.problem.tensors.get(found.row.tensor)
    if value is not None and value.shape == found.hand.shape:
        rest = found.hand - found.oracle
        if close(rest, value):
            yield "The tensor itself is added to it: start the gradient with zeros, not with the tensor."
        elif close(found.hand, value):
            yield "It is the tensor itself."


def shifted(found: Comparison) -> Iterator[str]:
    """Right values, at the wrong time steps."""
    if found.row.tensor not in found.place.problem.over_time or len(found.hand) < 3:
        return
    hand, oracle = found.hand, found.oracle
    if close(hand[:-1], oracle[1:]) or close(hand[1:], oracle[:-1]):
        yield "It is shifted by one time step."
    elif close(hand, oracle[::-1]):
        yield "It runs backwards in time."


def last_step(found: Comparison) -> Iterator[str]:
    """No time step gets anything from the steps after it."""
    wrong: np.ndarray = found.wrong
    if found.row.tensor in found.place.problem.over_time and len(wrong) > 1:
        steps = np.array([step.any() for step in wrong])
        if not steps[-1] and steps[:-1].all():
            yield (
                "It is right at the last time step only: what a step hands to the one before it (the carry) "
                "is dropped or wrong."
            )


def wrong_factor(found: Comparison) -> Iterator[str]:
    """One time step: a weight's gradient is a product ``R' d``; another array may stand in the place of R."""
    for right, d in _factors_of(found):
        R = _rows(found)[right]
        for name, U in _rows(found).items():
            if U.shape == R.shape and close(U.T @ d, found.hand):
                yield f"{name} is taken for {right}."


def derivative_forgotten(found: Comparison) -> Iterator[str]:
    """Too large everywhere, as without a factor that is never large."""
    hand, oracle, wrong = found.hand, found.oracle, found.wrong
    for right, d in _factors_of(found):
        # Of several sequences, the sum may have cancelled; d has one row for each.
        R, oracle, wrong = _rows(found)[right], d, np.broadcast_to(wrong.any(axis=0), d.shape)
        hand = np.linalg.lstsq(R.T, found.hand)[0]
        break
    hand, oracle = hand[wrong], oracle[wrong]
    if hand.size > 1 and np.all(oracle != 0.0):
        ratios = hand / oracle
        if np.all(ratios > SIGMOID * (1.0 - CLOSE)):
            yield "It is more than 4 times too large: is a sigmoid's derivative s (1 - s) forgotten?"
        elif np.all(ratios > 1.0):
            yield "It is too large everywhere: is a derivative such as 1 - tanh**2 or s (1 - s) forgotten?"


def _rows(found: Comparison) -> dict[str, np.ndarray]:
    """Arrays that could be the first factor of a weight's gradient, one row a sequence."""
    size, arrays = len(found.hand), {**found.place.problem.tensors, **found.outputs}
    return {
        name: value.reshape(-1, size)
        for name, value in sorted(arrays.items(), key=lambda pair: pair[1].ndim)  # a state before a sequence
        if value.ndim > 1 and value.shape[-1] == size and name != found.row.tensor
    }


def _factors_of(found: Comparison) -> Iterator[tuple[str, np.ndarray]]:
    """Names of the arrays R for which the right gradient is ``R' d``, and d."""
    if found.hand.ndim != 2 or found.hand.shape != found.wrong.shape:
        return
    for name, R in _rows(found).items():
        if len(R) <= len(found.hand):  # with more sequences than rows, d could be anything
            d = np.linalg.lstsq(R.T, found.oracle)[0]
            if close(R.T @ d, found.oracle):
                yield name, d


FINDERS: tuple[Finder, ...] = (
    not_finite,
    zero,
    transposed,
    gates,
    other_tensor,
    from_the_tensor,
    shifted,
    wrong_factor,
    constant_ratio,
    derivative_forgotten,
    last_step,
)
"""In the order in which they are believed."""
