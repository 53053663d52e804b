"""Base class of cells that are a chain of steps: it declares the hooks and makes a `SequenceCell` of them."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from rnnx import checks, scan
from rnnx.backends import Backend
from rnnx.basecell import BaseCell
from rnnx.gates import Gated
from rnnx.ops import Functional, Ops, Pointwise, Workspace, input_gradients
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

    @property
    def output_size(self) -> int:
        return self.hidden_size

    @property
    def state_sizes(self) -> State:
        return self.State(*(self.hidden_size for _ in self.State._fields))

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

    @abstractmethod
    def bind_forward(self, ops: Ops, params: Params) -> Callable[[Array, State, State, Array], State]:
        """Return ``step(pre, prev, next, saved) -> next``.

        `pre` (G*H, N) holds the projected input and may be overwritten with what the backward pass needs;
        `next` and `saved` (saved_blocks*H, N) are memory to write into.
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
        """Part of the pre-activations that does not depend on the state: x (T, N, D) to a new (T, G*H, N)."""
        pre = xp.matmul(xp.matrix_transpose(params["Wx"]), xp.matrix_transpose(x))
        pre += params["b"][:, None]
        return pre

    def finish(self, xp: Namespace, params: Params, steps: Steps) -> tuple[Array, dict[str, Array]]:
        """Gradients of x, as rows (T*N, D), and of the parameters, from those of all steps."""
        dx, dWx, db = input_gradients(xp, params, steps.x, steps.d)
        return dx, {"Wx": dWx, "Wh": steps.before("h") @ steps.d.T, "b": db}

    def run(
        self,
        backend: Backend,
        params: Params,
        x: Array,
        state: State,
        lengths: np.ndarray | None,
        training: bool,
    ) -> tuple[Array, State, Record | None]:
        forward = scan.forward_with_record if training else scan.forward_in_chunks
        return forward(self, backend, params, x, state, lengths)

    def run_backward(
        self, backend: Backend, record: Any, dy: Array | None, dstate: State
    ) -> tuple[Array, State, dict[str, Array]]:
        return scan.backward(self, backend, record, dy, dstate)

    def run_step(self, backend: Backend, params: Params, x: Array, state: State) -> tuple[Array, State]:
        pre = self.project(backend.xp, params, x[None, ...])[0, ...]
        step, nothing = self.bind_forward(Functional(backend), params), [None] * len(self.State._fields)
        after = step(pre, self.State(*(s.T for s in state)), self.State(*nothing), None)
        after = self.State(*(s.T for s in after))
        return after[0], after
