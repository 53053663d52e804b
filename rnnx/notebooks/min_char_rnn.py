"""The character model of notebook 004: one-hot characters, an RNN, and logits of the next character.

    h[t] = tanh(Wxh x[t] + Whh h[t-1] + bh)
    loss = sum over t of -log softmax(Why h[t] + by)[target[t]]

Columns, as the notebook has them: the parameters are ``Wxh (H, V)``, ``Whh (H, H)``, ``Why (V, H)``,
``bh (H, 1)``, ``by (V, 1)``, a hidden state is (H, 1). A. Karpathy, min-char-rnn.py (2015).
"""

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from rnnx import backends, checks, init
from rnnx.backends import asarray, to_numpy
from rnnx.cells import RNN, RNNState
from rnnx.errors import OptionError
from rnnx.layers import Linear
from rnnx.losses import softmax_cross_entropy
from rnnx.notebooks.arguments import agree, rules
from rnnx.optim import Adagrad, clip_by_value
from rnnx.typing import Array, Params

__all__ = ["Checked", "MinCharRNN", "loss_and_gradients"]

LIMIT = 5.0
"""Elements of the gradients are clipped to ±LIMIT."""

ADAGRAD_EPS = 1e-4
"""The notebook divides by sqrt(s + 1e-8), `rnnx.Adagrad` by sqrt(s) + eps: equal for s = 0."""

CHECKS, DELTA = 10, 1e-5

RULES = rules(Wxh="H V", Whh="H H", Why="V H", bh="H 1", by="V 1", hprev="H 1")


@dataclass(frozen=True)
class Checked:
    """One element of `MinCharRNN.gradCheck`."""

    name: str
    index: tuple[int, ...]
    numerical: float
    analytic: float
    rel_error: float


def loss_and_gradients(
    params: Params, inputs: Any, targets: Any, hprev: Array
) -> tuple[Array, dict[str, Array], Array]:
    """Loss and gradients of one window, not clipped.

    Parameters
    ----------
    params : mapping of str to array
        Wxh, Whh, Why, bh, by.
    inputs, targets : (T,) integers on the host
        Characters, and those that follow them, each in 0 .. V - 1.
    hprev : (H, 1) array
        Hidden state before the first character.

    Returns
    -------
    loss : () array
        In nats, summed over the window.
    grads : dict of str to array
        By the names of the parameters.
    hlast : (H, 1) array

    Raises
    ------
    ShapeError, DtypeError, MixedArraysError, OptionError
    """
    where = "lossFun"
    weights = (params[name] for name, _ in RULES[:-1])
    backend, sizes = agree(where, RULES, (*weights, hprev))
    H, V, xp = sizes["H"], sizes["V"], backend.xp
    ids = checks.ids(where, "inputs", checks.on_host(where, "inputs", inputs, "integers"), V)
    checks.shape(where, "inputs", ids, ("T",), "One window of characters.")
    one_hot = xp.eye(V, dtype=hprev.dtype, device=backend.device)
    x = xp.take(one_hot, backend.asarray(ids), axis=0)[:, None, :]

    rnn, head = RNN(V, H), Linear(H, V)
    recurrent = {"Wx": params["Wxh"].T, "Wh": params["Whh"].T, "b": params["bh"][:, 0]}
    h, last, tape = rnn.forward(recurrent, x, RNNState(hprev.T))
    logits, head_tape = head.forward({"W": params["Why"].T, "b": params["by"][:, 0]}, h[:, 0, :])
    loss, dlogits = softmax_cross_entropy(logits, targets, reduction="sum")
    dh, head_grads = head.backward(head_tape, dlogits)
    _, _, grads = rnn.backward(tape, dh[:, None, :])
    gradients = {
        "Wxh": grads["Wx"].T,
        "Whh": grads["Wh"].T,
        "Why": head_grads["W"].T,
        "bh": grads["b"][:, None],
        "by": head_grads["b"][:, None],
    }
    return loss, gradients, last.h.T


