"""Base class of cells that are a chain of steps: it declares the hooks and makes a `SequenceCell` of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

from rnnx import checks, scan
from rnnx.backends import Backend, get_backend
from rnnx.errors import OptionError, TapeConsumed
from rnnx.init import draw_uniform
from rnnx.ops import Functional, Ops, Pointwise, Workspace, input_gradients, steps_last
from rnnx.scan import Tape
from rnnx.typing import Array, Namespace, Params, State


class StepCell(ABC):
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

    input_size: int
    hidden_size: int
    gate_order: tuple[str, ...] | str | None
    gates: ClassVar[tuple[str, ...]]
    State: ClassVar[Any]

    def __post_init__(self) -> None:
        checks.sizes(self, "input_size", "hidden_size")
        object.__setattr__(self, "gate_order", checks.gate_order(self, self.gate_order))

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
        """Whether every formula is complex differentiable, so that the complex step applies."""
        return all(body.analytic for body in self.bodies)

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
        D, H, G = self.input_size, self.hidden_size, len(self.gates)
        return {"Wx": (D, G * H), "Wh": (H, G * H), "b": (G * H,)}

    @property
    def order(self) -> tuple[str, ...]:
        """Gate blocks as they stand in the parameters."""
        return tuple(self.gate_order or self.gates)

    @cached_property
    def rows(self) -> tuple[slice, ...]:
        """Rows of each gate block, in the order of `gates`."""
        H = self.hidden_size
        starts = [self.order.index(gate) * H for gate in self.gates]
        return tuple(slice(start, start + H) for start in starts)

    def blocks(self, slab: Array) -> list[Array]:
        """Gate blocks (H, ...) of a slab (G*H, ...), in the order of `gates`."""
        return [slab[rows, ...] for rows in self.rows]

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

    def finish(
        self, xp: Namespace, params: Params, x: Array, h: Array, dpre: Array, saved: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Gradients of x and of the parameters from those of all steps; h are the states before each step."""
        d = steps_last(xp, dpre)
        dx, dWx, db = input_gradients(xp, params, x, d)
        return dx, {"Wx": dWx, "Wh": steps_last(xp, h) @ d.T, "b": db}

    def init(self, seed: int = 0, dtype: str = "float32") -> dict[str, Array]:
        """Draw the parameters, each uniform in ±1/sqrt(H), as torch.nn does.

        Parameters
        ----------
        seed : int
            One child seed per parameter name, drawn on the host: the same numbers on every backend.
        dtype : str
            ``"float32"``, ``"float64"`` or ``"complex128"``.

        Returns
        -------
        dict of str to array
            On the default backend, by name.
        """
        return draw_uniform(self.param_shapes, self.hidden_size**-0.5, seed, dtype)

    def init_state(self, batch: int, dtype: str = "float32") -> State:
        """Make a state of zeros, each array (N, H), on the default backend."""
        backend = get_backend()
        shape = (batch, self.hidden_size)
        return self.State(*(backend.zeros(shape, dtype) for _ in self.State._fields))

    def forward(
        self, params: Params, x: Array, state: State = None, *, training: bool = True
    ) -> tuple[Array, State, Tape | None]:
        """Run the sequence.

        Parameters
        ----------
        params : mapping of str to array
            As from `init`; one dtype, one device.
        x : (T, N, D) array
            The dtype of the parameters.
        state : NamedTuple of (N, H) arrays, optional
            State before the first step; zeros by default.
        training : bool
            Whether to keep a tape for `backward`. Without one, the memory beyond y does not grow with T.

        Returns
        -------
        y : (T, N, H) array
            Hidden states. With a tape it shares the tape's memory: do not write to it (NumPy refuses to).
        state : NamedTuple of (N, H) arrays
            State after the last step.
        tape : Tape or None

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError
        """
        backend = checks.call(self, "forward", params, x, ("T", "N", self.input_size), state)
        with backend.computing(f"{type(self).__name__}.forward", **self._sizes(x)):
            if training:
                return scan.forward_with_tape(self, backend, params, x, state)
            return scan.forward_in_chunks(self, backend, params, x, state)

    def backward(
        self, tape: Any, dy: Array | None = None, dstate: State = None
    ) -> tuple[Array, State, dict[str, Array]]:
        """Backpropagate through the sequence of a tape, and consume the tape.

        Parameters
        ----------
        tape : Tape
            From `forward` with ``training=True``.
        dy : (T, N, H) array, optional
            Gradient of y.
        dstate : NamedTuple of (N, H) arrays, optional
            Gradient of the final state; any of its arrays may be None.

        Returns
        -------
        dx : (T, N, D) array
        dstate : NamedTuple of (N, H) arrays
            Gradient of the initial state.
        grads : dict of str to array
            Gradients of the parameters, by their names.

        Raises
        ------
        TapeConsumed
            The tape has served a backward pass before.
        ShapeError, DtypeError, MixedArraysError
        """
        where = f"{type(self).__name__}.backward"
        if not isinstance(tape, Tape):
            found = "there is no tape" if tape is None else f"tape is a {type(tape).__name__}"
            raise OptionError(f"{where}: {found}.", "Call forward with training=True and pass its tape.")
        if tape.cell != self:
            raise OptionError(
                f"{where}: the tape is of {tape.cell}, not of {self}.", "Pass it to its own cell."
            )
        if tape.consumed:
            raise TapeConsumed(
                f"{where}: this tape has served a backward pass already.",
                "Run forward again; to combine upstream gradients, add them first.",
            )
        checks.upstream(self, tape, dy, dstate)
        tape.consumed = True
        with tape.backend.computing(f"{type(self).__name__}.backward", **self._sizes(tape.x)):
            return scan.backward(self, tape, dy, dstate)

    def _sizes(self, x: Array) -> dict[str, int]:
        T, N, D = x.shape
        return {"T": T, "N": N, "D": D, "H": self.hidden_size}

    def step(self, params: Params, x: Array, state: State = None) -> tuple[Array, State]:
        """Run one step, for streaming and sampling.

        It writes to no array, so a library's automatic differentiation can follow it.

        Parameters
        ----------
        params : mapping of str to array
        x : (N, D) array
        state : NamedTuple of (N, H) arrays, optional
            Zeros by default.

        Returns
        -------
        y : (N, H) array
        state : NamedTuple of (N, H) arrays
        """
        backend = checks.call(self, "step", params, x, ("N", self.input_size), state)
        with backend.placed():
            return self._step(backend, params, x, state)

    def _step(self, backend: Backend, params: Params, x: Array, state: State) -> tuple[Array, State]:
        if state is None:
            shape = (x.shape[0], self.hidden_size)
            state = self.State(*(backend.zeros(shape, x.dtype) for _ in self.State._fields))
        pre = self.project(backend.xp, params, x[None, ...])[0, ...]
        step, nothing = self.bind_forward(Functional(backend), params), [None] * len(self.State._fields)
        after = step(pre, self.State(*(s.T for s in state)), self.State(*nothing), None)
        after = self.State(*(s.T for s in after))
        return after[0], after
