"""Names for what passes between the floors: arrays, parameters, and the trace of a pointwise body."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

Array: TypeAlias = Any
"""An array of any library that follows the array API standard."""

Namespace: TypeAlias = Any
"""A module of the array API standard, as array-api-compat gives it."""

Params: TypeAlias = Mapping[str, Array]
"""Parameters or their gradients by dotted name."""

State: TypeAlias = Any
"""A (named) tuple of arrays or of states: arrays are (N, H) for users, (H, N) inside the time loop."""

Kernel: TypeAlias = Callable[..., tuple[Array, ...]]
"""A bound pointwise body: ``kernel(*inputs, out=outputs)``; a functional one takes no `out`."""


class Instruction(NamedTuple):
    """One operation of a traced body: ``target = operation(*arguments)``."""

    target: str
    operation: str
    arguments: tuple[str | float, ...]


class Program(NamedTuple):
    """A pointwise body as straight-line code over named scalars; every target is assigned once.

    Output k may be written to the memory of input k; no other output and input may overlap.
    """

    name: str
    inputs: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[str, ...]

    def __hash__(self) -> int:
        return hash(self.name)  # kernels are looked up at every call, and a trace is long


class Block(NamedTuple):
    """Rows ``start * H .. stop * H - 1`` of one of a step's slabs (rows, N), by the slab's name."""

    slab: str
    start: int
    stop: int


class Product(NamedTuple):
    """``out = a @ b``, or ``out += a @ b``; `a` is the number of an operand."""

    a: int
    b: Block
    out: Block
    add: bool


class Body(NamedTuple):
    """A pointwise body; inputs are blocks, or numbers of operands (H, 1)."""

    program: Program
    inputs: tuple[Block | int, ...]
    outputs: tuple[Block, ...]


class Script(NamedTuple):
    """One step of a chain as the calls that it makes, so that a backend can compile the whole time loop.

    The slabs are ``pre``, ``saved``, and for every state k ``prev k`` and ``next k``, in a backward pass also
    ``d k``; the rest, ``scratch k``, has as many blocks as `scratch` says.
    """

    name: str
    calls: tuple[Product | Body, ...]
    scratch: tuple[int, ...]

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def backward(self) -> bool:
        """Whether its loop runs from the last step to the first."""
        return self.name.endswith("_backward")


class Columns(Protocol):
    """A matrix (R, K) in slabs; see `rnnx.columns.Columns`."""

    slabs: list[Array]

    @property
    def shape(self) -> tuple[int, int]:
        """R and K."""

    @property
    def whole(self) -> Array:
        """The matrix as an array."""


class TimeLoop(Protocol):
    """A loop over time steps, bound to the matrices of a batch."""

    projects: ClassVar[bool]
    """Whether, forward, it is a `ProjectingLoop`."""

    def run(
        self,
        steps: int,
        pre: Array,
        saved: Array,
        states: tuple[Array, ...],
        x: Array | None = None,
        d: tuple[Array, ...] = (),
        dy: Array | None = None,
    ) -> None:
        """Run so many steps, T: forward, with x (T, N, D) if it `projects`, or backward with `d` and dy.

        `pre` is (T, G*H, N), `saved` (T, S*H, N) and each of the `states` (T+1, H, N); forward, `saved` and
        `states` may have more rows. A backward pass turns `d`, the gradients (H, N) of the states after the
        steps, into those before; it adds the gradients of the outputs, dy (T, N, H), if there are any.
        """


class ProjectingLoop(TimeLoop, Protocol):
    """A loop forward that projects its input by itself: then `pre` is memory only."""

    def outputs(
        self, blocks: tuple[int, int], x: Array, y: Array, state: State, end: tuple[Array, ...]
    ) -> None:
        """Write the outputs for x (T, N, D) to y (T, N, H), and the states after them to `end`, each (N, H).

        `blocks` are G and S. The states before the first step are (N, H), or zeros if `state` is None.
        """


class SequenceCell(Protocol):
    """What everything that maps a sequence of vectors to another has: cells, and what is made of them."""

    @property
    def input_size(self) -> int:
        """D."""

    @property
    def output_size(self) -> int:
        """Features of y."""

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""

    @property
    def state_sizes(self) -> Any:
        """The state's structure, with the number of features in place of each array."""

    @property
    def analytic(self) -> bool:
        """Whether every formula is complex differentiable."""

    @property
    def causal(self) -> bool:
        """Whether y[t] depends on no later step, so that `step` exists."""

    def init(self, seed: int = 0, dtype: str = "float32") -> dict[str, Array]:
        """Draw the parameters."""

    def init_state(self, batch: int, dtype: str = "float32") -> Any:
        """Make a state of zeros."""

    def forward(
        self, params: Params, x: Array, state: Any = None, *, lengths: Any = None, training: bool = True
    ) -> tuple[Array, Any, Any]:
        """Map x (T, N, D) to y (T, N, features), the final state and a tape."""

    def backward(
        self, tape: Any, dy: Array | None = None, dstate: Any = None
    ) -> tuple[Array, Any, dict[str, Array]]:
        """Return the gradients of x, the initial state and the parameters."""

    def step(self, params: Params, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Map one step's x (N, D) to y (N, features) and the next state."""
