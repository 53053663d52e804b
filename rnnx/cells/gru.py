"""Gated recurrent unit, with the reset gate after or before the recurrent product.

    r = sigmoid(x[t] Wx_r + h[t-1] Wh_r + b_r)                  reset gate
    z = sigmoid(x[t] Wx_z + h[t-1] Wh_z + b_z)                  update gate
    n = tanh(x[t] Wx_n + b_n + r (h[t-1] Wh_n + bn))            reset after: PyTorch, cuDNN
    n = tanh(x[t] Wx_n + b_n + (r h[t-1]) Wh_n)                 reset before: the paper
    h[t] = (1 - z) n + z h[t-1]

Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
EMNLP 2014, equations 5 to 8; reset after: the documentation of torch.nn.GRU.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from rnnx.ops import Ops, Pointwise, Workspace, input_gradient, pointwise, sigmoid, tanh, weight_gradients
from rnnx.stepcell import StepCell
from rnnx.steps import Steps
from rnnx.typing import Array, Namespace, Params


class GRUState(NamedTuple):
    """State of a `GRU`."""

    h: Array


def candidate_gradients(n: Any, z: Any, dh: Any, h: Any) -> tuple[Any, Any]:
    """Gradients of the pre-activations of n and z in ``h_next = (1 - z) n + z h``."""
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dz = dh * (h - n) * (z * (1.0 - z))
    return dn, dz


@pointwise
def gru_after_forward(r, z, n, ur, uz, u, bn, h):
    r, z, u = sigmoid(r + ur), sigmoid(z + uz), u + bn
    n = tanh(n + r * u)
    return r, z, n, u, n + z * (h - n)


@pointwise
def gru_after_backward(r, z, n, u, dh, h):
    dn, dz = candidate_gradients(n, z, dh, h)
    dr, du = dn * u * (r * (1.0 - r)), dn * r
    return dr, dz, dn, du, dh * z, dr, dz, du


@pointwise
def gru_before_gates(r, z, ur, uz, h):
    r, z = sigmoid(r + ur), sigmoid(z + uz)
    return r, z, r * h


@pointwise
def gru_before_forward(n, z, h):
    n = tanh(n)
    return n, n + z * (h - n)


@pointwise
def gru_before_backward(n, z, dh, h):
    dn, dz = candidate_gradients(n, z, dh, h)
    return dn, dz, dh * z, dz


@pointwise
def gru_before_gates_backward(r, drh, dh, h):
    dr = drh * h * (r * (1.0 - r))
    return dr, dr, dh + drh * r


@dataclass(frozen=True)
class GRU(StepCell):
    """GRU layer; parameters ``Wx (D, 3H)``, ``Wh (H, 3H)``, ``b (3H,)``, and ``bn (H,)`` if reset after.

    Parameters
    ----------
    input_size, hidden_size : int
        D and H.
    reset_after : bool
        Whether the reset gate is applied after the recurrent product (True, PyTorch and cuDNN) or before it
        (the paper). The two are different functions; no weights turn one into the other.
    gate_order : sequence of str, optional
        Order of the gate blocks in the parameters; by default ``("r", "z", "n")``, PyTorch's and cuDNN's.
    """

    input_size: int
    hidden_size: int
    reset_after: bool = True
    gate_order: tuple[str, ...] | str | None = None

    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    keeps: ClassVar[str] = "z"
    State: ClassVar[type[GRUState]] = GRUState

    @property
    def saved_blocks(self) -> int:
        return 1  # u of n, or r h[t-1]

    @property
    def bodies(self) -> tuple[Pointwise, ...]:
        if self.reset_after:
            return gru_after_forward, gru_after_backward
        return gru_before_gates, gru_before_forward, gru_before_backward, gru_before_gates_backward

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        return super().param_shapes | ({"bn": (self.hidden_size,)} if self.reset_after else {})

    def bind_forward(
        self, ops: Ops, params: Params
    ) -> Callable[[Array, GRUState, GRUState, Array], GRUState]:
        return self._forward_after(ops, params) if self.reset_after else self._forward_before(ops, params)

    def bind_backward(
        self, ops: Workspace, params: Params
    ) -> Callable[[Array, Array, GRUState, GRUState, GRUState], None]:
        return self._backward_after(ops, params) if self.reset_after else self._backward_before(ops, params)

    def _forward_after(
        self, ops: Ops, params: Params
    ) -> Callable[[Array, GRUState, GRUState, Array], GRUState]:
        H = self.hidden_size
        WhT, bn = ops.operand(params["Wh"].T), ops.operand(params["bn"][:, None])
        product, memory = ops.matmul(3 * H), ops.empty(3 * H)
        gate = ops.kernel(gru_after_forward)

        def step(pre: Array, prev: GRUState, after: GRUState, saved: Array) -> GRUState:
            gates, u = self.blocks(pre), self.blocks(product(WhT, prev.h, memory))
            *_, h = gate(*gates, *u, bn, prev.h, out=(*gates, saved, after.h))
            return GRUState(h)

        return step

    def _backward_after(
        self, ops: Workspace, params: Params
    ) -> Callable[[Array, Array, GRUState, GRUState, GRUState], None]:
        H = self.hidden_size
        Wh, memory = ops.operand(params["Wh"]), ops.empty(3 * H)
        recur, gate = ops.matmul_add(H), ops.kernel(gru_after_backward)
        dur, duz, dun = self.blocks(memory)

        def step(pre: Array, saved: Array, prev: GRUState, after: GRUState, d: GRUState) -> None:
            gates = self.blocks(pre)
            gate(*gates, saved, d.h, prev.h, out=(*gates, saved, d.h, dur, duz, dun))
            recur(Wh, memory, d.h)

        return step

    def _reset_and_update(self, ops: Ops, params: Params) -> tuple[Array, Array]:
        """Recurrent weights (H, 2H) of r and z, side by side in any gate order, and those (H, H) of n."""
        r, z, n = (params["Wh"][:, rows] for rows in self.rows)
        return ops.backend.xp.concat([r, z], axis=1), n

    def _forward_before(
        self, ops: Ops, params: Params
    ) -> Callable[[Array, GRUState, GRUState, Array], GRUState]:
        H = self.hidden_size
        Wrz, Wn = self._reset_and_update(ops, params)
        WrzT, WnT, memory = ops.operand(Wrz.T), ops.operand(Wn.T), ops.empty(2 * H)
        product, recur = ops.matmul(2 * H), ops.matmul_add(H)
        gate, candidate = ops.kernel(gru_before_gates), ops.kernel(gru_before_forward)

        def step(pre: Array, prev: GRUState, after: GRUState, saved: Array) -> GRUState:
            r, z, n = self.blocks(pre)
            u = product(WrzT, prev.h, memory)
            _, z, rh = gate(r, z, u[:H, ...], u[H:, ...], prev.h, out=(r, z, saved))
            n = recur(WnT, rh, n)
            _, h = candidate(n, z, prev.h, out=(n, after.h))
            return GRUState(h)

        return step

    def _backward_before(
        self, ops: Workspace, params: Params
    ) -> Callable[[Array, Array, GRUState, GRUState, GRUState], None]:
        H = self.hidden_size
        Wrz, Wn = self._reset_and_update(ops, params)
        Wrz, Wn = ops.operand(Wrz), ops.operand(Wn)
        both, memory = ops.empty(2 * H), ops.empty(H)
        dur, duz = both[:H, ...], both[H:, ...]
        product, recur = ops.matmul(H), ops.matmul_add(H)
        candidate, gate = ops.kernel(gru_before_backward), ops.kernel(gru_before_gates_backward)

        def step(pre: Array, saved: Array, prev: GRUState, after: GRUState, d: GRUState) -> None:
            r, z, n = self.blocks(pre)
            candidate(n, z, d.h, prev.h, out=(n, z, d.h, duz))
            drh = product(Wn, n, memory)
            gate(r, drh, d.h, prev.h, out=(r, dur, d.h))
            recur(Wrz, both, d.h)

        return step

    def finish(self, xp: Namespace, params: Params, steps: Steps) -> tuple[Array, dict[str, Array]]:
        d, h, saved = steps.d, steps.before("h"), steps.saved
        dx = input_gradient(params["Wx"], d)
        db, dWx = weight_gradients(d, steps.x, bias=True)
        grads, n = {"Wx": dWx, "b": db}, self.rows[2]
        if self.reset_after:
            d.overwrite(n, saved)  # from here on the gradients of u, which are those of pre but for n
            du, grads["Wh"] = weight_gradients(d, h, bias=True)
            grads["bn"] = du[n]
        else:
            left = {"r": h, "z": h, "n": saved}
            rows = dict(zip(self.gates, self.rows, strict=True))
            columns = [weight_gradients(d.rows(rows[gate]), left[gate]) for gate in self.order]
            grads["Wh"] = xp.concat([column for (column,) in columns], axis=1)
        return dx, grads
