"""What all optimisers share: checked dicts of arrays, and one pointwise body run over them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

from rnnx import backends, checks
from rnnx.backends import Backend
from rnnx.errors import OptionError, ShapeError
from rnnx.ops import Pointwise
from rnnx.typing import Array, Params


def common_backend(where: str, **named: Params) -> Backend:
    """The backend of all arrays of these dicts, which have one set of names, shapes and dtypes."""
    for label, values in named.items():
        if not isinstance(values, Mapping):
            raise OptionError(f"{where}: {label} is a {type(values).__name__}; expected a dict of arrays.")
    (first, reference), *others = named.items()
    if not reference:
        raise OptionError(f"{where}: {first} is empty; expected at least one array.")
    for label, values in others:
        if values.keys() != reference.keys():
            differ = ", ".join(sorted(values.keys() ^ reference.keys()))
            raise ShapeError(
                f"{where}: {first} and {label} differ in {differ}; expected the same names in both."
            )
    backend = backends.of(
        {f"{label}[{name!r}]": value for label, values in named.items() for name, value in values.items()},
        where,
    )
    for name, value in reference.items():
        checks.floating(where, f"{first}[{name!r}]", backend.xp, value.dtype)
    for label, values in others:
        for name, value in values.items():
            expected = reference[name]
            if value.shape != expected.shape:
                checks.shape(where, f"{label}[{name!r}]", value, tuple(expected.shape))
            if value.dtype != expected.dtype:
                checks.dtype(where, f"{label}[{name!r}]", value, expected.dtype)
    return backend


class Optimizer(ABC):
    """What all optimisers share: a subclass is a frozen dataclass with its body, its state and its scalars.

    Attributes
    ----------
    State : type
        NamedTuple: the number of updates done, then dicts with an array for every parameter.
    """

    learning_rate: float
    State: ClassVar[Any]

    @property
    @abstractmethod
    def body(self) -> Pointwise:
        """Maps (p, moments..., g, scalars...) to (p, moments...)."""

    @property
    def moments(self) -> int:
        """Number of arrays that the state holds for every parameter."""
        return len(self.State._fields) - 1

    @abstractmethod
    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """The body's last arguments in update number `step`, counted from 1."""

    def init(self, params: Params) -> Any:
        """Return the state before the first update.

        Parameters
        ----------
        params : mapping of str to array

        Returns
        -------
        NamedTuple
            Of step 0 and zeros on the backend of the parameters.
        """
        where = f"{type(self).__name__}.init"
        backend = common_backend(where, params=params)
        empty: list[dict[str, Array]] = [{} for _ in self.State._fields[1:]]
        for moment in empty[: self.moments]:
            moment.update((name, backend.zeros(tuple(p.shape), p.dtype)) for name, p in params.items())
        return self.State(0, *empty)

    def update(
        self, params: Params, grads: Params, state: Any, learning_rate: float | None = None
    ) -> tuple[dict[str, Array], Any]:
        """Return the parameters and the state after one update.

        Parameters
        ----------
        params : mapping of str to array
        grads : mapping of str to array
            Gradients of the parameters, with their names, shapes and dtypes.
        state : NamedTuple
            From `init` or from the update before.
        learning_rate : float, optional
            In place of the optimiser's own, for schedules.

        Returns
        -------
        params : dict of str to array
        state : NamedTuple

        Raises
        ------
        OptionError
            The learning rate is negative, or there are no parameters.
        ShapeError, DtypeError, MixedArraysError
        """
        where = f"{type(self).__name__}.update"
        if learning_rate is None:
            learning_rate = self.learning_rate
        rate = checks.number(where, "learning_rate", learning_rate)
        if not isinstance(state, self.State):
            raise OptionError(
                f"{where}: state is a {type(state).__name__}; expected {self.State.__name__}.",
                "Pass the state that init or the update before returned.",
            )
        moments = dict(zip(self.State._fields[1 : 1 + self.moments], state[1:], strict=False))
        backend = common_backend(where, params=params, grads=grads, **moments)
        step = state.step + 1
        scalars = self.scalars(rate, step)
        after: list[dict[str, Array]] = [
            {} for _ in self.State._fields
        ]  # of the parameters, then the moments
        with backend.computing(where, parameters=sum(prod(p.shape) for p in params.values())):
            kernel = backend.functional_kernel(self.body.program)
            for name, p in params.items():
                result = kernel(p, *[moment[name] for moment in moments.values()], grads[name], *scalars)
                for values, value in zip(after, result, strict=False):
                    values[name] = value
        return after[0], self.State(step, *after[1:])
