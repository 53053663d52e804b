"""CuPy's modules of CUDA's runtime and driver, made to call the machine.

CuPy is written in Cython, and its modules call each other through pointers to C functions, which each module
hands out in ``__pyx_capi__``: a dictionary of capsules, whose names are the functions' C signatures. A module
takes the pointers when it is imported. So the capsules of the two lowest modules, which alone call CUDA, are
pointed at the machine's functions before any other module of CuPy is imported.

Python code calls the same functions as attributes of the module; those are replaced as well.
"""

import ctypes
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

ARGUMENTS = {
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "size_t": ctypes.c_size_t,
    "intptr_t": ctypes.c_ssize_t,
    "PyObject *": ctypes.py_object,
}
RESULTS = ARGUMENTS | {"float": ctypes.c_float}

_get_name = ctypes.pythonapi.PyCapsule_GetName
_get_name.restype, _get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_set_pointer = ctypes.pythonapi.PyCapsule_SetPointer
_set_pointer.argtypes = [ctypes.py_object, ctypes.c_void_p]


class OptionalInt(ctypes.Structure):
    """Cython's form of one optional argument: how many are given, and the value."""

    _fields_ = (("given", ctypes.c_int), ("value", ctypes.c_int))


def redirect(module: ModuleType, library: ctypes.CDLL, prefix: str) -> list[str]:
    """Let a module's exported functions be those of the library, where it has one of that name.

    Returns
    -------
    list of str
        The names of the functions that are replaced.
    """
    replaced = []
    for name, capsule in module.__pyx_capi__.items():
        if not hasattr(library, prefix + name):
            continue
        function = library[prefix + name]  # an object of its own, unlike the attribute
        _set_pointer(capsule, ctypes.cast(function, ctypes.c_void_p))
        replaced.append(name)
        if hasattr(module, name):
            setattr(module, name, python_function(function, name, _get_name(capsule).decode()))
    return replaced


def python_function(function: Any, name: str, signature: str) -> Callable[..., Any]:
    """The C function as Python code calls it.

    Parameters
    ----------
    function : ctypes function
    name : str
    signature : str
        Such as ``intptr_t (size_t, int __pyx_skip_dispatch)``.
    """
    result, _, inside = signature.removesuffix(")").partition("(")
    types = [part.strip() for part in inside.split(",")]
    given = [ARGUMENTS[part] for part in types if "__pyx_" not in part and part != "void"]
    has_optional = "__pyx_optional_args" in types[-1]
    # An extension type, such as PointerAttributes, is a Python object too.
    result = re.sub(r"^struct .*\*$", "PyObject *", result.strip())
    function.restype = RESULTS[result]

    def call(*arguments: Any) -> Any:
        converted = [kind(value) for kind, value in zip(given, arguments, strict=False)]
        converted.append(ctypes.c_int(0))  # __pyx_skip_dispatch
        if has_optional:
            rest = arguments[len(given) :]
            converted.append(ctypes.byref(OptionalInt(1, int(rest[0]))) if rest else None)
        return function(*converted)

    call.__name__ = call.__qualname__ = name
    return call
