"""Base class of cells that are a chain of steps: it declares the hooks and makes a `SequenceCell` of them."""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from rnnx import checks, scan
from rnnx.backends import Backend
from rnnx.basecell import BaseCell, Tape
from rnnx.gates import Gated
from rnnx.ops import Functional, Ops, Pointwise, Workspace, capture, input_gradient, weight_gradients
from rnnx.steps import Record, Steps
from rnnx.typing import Array, Namespace, Params, State


class StepCell(Gated, BaseCell):
    """A chain with one state per time step: a subclass says what one step is.

    A subclass is a frozen dataclass with the fields `input_size`, `hidden_size` and `gate_order`, the class
    attributes below, and the hooks `bind_forward` and `bind_backward`.

    Attributes
    ----------
    gates : tuple of str
        Names of the gate blocks in the default order.
    State : type
        NamedTuple of the states, `h` (the output) first.
    """

    State: ClassVar[Any]

    def __post_init__(self) -> None:
        checks.sizes(self, "input_size", "hidden_size")
        super().__post_init__()

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: scripts of its steps are of this code alone."""
        return {name: value for name, value in self.__dict__.items() if name != capture.KEY}

    @property
    def output_size(self) -> int:
        return self.hidden_size

    @cached_property
    def state_sizes(self) -> State:
        return self.State._make([self.hidden_size] * len(self.State._fields))

    @property
    @abstractmethod
    def bodies(self) -> tuple[Pointwise, ...]:
        """The pointwise bodies of both passes."""

    @property
    def saved_blocks(self) -> int:
        """H-row blocks that a step keeps for the backward pass besides states and gates."""
        return 0

    @property
    def analytic(self) -> bool:
        return all(body.analytic for body in self.bodies)

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        D, H, G = self.input_size, self.hidden_size, len(self.gates)
        return {"Wx": (D, G * H), "Wh": (H, G * H), "b": (G * H,)}

    def forward(
        self,
        params: Params,
        x: Array,
        state: State = None,
        *,
        lengths: Any = None,
        training: bool = True,
        checkpoint_every: int | None = None,
    ) -> tuple[Array, State, Tape | None]:
        """As `BaseCell.forward`, with checkpoints.

        Parameters
        ----------
        checkpoint_every : int, optional
            K: the tape keeps only x and the states before every K-th step, and `backward` computes the steps
            between them once more. The gradients are the same to the last bit; beside x and y, memory grows
            with K + T/K instead of T. T. Chen, B. Xu, C. Zhang and C. Guestrin, "Training deep nets with
            sublinear memory cost" (2016), arXiv:1604.06174.
        """
        if checkpoint_every is not None:
            where = f"{type(self).__name__}.forward"
            checkpoint_every = checks.size(where, "checkpoint_every", checkpoint_every)
        return self._forward(params, x, state, lengths, training, checkpoint_every=checkpoint_every)

    @abstractmethod
    def bind_forward(self, ops: Ops, params: Params) -> Callable[[Array, State, State, Array], State]:
        """Return ``step(pre, prev, next, saved) -> next``.

        `pre` (G*H, N) holds the projected input and may be overwritten with what the backward pass needs;
        `next` and `saved` (saved_blocks*H, N) are memory to write into. What it calls is the same at every
        time step and follows from what was bound: that may be recorded, and done without it.
        """

    @abstractmethod
    def bind_backward(
        self, ops: Workspace, params: Params
    ) -> Callable[[Array, Array, State, State, State], None]:
        """Return ``step(pre, saved, prev, next, d)``.

        It turns `d`, the gradient of the state after the step, into that of the state before it, and `pre`
        into the gradient of the pre-activations; `saved` may be overwritten.
        """

    def project(self, xp: Namespace, params: Params, x: Array) -> Array:
        """Part of the pre-activations that does not depend on the state: rows (K, D) to new rows (K, G*H)."""
        return x @ params["Wx"] + params["b"]

    def bind_projection(self, ops: Workspace, params: Params) -> Callable[[Array], Array]:
        """Return ``project(x)``, the same for x (T, N, D), features first: a new (T, G*H, N)."""
        backend, D, rows = ops.backend, self.input_size, params["b"].shape[0]
        # As one more row of the weights, whose input is 1, the bias takes a copy of x instead of a pass over
        # the result: that pays if x is the smaller one by far.
        folded = rows >= 2 * D
        W = backend.xp.concat([params["Wx"], params["b"][None, :]], axis=0) if folded else params["Wx"]
        WT, b = ops.operand(W.T), params["b"][:, None]

        def project(x: Array) -> Array:
            steps, batch, _ = x.shape
            columns = x.mT
            if folded:
                columns = backend.empty((steps, D + 1, batch), x.dtype)
                columns[:, :D, :] = x.mT
                columns[:, D, :] = 1.0
            pre = backend.matmul_steps(WT, columns)
            if not folded:
                pre += b
            return pre

        return project

    @property
    def projects_itself(self) -> bool:
        """Whether the projection is one of its own, which a backend that compiles the loop does not know."""
        kind = type(self)
        return kind.project is not StepCell.project or kind.bind_projection is not StepCell.bind_projection

    def finish(self, xp: Namespace, params: Params, steps: Steps) -> tuple[Array, dict[str, Array]]:
        """Gradients of x, as rows (K, D), and of the parameters, as sums over K columns of steps."""
        db, dWx, dWh = weight_gradients(steps.d, steps.x, steps.before("h"), bias=True)
        return input_gradient(params["Wx"], steps.d), {"Wx": dWx, "Wh": dWh, "b": db}

    def run(
        self,
        backend: Backend,
        params: Params,
        x: Array,
        state: State,
        lengths: np.ndarray | None,
        training: bool,
        checkpoint_every: int | None = None,
    ) -> tuple[Array, State, Record | None]:
        if not training:
            return scan.forward_without_record(self, backend, params, x, state, lengths)
        return scan.forward_with_record(self, backend, params, x, state, lengths, checkpoint_every)

    def run_backward(
        self, backend: Backend, record: Any, dy: Array | None, dstate: State
    ) -> tuple[Array, State, dict[str, Array]]:
        return scan.backward(self, backend, record, dy, dstate)

    def run_step(self, backend: Backend, params: Params, x: Array, state: State) -> tuple[Array, State]:
        pre = self.project(backend.xp, params, x).T
        step, nothing = self.bind_forward(Functional(backend), params), [None] * len(self.State._fields)
        after = step(pre, self.State(*(s.T for s in state)), self.State(*nothing), None)
        after = self.State(*(s.T for s in after))
        return after[0], after
