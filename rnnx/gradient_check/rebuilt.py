"""Private copies of the modules that a cell is written in: watched while they run, or with one node changed.

Nothing is written to disk and nothing outside sees a copy: its imports alone lead to the other copies.
"""

import ast
import builtins
import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.util import resolve_name
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from rnnx.ops.pointwise import Scalar
from rnnx.typing import Array, SequenceCell

TOOLS = "__rnnx__"
"""Name under which a copy finds its `Tools`."""

KEPT = (
    *("backends", "cells", "checks", "errors", "gradient_check", "init", "ops.pointwise", "ops.workspace"),
    "typing",
)
"""Modules of rnnx that know of no gradient, and are not copied; nor is the package itself."""

UNWATCHED = (ast.Starred, ast.Slice, ast.Constant, ast.JoinedStr, ast.FormattedValue)

Kind = tuple[Any, ...]
"""What a value is, as far as it decides which changes make sense: its sort, then its shape or its parts.

The shape is None where a node has had arrays of several shapes, the sort "other" where it has had several sorts.
"""


def kind(value: Any) -> Kind:
    """Tell a value's sort; two values of one kind can stand in for each other."""
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


class Source:
    """One module's syntax tree."""

    def __init__(self, name: str) -> None:
        module = importlib.import_module(name)
        text = inspect.getsource(module)
        self.name, self.file = name, module.__file__ or name
        self.lines = text.splitlines()
        self.tree = ast.parse(text)
        self.nodes = list(ast.walk(self.tree))
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.code = self._compiled(self.tree)

    def changed(self, node: ast.AST, new: ast.AST) -> CodeType:
        """Compile the module with one node in place of another."""
        with self._replaced(node, new):
            return self._compiled(self.tree)

    @cached_property
    def watched(self) -> CodeType:
        """The module changed so that every expression inside a function shows its values to `Tools.see`."""
        tree = copy.deepcopy(self.tree)
        keys = {node: (self.name, index) for index, node in enumerate(ast.walk(tree))}
        return self._compiled(ast.fix_missing_locations(_Watch(keys).visit(tree)))

    def _compiled(self, tree: ast.AST) -> CodeType:
        code: CodeType = compile(tree, self.file, "exec", dont_inherit=True)  # type: ignore[call-overload]
        return code

    @contextmanager
    def _replaced(self, node: ast.AST, new: ast.AST) -> Iterator[None]:
        parent = self.parents[node]
        ((name, index),) = (
            (name, at)
            for name, value in ast.iter_fields(parent)
            for at, item in (enumerate(value) if isinstance(value, list) else [(None, value)])
            if item is node
        )
        items = None if index is None else getattr(parent, name)

        def put(what: ast.AST) -> None:
            if items is None:
                setattr(parent, name, what)
            else:
                items[index] = what

        put(_located(new, node))
        try:
            yield
        finally:
            put(node)


source = cache(Source)
"""`Source` of a module's name."""


def _located(new: ast.AST, node: ast.AST) -> ast.AST:
    """A new node, and all in it that has no place in the file yet, at the place of another one."""
    if not hasattr(new, "lineno"):
        ast.copy_location(new, node)
        for child in ast.iter_child_nodes(new):
            _located(child, node)
    return new


class _Watch(ast.NodeTransformer):
    """Wraps every expression inside a function in a call of `Tools.see`."""

    def __init__(self, keys: dict[ast.AST, tuple[str, int]]) -> None:
        self.keys = keys
        self.depth = 0

    def visit(self, node: ast.AST) -> Any:
        found = super().visit(node)
        loaded = isinstance(getattr(found, "ctx", ast.Load()), ast.Load)
        if not (self.depth and isinstance(found, ast.expr) and loaded) or isinstance(found, UNWATCHED):
            return found
        if isinstance(found, ast.Tuple) and any(isinstance(item, ast.Slice) for item in found.elts):
            return found
        return tool("see", ast.Constant(self.keys[node]), found)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.depth += 1
        node.body = [self.visit(statement) for statement in node.body]
        self.depth -= 1
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.value = self.visit(node.value) if node.value else None
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        return node


