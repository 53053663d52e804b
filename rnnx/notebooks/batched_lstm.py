"""The LSTM of notebook 004, with its biases and weights in one matrix, and that notebook's two checks.

``WLSTM (1 + D + H, 4H)`` holds a row of biases, the rows of the input and the rows of the hidden state; its
gates are in the order i, f, o, g.
"""

from dataclasses import dataclass
from functools import cache as remember
from functools import partial

import numpy as np

from rnnx import backends, checks, init
from rnnx.backends import asarray, to_numpy
from rnnx.cells import LSTM as Cell
from rnnx.cells import LSTMState
from rnnx.errors import ShapeError
from rnnx.notebooks import cache as caches
from rnnx.notebooks.arguments import agree, rules
from rnnx.notebooks.cache import Cache
from rnnx.notebooks.gradient_check import eval_numerical_gradient_array
from rnnx.typing import Array

__all__ = ["LSTM", "Checked", "checkBatchGradient", "checkSequentialMatchesBatch", "judge"]

INPUT = rules(X="n b D")

DELTA = 1e-5
WARNING, NOT_OK = 1e-2, 1.0
"""Relative errors above which an element is a warning, and wrong."""

TOO_SMALL = 1e-7
"""Both gradients below it: a difference quotient has no digits left to compare."""


@dataclass(frozen=True)
class Checked:
    """One element of `checkBatchGradient`."""

    status: str
    name: str
    index: tuple[int, ...]
    value: float
    analytic: float
    numerical: float
    rel_error: float

    def __str__(self) -> str:
        mark = "!!!!! " if self.status == "NOTOK" else ""
        return (
            f"{mark}{self.status} checking param {self.name} index {self.index} (val = {self.value:+8f}), "
            f"analytic = {self.analytic:+8f}, numerical = {self.numerical:+8f}, "
            f"relative error = {self.rel_error:+8f}"
        )


@remember
def _cell(D: int, H: int) -> Cell:
    return Cell(D, H, gate_order="ifog")


class LSTM:
    """An LSTM over sequences, time first, on one matrix."""

    @staticmethod
    def init(
        input_size: int,
        hidden_size: int,
        fancy_forget_bias_init: float = 3,
        *,
        seed: int = 0,
        dtype: str = "float64",
    ) -> Array:
        """Draw WLSTM: normal weights of deviation 1 / sqrt(D + H), biases of zero.

        Parameters
        ----------
        input_size, hidden_size : int
            D and H.
        fancy_forget_bias_init : float
            Biases of the forget gates; a positive one keeps them open at the start.
        seed : int
        dtype : str

        Returns
        -------
        (1 + D + H, 4H) array
            On the default backend; of one seed, the same numbers on each.
        """
        D = checks.size("LSTM.init", "input_size", input_size)
        H = checks.size("LSTM.init", "hidden_size", hidden_size)
        matrix = init.generator(seed, "WLSTM").standard_normal((1 + D + H, 4 * H)) / np.sqrt(D + H)
        matrix[0] = 0.0
        matrix[0, H : 2 * H] = fancy_forget_bias_init
        return asarray(matrix, dtype)

    @staticmethod
    def forward(
        X: Array, WLSTM: Array, c0: Array | None = None, h0: Array | None = None
    ) -> tuple[Array, Array, Array, Cache]:
        """Run the sequences.

        Parameters
        ----------
        X : (n, b, D) array
            n steps of b sequences.
        WLSTM : (1 + D + H, 4H) array
        c0, h0 : (b, H) array, optional
            Zeros by default.

        Returns
        -------
        Hout : (n, b, H) array
        cn, hn : (b, H) array
            States after the last step; those before the first one if there is none.
        cache : Cache

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError
        """
        where = "LSTM.forward"
        given = {name: a for name, a in {"c0": c0, "h0": h0}.items() if a is not None}
        backends.of({"X": X, "WLSTM": WLSTM}, where)
        known = {"H": _hidden_size(where, WLSTM, X)}
        backend, sizes = agree(
            where, INPUT + tuple((name, "b H") for name in given), (X, *given.values()), known
        )
        D, H = sizes["D"], sizes["H"]
        zeros = backend.zeros((sizes["b"], H), X.dtype)
        state = LSTMState(zeros if h0 is None else h0, zeros if c0 is None else c0)
        params = {"b": WLSTM[0, :], "Wx": WLSTM[1 : 1 + D, :], "Wh": WLSTM[1 + D :, :]}
        Hout, final, cache = caches.forward(where, backend, _cell(D, H), params, X, state)
        return caches.own(backend, Hout), final.c, final.h, cache

    @staticmethod
    def backward(
        dHout_in: Array, cache: Cache, dcn: Array | None = None, dhn: Array | None = None
    ) -> tuple[Array, Array, Array, Array]:
        """Backpropagate through the sequences.

        Parameters
        ----------
        dHout_in : (n, b, H) array
            Gradient of Hout.
        cache : Cache
            From `forward`.
        dcn, dhn : (b, H) array, optional
            Gradients of the states after the last step.

        Returns
        -------
        dX : (n, b, D) array
        dWLSTM : (1 + D + H, 4H) array
        dc0, dh0 : (b, H) array

        Raises
        ------
        OptionError, ShapeError, DtypeError, MixedArraysError
        """
        where = "LSTM.backward"
        cache = caches.of(where, cache, "LSTM.forward")
        n, b, _ = cache.x.shape
        H, xp = cache.cell.output_size, cache.backend.xp
        cache.check(where, (n, b, H), dHout_in=dHout_in)
        last = {name: a for name, a in {"dcn": dcn, "dhn": dhn}.items() if a is not None}
        cache.check(where, (b, H), **last)
        dX, before, grads = cache.backward(dHout_in, LSTMState(dhn, dcn))
        return dX, xp.concat([grads["b"][None, :], grads["Wx"], grads["Wh"]]), before.c, before.h