class MinCharRNN:
    """The model with its parameters, and where its training stands.

    Parameters
    ----------
    vocab_size : int
        V.
    hidden_size : int
        H.
    seed : int
        Of the parameters (normal, of deviation 0.01; biases zero) and of all random choices. The same
        numbers on every backend.
    dtype : str

    Attributes
    ----------
    Wxh, Whh, Why, bh, by : array
        The parameters, on what was the default backend.
    n : int
        Windows that `train` has seen.
    smooth_loss : () array or float
        Running mean of the loss of a window, in nats; NaN before the first one.
    hprev : (H, 1) array
        Hidden state after the last window of `train`.
    """

    def __init__(
        self, vocab_size: int, hidden_size: int = 100, *, seed: int = 0, dtype: str = "float64"
    ) -> None:
        V = checks.size("MinCharRNN", "vocab_size", vocab_size)
        H = checks.size("MinCharRNN", "hidden_size", hidden_size)
        normal = {
            name: 0.01 * init.generator(seed, name).standard_normal(shape)
            for name, shape in {"Wxh": (H, V), "Whh": (H, H), "Why": (V, H)}.items()
        }
        self.Wxh, self.Whh, self.Why = (asarray(value, dtype) for value in normal.values())
        self.bh, self.by = (asarray(np.zeros((size, 1)), dtype) for size in (H, V))
        self.vocab_size, self.hidden_size = V, H
        self.n, self._p, self._memory = 0, 0, Adagrad(0.1, ADAGRAD_EPS).init(self.params)
        self.smooth_loss: Any = float("nan")
        self.hprev = self._start = asarray(np.zeros((H, 1)), dtype)
        self._rng = init.generator(seed, "choices")

    @property
    def params(self) -> dict[str, Array]:
        """The parameters by name."""
        return {"Wxh": self.Wxh, "Whh": self.Whh, "Why": self.Why, "bh": self.bh, "by": self.by}

    def lossFun(
        self, inputs: Any, targets: Any, hprev: Array
    ) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
        """Loss and clipped gradients of one window.

        Parameters
        ----------
        inputs, targets : (T,) integers on the host
        hprev : (H, 1) array

        Returns
        -------
        loss : () array
            In nats, summed over the window.
        dWxh, dWhh, dWhy, dbh, dby : array
            Each element clipped to ±5.
        hlast : (H, 1) array

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError, OptionError
        """
        loss, grads, hlast = loss_and_gradients(self.params, inputs, targets, hprev)
        grads = clip_by_value(grads, LIMIT)
        return loss, grads["Wxh"], grads["Whh"], grads["Why"], grads["bh"], grads["by"], hlast

    def sample(self, h: Array, seed_ix: int, n: int) -> list[int]:
        """Draw n characters, each from the model's own distribution; one copy to the host for each.

        Parameters
        ----------
        h : (H, 1) array
            Hidden state before the first character.
        seed_ix : int
            The character that is shown first; it is not returned.
        n : int

        Returns
        -------
        list of int
        """
        agree("sample", rules(h="H 1"), (h,), {"H": self.hidden_size})
        ids: list[int] = []
        ix = seed_ix
        for _ in range(n):
            logits, h = self._step(ix, h)
            # The largest of logits plus Gumbel noise is a draw from their softmax.
            ix = int(np.argmax(to_numpy(logits) + self._rng.gumbel(size=self.vocab_size)))
            ids.append(ix)
        return ids

    def _step(self, ix: int, h: Array) -> tuple[Array, Array]:
        """Logits (V,) after one character, and the hidden state."""
        id_ = checks.ids("sample", "seed_ix", np.asarray(ix), self.vocab_size)
        x = backends.of({"h": h}, "sample").asarray(np.eye(1, self.vocab_size, int(id_)), h.dtype)
        weights = {"Wx": self.Wxh.T, "Wh": self.Whh.T, "b": self.bh[:, 0]}
        y, state = RNN(self.vocab_size, self.hidden_size).step(weights, x, RNNState(h.T))
        head = Linear(self.hidden_size, self.vocab_size)
        logits, _ = head.forward({"W": self.Why.T, "b": self.by[:, 0]}, y)
        return logits[0, :], state.h.T

    def gradCheck(self, inputs: Any, targets: Any, hprev: Array) -> list[Checked]:
        """Compare ten random elements of each gradient, before the clipping, with central differences.

        Prints the name of each parameter, and for each element both values and their relative error.

        Returns
        -------
        list of Checked
            What was printed.
        """
        params = self.params
        _, grads, _ = loss_and_gradients(params, inputs, targets, hprev)
        backend, rows = backends.of(params, "gradCheck"), []
        for name, param in params.items():
            print(name)
            host, gradient = to_numpy(param), to_numpy(grads[name])
            for _ in range(CHECKS):
                index = tuple(int(self._rng.integers(size)) for size in host.shape)
                losses = []
                for delta in (DELTA, -DELTA):
                    values = np.array(host)
                    values[index] += delta
                    moved = params | {name: backend.asarray(values, param.dtype)}
                    losses.append(float(to_numpy(loss_and_gradients(moved, inputs, targets, hprev)[0])))
                numerical, analytic = (losses[0] - losses[1]) / (2.0 * DELTA), float(gradient[index])
                size = abs(numerical) + abs(analytic) + float(np.spacing(1.0))
                rows.append(Checked(name, index, numerical, analytic, abs(numerical - analytic) / size))
                print(f"{numerical:f}, {analytic:f} => {rows[-1].rel_error:e} ")
        return rows

    def train(self, ids: Any, num_iter: int, seq_length: int = 25, learning_rate: float = 1e-1) -> Array:
        """Train on the next windows of a text with Adagrad, from its start again at its end.

        It goes on where the call before stopped.

        Parameters
        ----------
        ids : (M,) integers on the host
            The text.
        num_iter : int
            Windows.
        seq_length : int
            Characters of a window.
        learning_rate : float

        Returns
        -------
        () array
            `smooth_loss`.

        Raises
        ------
        OptionError
            The text is shorter than a window and the character after it.
        """
        text, adagrad = np.asarray(ids), Adagrad(learning_rate, ADAGRAD_EPS)
        if len(text) <= seq_length:
            raise OptionError(
                f"train: ids has {len(text)} characters; expected more than seq_length, {seq_length}."
            )
        for _ in range(num_iter):
            if self._p + seq_length + 1 > len(text) or self.n == 0:
                self.hprev, self._p = self._start, 0
            now, following = (text[start : start + seq_length] for start in (self._p, self._p + 1))
            loss, *grads, self.hprev = self.lossFun(now, following, self.hprev)
            if self.n == 0:
                self.smooth_loss = log(self.vocab_size) * seq_length
            self.smooth_loss = 0.999 * self.smooth_loss + 0.001 * loss
            gradients = dict(zip(self.params, grads, strict=True))
            params, self._memory = adagrad.update(self.params, gradients, self._memory)
            self.Wxh, self.Whh, self.Why, self.bh, self.by = params.values()
            self._p += seq_length
            self.n += 1
        return self.smooth_loss
