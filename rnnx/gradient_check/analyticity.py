"""Which operation of a function is not analytic, so that the complex step does not apply: its name and line.

The function runs once on NumPy arrays that watch what is done to them (NumPy Enhancement Proposals 13, 18),
or on those of a library that tells of its operations by itself.
"""

import linecache
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from rnnx.backends import Backend

DROPS, COMPARES = "drops the imaginary part", "compares values, so that it may have kinks"

EFFECTS = (
    dict.fromkeys(("absolute", "abs", "real", "imag", "angle", "norm", "std", "var"), DROPS)
    | dict.fromkeys(("conjugate", "conj", "vdot"), "turns the imaginary part round")
    | dict.fromkeys(
        (
            *("greater", "greater_equal", "less", "less_equal", "maximum", "minimum", "fmax", "fmin"),
            *("clip", "sign", "amax", "amin", "max", "min", "argmax", "argmin", "sort", "argsort"),
            *("partition", "argpartition", "median", "searchsorted", "unique"),
        ),
        COMPARES,
    )
)
"""What operations that take complex numbers do to them that the complex step cannot bear."""

LOST = "discards the imaginary part"
"""In the warnings of NumPy and PyTorch about a complex value that is written into a real array."""

CONSTRUCTORS = ("array", "asarray", "ascontiguousarray", "empty", "full", "ones", "zeros")
"""Functions of NumPy whose results do not watch by themselves."""

_array = np.array


class NotAnalytic(Exception):
    """An operation that does not take complex numbers at all."""


class Watched(np.ndarray):
    """An array that notes the operations on it; so does every array that is made of it."""

    found: list[str]

    def __array_finalize__(self, source: Any) -> None:
        self.found = getattr(source, "found", [])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = ufunc.__name__
        if name in EFFECTS and any(np.iscomplexobj(x) for x in inputs):
            self._note(name, EFFECTS[name])
        outputs = options.get("out", ())
        if outputs:
            options["out"] = tuple(map(_bare, outputs))
        try:
            result = getattr(ufunc, method)(*map(_bare, inputs), **options)
        except TypeError as error:
            self._note(name, "does not take complex numbers")
            raise NotAnalytic(str(error)) from error
        return outputs[0] if len(outputs) == 1 else self._watch(result)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        if function.__name__ in EFFECTS:
            self._note(function.__name__, EFFECTS[function.__name__])
        return super().__array_function__(function, types, inputs, options)

    def _watch(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(map(self._watch, result))
        if not isinstance(result, np.ndarray | np.generic):
            return result
        watched = _array(result, copy=None).view(Watched)
        watched.found = self.found
        return watched

    def _note(self, name: str, effect: str) -> None:
        self.found.append(f"numpy.{name} {effect} ({_caller()})")

    @property  # type: ignore[misc]
    def real(self) -> Any:
        """The real part, noted."""
        self._note("real", DROPS)
        return self._watch(_bare(self).real)

    @property  # type: ignore[misc]
    def imag(self) -> Any:
        """The imaginary part, noted."""
        self._note("imag", DROPS)
        return self._watch(_bare(self).imag)

    def conj(self) -> Any:
        return np.conjugate(self)

    conjugate = conj

    def astype(self, dtype: Any, *arguments: Any, **options: Any) -> Any:
        if np.iscomplexobj(self) and not np.issubdtype(np.dtype(dtype), np.complexfloating):
            self._note("astype", DROPS)
            return self._watch(_bare(self).real.astype(dtype))
        return super().astype(dtype, *arguments, **options)


def _bare(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Watched) else x


def _caller(*libraries: str) -> str:
    """The line of the function under test: the innermost one that is neither here nor in a library."""
    frame: Any = sys._getframe(1)
    others = (__name__, "numpy", *libraries)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not any(module == other or module.startswith(f"{other}.") for other in others):
            return line(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return "somewhere"


def operations_on(
    backend: Backend, run: Callable[[dict[str, Any]], object], tensors: dict[str, np.ndarray]
) -> list[str]:
    """The same as `operations`, on another library's arrays, as far as it tells of them."""
    found: list[str] = []

    def is_complex(x: Any) -> bool:
        return backend.holds(x) and bool(backend.xp.isdtype(x.dtype, "complex floating"))

    def see(name: str, inputs: Sequence[Any], result: Any) -> None:
        if not any(map(is_complex, inputs)):
            return
        name = name.removesuffix(".__get__")  # of a property such as x.real
        real = backend.holds(result) and backend.xp.isdtype(result.dtype, "real floating")
        effect = DROPS if real else EFFECTS.get(name.rpartition(".")[2].removesuffix("_physical"), "")
        if effect:
            found.append(f"{name} {effect} ({_caller(*libraries)})")

    given = {name: backend.asarray(value, "complex128") for name, value in tensors.items()}
    roots = {
        module.partition(".")[0]
        for module in (backend.xp.__name__, type(next(iter(given.values()))).__module__)
    }
    libraries = type(backend).__module__, *roots
    with suppress(Exception), backend.watching(see):  # its refusal says less than the operations before it
        run(given)
    return list(dict.fromkeys(found))


def line(file: str, number: int) -> str:
    """A line of a file as an error names it: with its text, where that can be read."""
    text = linecache.getline(file, number).strip()
    place = f"{file.replace(chr(92), '/').rpartition('/')[2]}, line {number}"
    return f"{place}: {text}" if text else place


def operations(run: Callable[[dict[str, Any]], object], tensors: dict[str, np.ndarray]) -> list[str]:
    """Run a function of NumPy arrays on complex numbers, and describe what is not analytic, in order.

    Parameters
    ----------
    run : callable
        From the named arrays to anything.
    tensors : dict of str to array
    """
    found: list[str] = []
    watched = {}
    for name, value in tensors.items():
        watched[name] = value.astype(np.complex128).view(Watched)
        watched[name].found = found
    with warnings.catch_warnings(), np.errstate(all="ignore"), _watching_constructors(found):
        warnings.simplefilter("ignore")
        with suppress(Exception):  # the function's own refusal says less than the operations before it
            run(watched)
    return list(dict.fromkeys(found))


@contextmanager
def _watching_constructors(found: list[str]) -> Iterator[None]:
    """A loop over time writes into buffers that it made itself: let these watch, too.

    NumPy's own functions are replaced for the length of one run, since no argument of theirs is an array that
    could tell.
    """
    true = {name: getattr(np, name) for name in CONSTRUCTORS}

    def watching(name: str) -> Callable[..., Any]:
        def construct(*arguments: Any, **options: Any) -> Any:
            made = true[name](*arguments, **options)
            if not np.iscomplexobj(made):
                return made
            watched = _bare(made).view(Watched)
            watched.found = found
            return watched

        return construct

    try:
        for name in CONSTRUCTORS:
            setattr(np, name, watching(name))
        yield
    finally:
        for name, function in true.items():
            setattr(np, name, function)


@contextmanager
def lost_parts() -> Iterator[list[str]]:
    """Collect where complex values are written into real arrays; all other warnings came in the real run."""
    places: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield places
        places += [line(w.filename, w.lineno) for w in caught if LOST in str(w.message)]
