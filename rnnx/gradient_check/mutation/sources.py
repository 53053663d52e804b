"""Syntax trees of modules, compiled as they are, with one node changed, or so that they show their values."""

import ast
import copy
import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.util import resolve_name
from types import CodeType
from typing import Any

TOOLS = "__rnnx__"
"""Name under which changed code finds its `rnnx.gradient_check.mutation.copies.Tools`."""

NO_VALUE = (ast.Starred, ast.Slice, ast.Constant, ast.JoinedStr, ast.FormattedValue)
"""Expressions that cannot stand as an argument of a call, or whose value is no news."""


class Source:
    """One module's syntax tree.

    Attributes
    ----------
    lines : list of str
    nodes : list of ast.AST
        All of them; a node's place here is its number.
    parents : dict of ast.AST to ast.AST
    code : code
        Of the module as it is.
    """

    def __init__(self, name: str) -> None:
        module = importlib.import_module(name)
        text = inspect.getsource(module)
        self.name, self.file = name, module.__file__ or name
        self.lines = text.splitlines()
        self.tree = ast.parse(text)
        self.nodes = list(ast.walk(self.tree))
        self.parents = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.code = self._compiled(self.tree)

    @cached_property
    def imports(self) -> set[str]:
        """Names that it imports: modules, and for what is taken from one, also its name there."""
        package, found = sys.modules[self.name].__package__, set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), package)
                found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        return found

    @cached_property
    def watched(self) -> CodeType:
        """The module changed so that all expressions and arguments of functions are shown to `Tools.see`."""
        tree = copy.deepcopy(self.tree)
        numbers = {node: number for number, node in enumerate(ast.walk(tree))}
        return self._compiled(ast.fix_missing_locations(_Watch(self.name, numbers).visit(tree)))

    def changed(self, node: ast.AST, new: ast.AST) -> CodeType:
        """The module with one node in place of another."""
        with self._replaced(node, new):
            return self._compiled(self.tree)

    def _compiled(self, tree: ast.Module) -> CodeType:
        return compile(tree, self.file, "exec", dont_inherit=True)

    @contextmanager
    def _replaced(self, node: ast.AST, new: ast.AST) -> Iterator[None]:
        parent = self.parents[node]
        for name, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, name, _located(new, node))
                yield
                setattr(parent, name, node)
            elif isinstance(value, list) and node in value:
                at = value.index(node)
                value[at] = _located(new, node)
                yield
                value[at] = node


source = cache(Source)
"""`Source` of the module of a name."""


def dependents(name: str, among: set[str]) -> set[str]:
    """A module, and those among others that import it, straight or through each other."""
    found: set[str] = set()
    more = {name}
    while more:
        found |= more
        more = {other for other in among - found if source(other).imports & found}
    return found


def tool(name: str, *arguments: ast.expr) -> ast.Call:
    """Syntax of a call of one of the `Tools`."""
    return ast.Call(ast.Attribute(ast.Name(TOOLS, ast.Load()), name, ast.Load()), list(arguments), [])


def _located(new: ast.AST, node: ast.AST) -> ast.AST:
    """A new node, and all in it that has no place in the file yet, at the place of another one."""
    if not hasattr(new, "lineno"):
        ast.copy_location(new, node)
        for child in ast.iter_child_nodes(new):
            _located(child, node)
    return new


class _Watch(ast.NodeTransformer):
    """Wraps every argument and every expression of a function in a call of `Tools.see`."""

    def __init__(self, name: str, numbers: dict[ast.AST, int]) -> None:
        self.name, self.numbers = name, numbers
        self.depth = 0

    def visit(self, node: ast.AST) -> Any:
        found = super().visit(node)
        loaded = isinstance(getattr(found, "ctx", ast.Load()), ast.Load)
        if not (self.depth and isinstance(found, ast.expr) and loaded) or isinstance(found, NO_VALUE):
            return found
        if isinstance(found, ast.Tuple) and any(isinstance(item, ast.Slice) for item in found.elts):
            return found
        return self._seen(node, found)

    def _seen(self, node: ast.AST, value: ast.expr) -> ast.Call:
        return tool("see", ast.Constant(self.name), ast.Constant(self.numbers[node]), value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.depth += 1
        given = [ast.Expr(self._seen(each, ast.Name(each.arg, ast.Load()))) for each in node.args.args]
        node.body = [*given, *(self.visit(statement) for statement in node.body)]
        self.depth -= 1
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.value = self.visit(node.value) if node.value else None
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        return node