def _hidden_size(where: str, WLSTM: Array, X: Array) -> int:
    """H, from the columns of WLSTM; its rows fit."""
    agree(where, INPUT, (X,))
    found, D = tuple(WLSTM.shape), X.shape[-1]
    H, rest = divmod(found[-1], 4) if found else (0, 0)
    if len(found) != 2 or rest or found[0] != 1 + D + H:
        raise ShapeError(
            f"{where}: WLSTM has shape {found}; expected (1 + D + H, 4*H) with D = {D} "
            f"of X {tuple(X.shape)}.",
            "A row of biases, then the rows of the input, then those of the hidden state.",
        )
    return H


def checkSequentialMatchesBatch(seed: int = 0) -> dict[str, bool]:
    """Compare one pass over a sequence with one pass for each of its steps, forward and backward.

    Returns
    -------
    dict of str to bool
        Whether Hout and each gradient agree, by name; those of the gradients are printed.
    """
    X, WLSTM, c0, h0, dH = _example(seed)
    c, h = c0, h0
    steps: list[np.ndarray] = []
    tapes: list[Cache] = []
    for t in range(X.shape[0]):
        _, c, h, cache = LSTM.forward(X[t : t + 1, ...], WLSTM, c, h)
        tapes.append(cache)
        steps.append(to_numpy(h))
    Hout, _, _, cache = LSTM.forward(X, WLSTM, c0, h0)
    whole = dict(zip(("dX", "dWLSTM", "dc0", "dh0"), LSTM.backward(dH, cache), strict=True))

    dX: list[np.ndarray] = []
    dWLSTM, dc, dh = np.zeros(WLSTM.shape), None, None
    for t in reversed(range(X.shape[0])):
        dx, dW, dc, dh = LSTM.backward(dH[t : t + 1, ...], tapes[t], dc, dh)
        dX.insert(0, to_numpy(dx)[0])
        dWLSTM += to_numpy(dW)
    stepped = {"dX": np.stack(dX), "dWLSTM": dWLSTM, "dc0": to_numpy(dc), "dh0": to_numpy(dh)}

    print("Making sure batched version agrees with sequential version: (should all be True)")
    same = {name: bool(np.allclose(to_numpy(value), stepped[name])) for name, value in whole.items()}
    print(*same.values(), sep="\n")
    return {"Hout": bool(np.allclose(to_numpy(Hout), np.stack(steps)))} | same


def checkBatchGradient(seed: int = 0) -> list[Checked]:
    """Compare every element of every gradient with a central difference, and print a line for each.

    Returns
    -------
    list of Checked
        What was printed. Every status should be ``OK``.
    """
    X, WLSTM, c0, h0, dH = _example(seed)
    _, _, _, cache = LSTM.forward(X, WLSTM, c0, h0)
    arrays = {"X": X, "WLSTM": WLSTM, "c0": c0, "h0": h0}
    rows = []
    for (name, array), gradient in zip(arrays.items(), LSTM.backward(dH, cache), strict=True):
        host, analytic = to_numpy(array), to_numpy(gradient)
        moved = partial(_outputs, arrays, name)
        numerical = to_numpy(eval_numerical_gradient_array(moved, array, dH, DELTA))
        for index in np.ndindex(host.shape):
            pair = float(analytic[index]), float(numerical[index])
            status, error = judge(*pair)
            rows.append(Checked(status, name, index, float(host[index]), *pair, error))
            print(rows[-1])
    return rows


def judge(analytic: float, numerical: float) -> tuple[str, float]:
    """Status word and relative error of one element.

    Returns
    -------
    status : {"OK", "VAL SMALL WARNING", "WARNING", "NOTOK"}
    rel_error : float
        ``|a - n| / |a + n|``, infinite where they are opposite; 0 where there is nothing to compare.
    """
    if analytic == 0.0 and numerical == 0.0:
        return "OK", 0.0
    if abs(analytic) < TOO_SMALL and abs(numerical) < TOO_SMALL:
        return "VAL SMALL WARNING", 0.0
    total = abs(analytic + numerical)
    error = abs(analytic - numerical) / total if total else np.inf
    # The comparisons fail for NaN, which is wrong.
    return ("OK" if error <= WARNING else "WARNING" if error <= NOT_OK else "NOTOK"), error


def _example(seed: int) -> tuple[Array, Array, Array, Array, Array]:
    """X, WLSTM, c0, h0 and the gradient of Hout, in the notebook's sizes, on the default backend."""
    n, b, D, H = 5, 3, 10, 4
    rng = init.generator(seed, "checks")
    X, h0, c0, dH = (rng.standard_normal(shape) for shape in ((n, b, D), (b, H), (b, H), (n, b, H)))
    return asarray(X), LSTM.init(D, H, seed=seed), asarray(c0), asarray(h0), asarray(dH)


def _outputs(arrays: dict[str, Array], name: str, moved: Array) -> Array:
    return LSTM.forward(**arrays | {name: moved})[0]