def tool(name: str, *arguments: ast.expr) -> ast.Call:
    """Syntax of a call of one of the `Tools`."""
    return ast.Call(ast.Attribute(ast.Name(TOOLS, ast.Load()), name, ast.Load()), list(arguments), [])


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
    """

    def __init__(self) -> None:
        self.backward = False
        self.tensors: dict[str, Array] = {}
        self.seen: dict[tuple[str, int], dict[bool, Kind]] = {}

    def see(self, key: tuple[str, int], value: Any) -> Any:
        known, found = self.seen.setdefault(key, {}), kind(value)
        if known.setdefault(self.backward, found) != found:
            array = known[self.backward][0] == found[0] == "array"
            known[self.backward] = ("array", None) if array else ("other",)
        return value

    def started(self, value: Array, name: str) -> Array:
        return value + self.tensors[name] if name in self.tensors else value

    @staticmethod
    def poisoned(value: Any) -> Any:
        return float("nan") * value

    @staticmethod
    def copied(value: Array) -> Array:
        return value.copy()

    @staticmethod
    def transposed(value: Array) -> Array:
        """Every square block of a matrix transposed in its place."""
        rows, columns = value.shape
        if rows > columns:
            return Tools.transposed(value.T).T
        return value.reshape(rows, -1, rows).transpose(2, 1, 0).reshape(rows, columns)

    @staticmethod
    def first(value: Array, axis: int) -> Array:
        return np.take(value, 0, axis)

    @staticmethod
    def shorter_product(a: Array, b: Array) -> Array:
        """``a @ b`` without the last term of every sum."""
        return a[..., :-1] @ b[:-1, ...]


class Copies:
    """The copied modules of one cell's class.

    Parameters
    ----------
    of : type
    code : callable
        Code to execute for the module of a name.
    """

    def __init__(self, of: type, code: Callable[[str], CodeType]) -> None:
        self.of, self.code, self.tools = of, code, Tools()
        self._tops = {"rnnx", of.__module__.partition(".")[0]}
        self._modules: dict[str, ModuleType] = {}
        found: Any = self.module(of.__module__)
        for part in of.__qualname__.split("."):
            found = getattr(found, part)
        self._type = self._told(found)

    def cell(self, original: SequenceCell) -> Any:
        """The same cell, of the copied class."""
        made = object.__new__(self._type)
        vars(made).update(vars(original), analytic=original.analytic)  # to ask a copy would trace its bodies
        return made

    def module(self, name: str) -> ModuleType:
        if name not in self._modules:
            made = self._modules[name] = ModuleType(name)
            scope = {"__import__": self._import}
            vars(made).update(__package__=sys.modules[name].__package__, __file__=sys.modules[name].__file__)
            vars(made).update({"__builtins__": vars(builtins) | scope, TOOLS: self.tools})
            exec(self.code(name), vars(made))
        return self._modules[name]

    def _is_copied(self, name: str) -> bool:
        top, _, rest = name.partition(".")
        kept = top == "rnnx" and (not rest or any(f"{rest}.".startswith(f"{k}.") for k in KEPT))
        return top in self._tops and (not kept or rest.startswith("cells.")) and name in sys.modules

    def _import(
        self, name: str, scope: Any = None, local: Any = None, wanted: Any = (), level: int = 0
    ) -> Any:
        found = __import__(name, scope, local, wanted, level)
        if not wanted:
            return found
        full = resolve_name("." * level + name, scope["__package__"]) if level else name
        if self._is_copied(full):
            found = self.module(full)
        modules = {item: f"{full}.{item}" for item in wanted if self._is_copied(f"{full}.{item}")}
        if not modules:
            return found
        view = ModuleType(full)
        for item in wanted:
            setattr(view, item, self.module(modules[item]) if item in modules else getattr(found, item))
        return view

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
