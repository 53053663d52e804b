"""Simple recurrent unit: all products are outside of the recurrence, which is element-wise and linear.

    x~ = x[t] W                                       candidate
    f  = sigmoid(x[t] Wf + bf)                        forget gate
    r  = sigmoid(x[t] Wr + br)                        reset gate
    c[t] = f c[t-1] + (1 - f) x~
    h[t] = r tanh(c[t]) + (1 - r) (x[t] Wh)           highway "linear"
    h[t] = r tanh(c[t]) + (1 - r) x[t]                highway "identity": the paper, where D = H

No gate looks at a state, so one product makes the pre-activations of all steps, and gates and outputs are
element-wise over all steps too. Only ``c[t] = f[t] c[t-1] + u[t]`` goes through time; backwards, the gradient
of c does, by the same recurrence.

Lei, Zhang, Wang, Dai and Artzi, "Simple recurrent units for highly parallelizable recurrence", EMNLP 2018
(arXiv 1709.02755), as in its first version: Lei and Zhang, "Training RNNs as fast as CNNs", 2017. Later ones
add ``v c[t-1]`` to the gates, which then wait for the state.
"""

# mypy: disable-error-code="no-untyped-def"

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnnx import checks
from rnnx.backends import Backend
from rnnx.basecell import BaseCell
from rnnx.errors import OptionError
from rnnx.init import MemoryBias
from rnnx.ops import Functional, Pointwise, pointwise, sigmoid, tanh
from rnnx.ragged import Segment, packed, segments, spread
from rnnx.steps import CHUNK
from rnnx.typing import Array, Params, State

HIGHWAYS = ("linear", "identity")

IN_CACHE = 2**14
"""Entries of one block that are worked on at a time, so that what one body leaves is near for the next."""


class SRUState(NamedTuple):
    """State of an `SRU`."""

    c: Array


@pointwise
def sru_gates(x, f, r, bf, br):
    f, r = sigmoid(f + bf), sigmoid(r + br)
    return (1.0 - f) * x, f, r


@pointwise
def sru_output(c, r, v):
    return v + r * (tanh(c) - v)


@pointwise
def sru_output_backward(c, r, v, dh):
    tanh_c = tanh(c)
    dv = dh * (1.0 - r)
    dr = dv * r * (tanh_c - v)
    return dh * r * (1.0 - tanh_c * tanh_c), dr, dv


@pointwise
def sru_gates_backward(f, dc, c, c_next):
    carry = dc * f
    return carry * (c - c_next), dc - carry


@dataclass
class Record:
    """What the backward pass needs of an x (T, N, D): R rows, one for each step of each sequence.

    `pre` (R, G*H), in which r has replaced its pre-activation, gives way to its gradient; f is (R, H);
    `cells` has c of each segment, for S steps and N sequences ((S+1)*N, H), the state before the first step
    first.
    """

    params: Params
    shape: tuple[int, ...]
    parts: list[Segment]
    x: Array
    pre: Array
    f: Array
    cells: list[Array]


