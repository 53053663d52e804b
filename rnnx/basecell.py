"""Base class of everything that maps a sequence to another: checks, tapes, ragged batches, streaming."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx import checks, states
from rnnx.backends import Backend, get_backend
from rnnx.errors import OptionError, TapeConsumed
from rnnx.parameters import Parametrised
from rnnx.ragged import Ragged
from rnnx.typing import Array, Params, State


@dataclass
class Tape:
    """What a backward pass needs of its forward pass; a backward pass takes `record` out.

    Attributes
    ----------
    cell : BaseCell
    backend : Backend
    dtype : dtype
        Of parameters and input.
    steps, batch : int
        T and N.
    ragged : Ragged or None
        Order of the batch, where lengths were given.
    record : object
        What `BaseCell.run` kept; None once the tape is consumed.
    """

    cell: Any
    backend: Backend
    dtype: Any
    steps: int
    batch: int
    ragged: Ragged | None
    record: Any


class BaseCell(Parametrised):
    """A map of sequences with a hand-written backward pass.

    A subclass is a frozen dataclass. It has the properties and hooks below; `rnnx.stepcell.StepCell` provides
    them for a chain of steps.
    """

    input_size: int

    @property
    @abstractmethod
    def state_sizes(self) -> Any:
        """The state's structure, with the number of features in place of each array."""

    @property
    def state_hint(self) -> str:
        """How the features of its states and of y come about, for errors about their shapes."""
        return ""

    @property
    @abstractmethod
    def analytic(self) -> bool:
        """Whether every formula is complex differentiable, so that the complex step applies."""

    @property
    def causal(self) -> bool:
        """Whether y[t] depends on no later step, so that `step` exists."""
        return True

    @abstractmethod
    def run(
        self,
        backend: Backend,
        params: Params,
        x: Array,
        state: State,
        lengths: np.ndarray | None,
        training: bool,
    ) -> tuple[Array, State, Any]:
        """Run sequences that are checked, and sorted longest first: y, the final state, and a record.

        With `lengths` (N,), each y past its sequence's end is zero and each final state is that of its own
        end; x past the end must not be read. `state` may be None. Without `training` the record is None.
        """

    @abstractmethod
    def run_backward(
        self, backend: Backend, record: Any, dy: Array | None, dstate: State
    ) -> tuple[Array, State, dict[str, Array]]:
        """Gradients of x, the initial state and the parameters; the record may be overwritten.

        Any leaf of `dstate`, and all of it, may be None.
        """

    @abstractmethod
    def run_step(self, backend: Backend, params: Params, x: Array, state: State) -> tuple[Array, State]:
        """One step, from a given state; it writes to no array."""

    def init_state(self, batch: int, dtype: str = "float32") -> State:
        """Make a state of zeros, each array (N, features), on the default backend."""
        return self._zeros(get_backend(), batch, dtype)

    def forward(
        self, params: Params, x: Array, state: State = None, *, lengths: Any = None, training: bool = True
    ) -> tuple[Array, State, Tape | None]:
        """Run the sequences.

        Parameters
        ----------
        params : mapping of str to array
            As from `init`; one dtype, one device.
        x : (T, N, D) array
            The dtype of the parameters.
        state : NamedTuple of (N, H) arrays, optional
            State before the first step; zeros by default.
        lengths : (N,) integers on the host, optional
            Length of each sequence, in 1 .. T. What x holds past a sequence's end is not read.
        training : bool
            Whether to keep a tape for `backward`. Without one, the memory beyond y does not grow with T.

        Returns
        -------
        y : (T, N, H) array
            Hidden states, zero past a sequence's end. With a tape it may share the tape's memory: do not
            write to it (NumPy refuses to).
        state : NamedTuple of (N, H) arrays
            State after each sequence's last step.
        tape : Tape or None

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError, OptionError
        """
        return self._forward(params, x, state, lengths, training)

    def _forward(
        self, params: Params, x: Array, state: State, lengths: Any, training: bool, **options: Any
    ) -> tuple[Array, State, Tape | None]:
        """`forward`, with more options for `run`."""
        where = f"{type(self).__name__}.forward"
        backend = checks.call(self, "forward", params, x, ("T", "N", self.input_size), state)
        steps, batch, _ = x.shape
        known = checks.lengths(where, lengths, steps, batch)
        with backend.computing(where, **self._sizes(steps, batch)):
            ragged = None if known is None else Ragged.of(backend, known)
            if ragged is not None:
                x = ragged.sort(backend, x, 1)
                state = ragged.sort_state(backend, self.state_sizes, state)
            known = None if ragged is None else ragged.lengths
            y, final, record = self.run(backend, params, x, state, known, training, **options)
            if ragged is not None:
                y = ragged.unsort(backend, y, 1)
                final = ragged.unsort_state(backend, self.state_sizes, final)
        tape = Tape(self, backend, x.dtype, steps, batch, ragged, record) if training else None
        return y, final, tape

    def backward(
        self, tape: Any, dy: Array | None = None, dstate: State = None
    ) -> tuple[Array, State, dict[str, Array]]:
        """Backpropagate through the sequences of a tape, and consume the tape.

        Parameters
        ----------
        tape : Tape
            From `forward` with ``training=True``.
        dy : (T, N, H) array, optional
            Gradient of y. What it holds past a sequence's end is not read.
        dstate : NamedTuple of (N, H) arrays, optional
            Gradient of the final state; any of its arrays may be None.

        Returns
        -------
        dx : (T, N, D) array
            Exactly zero past a sequence's end.
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
        if tape.record is None:
            raise TapeConsumed(
                f"{where}: this tape has served a backward pass already.",
                "Run forward again; to combine upstream gradients, add them first.",
            )
        checks.upstream(self, tape, dy, dstate)
        backend, ragged = tape.backend, tape.ragged
        with backend.computing(where, **self._sizes(tape.steps, tape.batch)):
            if ragged is not None:
                dy = None if dy is None else ragged.sort(backend, dy, 1)
                dstate = ragged.sort_state(backend, self.state_sizes, dstate)
            record, tape.record = [tape.record], None
            dx, dinitial, grads = self.run_backward(backend, record.pop(), dy, dstate)
            if ragged is not None:
                dx = ragged.unsort(backend, dx, 1)
                dinitial = ragged.unsort_state(backend, self.state_sizes, dinitial)
        return dx, dinitial, grads

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

        Raises
        ------
        OptionError
            The cell is not causal: one step alone has no output.
        ShapeError, DtypeError, MixedArraysError
        """
        if not self.causal:
            raise OptionError(
                f"{type(self).__name__}.step: each output depends on later steps too, since one direction "
                "runs from the end of the sequence; expected a causal cell.",
                "Use forward on the whole sequence.",
            )
        backend = checks.call(self, "step", params, x, ("N", self.input_size), state)
        with backend.placed():
            if state is None:
                state = self._zeros(backend, x.shape[0], x.dtype)
            return self.run_step(backend, params, x, state)

    def _zeros(self, backend: Backend, batch: int, dtype: Any) -> State:
        return states.transform(lambda size: backend.zeros((batch, size), dtype), self.state_sizes)

    def _sizes(self, steps: int, batch: int) -> dict[str, int]:
        return {"T": steps, "N": batch, "D": self.input_size, "H": self.output_size}
