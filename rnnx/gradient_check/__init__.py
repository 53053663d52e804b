"""The gradient check: every hand-written gradient against derivatives found in another way."""

from rnnx import checks
from rnnx.backends import Backend, get_backend, resolve
from rnnx.errors import OptionError
from rnnx.gradient_check.check import check
from rnnx.gradient_check.problem import cell_problem
from rnnx.gradient_check.report import GradientReport, GradientRow
from rnnx.typing import SequenceCell


def gradcheck(
    cell: SequenceCell, *, steps: int = 4, batch: int = 2, backend: str | Backend | None = None, seed: int = 0
) -> GradientReport:
    """Check the hand-written gradients of a cell of any size.

    Every parameter, the input and every initial state, element by element and with every combination of
    upstream gradients, against the complex step where the cell's formulas and the backend allow it, and
    against central differences elsewhere; along random directions where the tensors have more than 3,000
    entries; on torch also against autograd. Biases and states are random and far from zero. Besides: one
    step, saturated units, no initial state, very large upstream gradients (a backward pass is linear in
    them), and whether inference and the loop of single steps give what the forward pass gives.

    Parameters
    ----------
    cell : SequenceCell
    steps, batch : int
        T and N.
    backend : str or Backend, optional
        The default backend if not given; it needs float64.
    seed : int
        Of the inputs and upstream gradients.

    Returns
    -------
    GradientReport
        ``passed``, ``rows``, ``to_json()``.

    Examples
    --------
    >>> import rnnx
    >>> rnnx.gradcheck(rnnx.LSTM(3, 5)).passed
    True
    """
    if isinstance(cell, type) or not hasattr(cell, "param_shapes"):
        raise OptionError(f"gradcheck: cell is {cell!r}; expected a cell, such as rnnx.LSTM(3, 5).")
    for size, value in {"steps": steps, "batch": batch}.items():
        checks.size("gradcheck", size, value)
    where = get_backend() if backend is None else resolve(backend)
    name = type(cell).__name__
    problems = [
        cell_problem(cell, name, f"T={steps}, N={batch}", steps, batch, seed=seed),
        cell_problem(cell, name, "one step", 1, batch, seed=seed),
        cell_problem(cell, name, "saturated", steps, batch, saturated=True, seed=seed),
        cell_problem(cell, name, "no initial state", steps, batch, with_state=False, seed=seed),
    ]
    return check(problems, where, seed)


__all__ = ["GradientReport", "GradientRow", "gradcheck"]