@dataclass(frozen=True)
class SRU(BaseCell):
    """SRU layer; parameters ``W (D, 4H)``, side by side [W, Wf, Wr, Wh], and ``bf br (H,)``.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    highway : str
        What 1 - r lets through to the output: ``"linear"``, x[t] Wh, or ``"identity"``, x[t] itself. The
        identity needs D = H, and its ``W (D, 3H)`` is [W, Wf, Wr].

    Raises
    ------
    OptionError
        A size below 1, another highway, or the identity highway with D and H that differ.
    """

    input_size: int
    hidden_size: int
    highway: str = "linear"

    def __post_init__(self) -> None:
        checks.sizes(self, "input_size", "hidden_size")
        D, H = self.input_size, self.hidden_size
        if self.highway not in HIGHWAYS:
            raise OptionError(f"SRU: highway is {self.highway!r}; expected one of {', '.join(HIGHWAYS)}.")
        if self.highway == "identity" and D != H:
            raise OptionError(
                f"SRU: input_size is {D} and hidden_size is {H}; the identity highway needs them equal.",
                'Use highway="linear".',
            )

    @property
    def output_size(self) -> int:
        return self.hidden_size

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        D, H = self.input_size, self.hidden_size
        return {"W": (D, (4 if self.highway == "linear" else 3) * H), "bf": (H,), "br": (H,)}

    @property
    def memory_biases(self) -> dict[str, MemoryBias]:
        return {"bf": MemoryBias(self.hidden_size, slice(None), None)}

    def gate_blocks(self, name: str) -> int:
        return self.param_shapes[name][-1] // self.hidden_size

    @property
    def state_sizes(self) -> SRUState:
        return SRUState(self.hidden_size)

    @property
    def bodies(self) -> tuple[Pointwise, ...]:
        """The pointwise bodies of both passes."""
        return sru_gates, sru_output, sru_output_backward, sru_gates_backward

    @property
    def analytic(self) -> bool:
        return all(body.analytic for body in self.bodies)

    def run(
        self,
        backend: Backend,
        params: Params,
        x: Array,
        state: State,
        lengths: np.ndarray | None,
        training: bool,
    ) -> tuple[Array, State, Record | None]:
        xp, (T, N, _), H = backend.xp, x.shape, self.hidden_size
        parts, c = segments(T, N, lengths), backend.zeros((N, H), x.dtype)
        if state is not None:
            c[...] = state.c
        if training:
            rows = _rows(backend, x, parts)
            y, *kept = self._forward_rows(backend, params, rows, parts, c)
            record = Record(params, x.shape, parts, rows, *kept)
            return _steps(backend, y, (T, N, H), parts), SRUState(c), record
        total = (backend.empty if lengths is None else backend.zeros)((T, N, H), x.dtype)
        for start, stop, batch in parts:
            for at in range(start, stop, CHUNK):
                part = Segment(at, min(at + CHUNK, stop), batch)
                y, *_ = self._forward_rows(backend, params, packed(backend, x, [part]), [part], c)
                total[at : part.stop, :batch, :] = xp.reshape(y, (part.stop - at, batch, H))
        return total, SRUState(c), None

    def _forward_rows(
        self, backend: Backend, params: Params, x: Array, parts: list[Segment], state: Array
    ) -> tuple[Array, Array, Array, list[Array]]:
        """Run rows x (R, D) from a state (N, H), which becomes the final one; y (R, H), and what is kept."""
        R, H, pre = x.shape[0], self.hidden_size, x @ params["W"]
        forget, y = backend.empty((R, H), x.dtype), backend.empty((R, H), x.dtype)
        v, biases = self._highway(pre, x), (params["bf"][None, :], params["br"][None, :])
        to_gates, to_output, *_ = self.bodies
        cells, first = [], 0
        for part in parts:
            last, batch = first + part.size, part.batch
            c = backend.empty((last - first + batch, H), x.dtype)
            c[:batch, :] = state[:batch, :]
            for at, end in self._chunks(backend, first, last, batch):
                f, chain = forget[at:end, :], c[at - first : end - first + batch, :]
                after, (candidate, to_f, r) = chain[batch:, :], self._blocks(pre[at:end, :])
                kernel = backend.kernel(to_gates.program, f.shape, x.dtype)
                kernel(candidate, to_f, r, *biases, out=(after, f, r))
                backend.linear_recurrence(f, chain)
                kernel = backend.kernel(to_output.program, f.shape, x.dtype)
                kernel(after, r, v[at:end, :], out=(y[at:end, :],))
            state[:batch, :] = c[last - first :, :]
            cells.append(c)
            first = last
        return y, pre, forget, cells

    def run_backward(
        self, backend: Backend, record: Record, dy: Array | None, dstate: State
    ) -> tuple[Array, State, dict[str, Array]]:
        xp, H, shape, parts = backend.xp, self.hidden_size, record.shape, record.parts
        dc = backend.zeros((shape[1], H), record.x.dtype)
        if dstate is not None and dstate.c is not None:
            dc[...] = dstate.c
        through = self._backward_rows(backend, record, None if dy is None else _rows(backend, dy, parts), dc)
        d, W = record.pre, record.params["W"]
        dx = d @ W.T
        if through is not None:
            dx += through
        db = xp.sum(d[:, H : 3 * H], axis=0)
        grads = {"W": record.x.T @ d, "bf": db[:H], "br": db[H:]}
        return _steps(backend, dx, shape, parts), SRUState(dc), grads

    def _backward_rows(
        self, backend: Backend, record: Record, dy: Array | None, dstate: Array
    ) -> Array | None:
        """Turn the record's `pre` into its gradient and `dstate` (N, H) into that of the initial state.

        The gradient that the identity highway hands to x is returned.
        """
        x, pre = record.x, record.pre
        R, H, dtype = x.shape[0], self.hidden_size, x.dtype
        dy = backend.zeros((R, H), dtype) if dy is None else dy
        v, (*_, from_output, from_gates) = self._highway(pre, x), self.bodies
        through = backend.empty((R, H), dtype) if self.highway == "identity" else None
        last = R
        for part, c in zip(reversed(record.parts), reversed(record.cells), strict=True):
            first, batch = last - part.size, part.batch
            carry = dstate[:batch, :]
            for at, end in reversed(self._chunks(backend, first, last, batch)):
                f, vs = record.f[at:end, :], v[at:end, :]
                d, df, r = self._blocks(pre[at:end, :])
                dv = vs if through is None else through[at:end, :]
                chain = c[at - first : end - first + batch, :]
                after, dc = chain[batch:, :], backend.empty(chain.shape, dtype)
                kernel = backend.kernel(from_output.program, f.shape, dtype)
                kernel(after, r, vs, dy[at:end, :], out=(dc[batch:, :], r, dv))
                dc[:batch, :] = 0.0
                dc[end - at :, :] += carry
                backend.linear_recurrence(f, dc, reverse=True)
                kernel = backend.kernel(from_gates.program, f.shape, dtype)
                kernel(f, dc[batch:, :], chain[: end - at, :], after, out=(df, d))
                carry[...] = dc[:batch, :]
            last = first
        return through

    def run_step(self, backend: Backend, params: Params, x: Array, state: State) -> tuple[Array, State]:
        ops, pre = Functional(backend), x @ params["W"]
        gates, output, *_ = map(ops.kernel, self.bodies)
        u, f, r = gates(*self._blocks(pre), params["bf"][None, :], params["br"][None, :])
        c = f * state.c + u
        (y,) = output(c, r, self._highway(pre, x))
        return y, SRUState(c)

    def _blocks(self, pre: Array) -> tuple[Array, Array, Array]:
        """Candidate, f and r (R, H) of pre-activations (R, G*H), or their gradients."""
        H = self.hidden_size
        return pre[:, :H], pre[:, H : 2 * H], pre[:, 2 * H : 3 * H]

    def _highway(self, pre: Array, x: Array) -> Array:
        """What 1 - r lets through, (R, H)."""
        return pre[:, 3 * self.hidden_size :] if self.highway == "linear" else x

    def _chunks(self, backend: Backend, first: int, last: int, batch: int) -> list[tuple[int, int]]:
        """First row and end of chunks of whole steps that stay in the cache.

        Where work is queued, all steps are one: there each chunk is a few launches more.
        """
        size = max(IN_CACHE // max(batch * self.hidden_size, 1), 1) * batch
        if backend.asynchronous or last - first <= size:
            return [(first, last)]
        return [(at, min(at + size, last)) for at in range(first, last, size)]


def _rows(backend: Backend, x: Array, parts: list[Segment]) -> Array:
    """All steps of all sequences of x (T, N, F), as rows (R, F) without padding."""
    T, N, F = x.shape
    return backend.xp.reshape(x, (T * N, F)) if parts == [(0, T, N)] else packed(backend, x, parts)


def _steps(backend: Backend, rows: Array, shape: tuple[int, ...], parts: list[Segment]) -> Array:
    """Such rows as (T, N, F), zero where there is padding."""
    if parts == [(0, *shape[:2])]:
        return backend.xp.reshape(rows, shape)
    return spread(backend, rows, shape, parts)
