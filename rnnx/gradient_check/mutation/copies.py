"""Private copies of the modules that a cell is written in: executed in memory, seen by each other only."""

import builtins
import sys
from collections.abc import Callable
from importlib.util import resolve_name
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from rnnx.gradient_check.mutation.sources import TOOLS
from rnnx.ops.pointwise import Scalar
from rnnx.typing import Array, SequenceCell

PACKAGES = frozenset({"rnnx", "rnnx.cells"})
KEPT = tuple(
    f"rnnx.{part}."
    for part in (
        *("backends", "checks", "errors", "gradient_check", "init", "ops.pointwise", "ops.workspace"),
        "typing",
    )
)
"""Parts of rnnx that know of no gradient: they are not copied, nor are the packages above themselves."""

Make = Callable[[int, int], SequenceCell]
"""Maker of a cell by D and H, as in the registry."""

Kind = tuple[Any, ...]
"""What a value is, as far as it decides which changes make sense: its sort, then its shape or its parts.

The shape is None where a node has had arrays of several shapes, the sort "other" where it has had several.
"""


def kind(value: Any) -> Kind:
    """Tell a value's kind; two values of one kind can stand in for each other."""
    if isinstance(value, Scalar):
        return ("scalar",)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return ("array", value.shape)
    if isinstance(value, int) and not isinstance(value, bool):
        return ("int",)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return ("state", *value._fields)
    if isinstance(value, tuple | list):
        return ("sequence", *map(kind, value))
    if isinstance(value, dict):
        return ("mapping", *((key, kind(item)) for key, item in value.items()))
    return ("other",)


class Tools:
    """What changed code calls, and what watched code tells.

    Attributes
    ----------
    backward : bool
        Whether a backward pass is running.
    tensors : dict of str to array
        Parameters and input of the last forward pass.
    seen : dict of (str, int) to dict of bool to Kind
        By module and number of the node: the kind of its values in each pass (True: backward).
    same : bool
        Whether all values that were compared have been equal.
    """

    def __init__(self) -> None:
        self.backward = False
        self.tensors: dict[str, Array] = {}
        self.seen: dict[tuple[str, int], dict[bool, Kind]] = {}
        self.same = True

    def see(self, module: str, number: int, value: Any) -> Any:
        """The value, whose kind is kept."""
        known, found = self.seen.setdefault((module, number), {}), kind(value)
        if known.setdefault(self.backward, found) != found:
            arrays = known[self.backward][0] == found[0] == "array"
            known[self.backward] = ("array", None) if arrays else ("other",)
        return value

    def compared(self, true: Any, changed: Any) -> Any:
        """The changed value; `same` tells whether it was the true one."""
        self.same = self.same and isinstance(true, np.ndarray) and np.array_equal(true, changed)
        return changed

    def started(self, value: Array, name: str) -> Array:
        """The value, added to what the forward pass was given under that name."""
        return value + self.tensors[name]

    @staticmethod
    def exchanged(items: tuple[Any, ...], a: int, b: int) -> tuple[Any, ...]:
        """The items, two of them exchanged; as they are if one of these is missing."""
        order = list(range(len(items)))
        a, b = min(a, len(items) - 1), min(b, len(items) - 1)
        order[a], order[b] = order[b], order[a]
        return tuple(items[k] for k in order)

    @staticmethod
    def poisoned(value: Any) -> Any:
        """A value that spoils all that depends on it."""
        return float("nan") * value

    @staticmethod
    def copied(value: Array) -> Array:
        """An array of its own."""
        return value.copy()

    @staticmethod
    def transposed(value: Array) -> Array:
        """Every square block of a matrix, transposed in its place."""
        rows, columns = value.shape
        if rows > columns:
            return Tools.transposed(value.T).T
        return value.reshape(rows, -1, rows).transpose(2, 1, 0).reshape(rows, columns)

    @staticmethod
    def first(value: Array, axis: int | tuple[int, ...]) -> Array:
        """The first summand instead of the sum over one or more axes."""
        over = {each % value.ndim for each in np.atleast_1d(axis)}
        return value[tuple(0 if each in over else slice(None) for each in range(value.ndim))]

    @staticmethod
    def shorter_product(a: Array, b: Array) -> Array:
        """``a @ b`` without the last term of every sum."""
        return a[..., :-1] @ b[:-1, ...]


class Copies:
    """The copied modules of one class.

    Parameters
    ----------
    of : type
    code : callable
        Code to execute for the module of a name.
    names : set of str, optional
        The modules to copy; by default all that the class is written in.

    Attributes
    ----------
    modules : dict of str to module
    tools : Tools
        What all of them call.
    """

    def __init__(self, of: type, code: Callable[[str], CodeType], names: set[str] | None = None) -> None:
        self.tools = Tools()
        self.modules: dict[str, ModuleType] = {}
        self._code, self._names = code, names
        self._tops = {"rnnx", of.__module__.partition(".")[0]}
        found: Any = self._module(of.__module__)
        for part in of.__qualname__.split("."):
            found = getattr(found, part)
        self._type = self._told(found)

    def of(self, make: Make) -> Make:
        """Maker of the same cells, of the copied class."""

        def copied(D: int, H: int) -> Any:
            original = make(D, H)
            made: Any = object.__new__(self._type)
            made.__dict__ |= original.__dict__
            made.__dict__["analytic"] = original.analytic  # to ask the copy would trace its bodies too early
            return made

        return copied

    def _told(self, copied: Any) -> type:
        """The class, which tells the tools when its backward pass runs, and on what."""
        tools = self.tools

        def forward(self: Any, params: Any, x: Array, *arguments: Any, **options: Any) -> Any:
            tools.tensors = {**params, "x": x}
            return copied.forward(self, params, x, *arguments, **options)

        def backward(self: Any, *arguments: Any, **options: Any) -> Any:
            tools.backward = True
            try:
                return copied.backward(self, *arguments, **options)
            finally:
                tools.backward = False

        return type(copied.__name__, (copied,), {"forward": forward, "backward": backward, "analytic": None})

    def _module(self, name: str) -> ModuleType:
        if name not in self.modules:
            made, original = ModuleType(name), sys.modules[name]
            self.modules[name] = made
            made.__file__, made.__package__ = original.__file__, original.__package__
            made.__dict__["__builtins__"] = vars(builtins) | {"__import__": self._import}
            made.__dict__[TOOLS] = self.tools
            exec(self._code(name), made.__dict__)
        return self.modules[name]

    def _is_copied(self, name: str) -> bool:
        if self._names is not None:
            return name in self._names
        kept = name in PACKAGES or f"{name}.".startswith(KEPT)
        return name in sys.modules and name.partition(".")[0] in self._tops and not kept

    def _import(
        self, name: str, scope: Any = None, local: Any = None, wanted: Any = (), level: int = 0
    ) -> Any:
        """What an import statement of a copy calls."""
        found = __import__(name, scope, local, wanted, level)
        if not wanted:
            return found
        full = resolve_name("." * level + name, scope["__package__"])
        if self._is_copied(full):
            found = self._module(full)
        modules = {item: f"{full}.{item}" for item in wanted if self._is_copied(f"{full}.{item}")}
        if not modules:
            return found
        view = ModuleType(full)
        for item in wanted:
            setattr(view, item, self._module(modules[item]) if item in modules else getattr(found, item))
        return view
