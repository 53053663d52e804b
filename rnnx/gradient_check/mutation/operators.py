"""Mutation operators: small errors of the kind that people make in a backward pass, put into its syntax.

Every operator is told the syntax and what a run of the true code has shown of its values, and nothing of the
cell.
"""

import ast
from collections.abc import Callable, Iterator

from rnnx.gradient_check.mutation.copies import Kind
from rnnx.gradient_check.mutation.scene import Mutation, Scene
from rnnx.gradient_check.mutation.sources import tool

Tree = ast.AST
Operator = Callable[[Scene, Tree], Iterator[Tree]]
OPERATORS: dict[str, Operator] = {}
"""By name: from a scene and one of its nodes to the nodes that may take its place."""


def operator(name: str) -> Callable[[Operator], Operator]:
    """Register a function as the operator of that name."""

    def register(function: Operator) -> Operator:
        OPERATORS[name] = function
        return function

    return register


def mutations(scene: Scene) -> Iterator[Mutation]:
    """Every change that the operators make in a scene, each once."""
    known = set()
    for name, function in OPERATORS.items():
        for node in scene.source.nodes:
            for new in function(scene, node):
                key = node, ast.dump(new)
                if key not in known and ast.dump(node) != key[1]:
                    known.add(key)
                    yield Mutation(name, scene, node, new)


def _swapped(items: list[ast.expr], scene: Scene) -> Iterator[list[ast.expr]]:
    """The list with two neighbours of one kind exchanged, for each such pair."""
    for k in range(len(items) - 1):
        if scene.is_number(items[k]) and scene.kind(items[k]) == scene.kind(items[k + 1]):
            yield [*items[:k], items[k + 1], items[k], *items[k + 2 :]]


def _is_data(kind: Kind | None) -> bool:
    """Whether it is the kind of a number or a state; what an iterator gives is not known, and may be."""
    return kind is None or kind[0] in ("scalar", "array", "state")


def _is_tuple(target: ast.expr, *more: ast.expr) -> bool:
    return isinstance(target, ast.Tuple) and not more


def _times(factor: float, node: ast.expr) -> ast.BinOp:
    return ast.BinOp(ast.Constant(factor), ast.Mult(), node)


@operator("drop a term")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.BinOp) and scene.is_number(node):
        if isinstance(node.op, ast.Add):
            yield from (node.left, node.right)
        elif isinstance(node.op, ast.Sub):
            yield from (node.left, ast.UnaryOp(ast.USub(), node.right))
    elif isinstance(node, ast.AugAssign) and scene.is_number(node.value):
        yield ast.Pass()


@operator("flip a sign")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    other = {ast.Add: ast.Sub, ast.Sub: ast.Add}
    if isinstance(node, ast.BinOp) and scene.is_number(node) and type(node.op) in other:
        yield ast.BinOp(node.left, other[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign) and scene.is_number(node.value) and type(node.op) in other:
        yield ast.AugAssign(node.target, other[type(node.op)](), node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and scene.is_number(node):
        yield node.operand
    elif isinstance(node, ast.expr) and scene.is_result(node) and scene.kind(node) == ("scalar",):
        yield ast.UnaryOp(ast.USub(), node)


@operator("replace a factor by 1")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.BinOp) and scene.is_number(node):
        if isinstance(node.op, ast.Mult):
            yield from (node.left, node.right)
        elif isinstance(node.op, ast.Div | ast.Pow):
            yield node.left


@operator("replace 1 - z by z")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and scene.is_number(node):
        if isinstance(node.left, ast.Constant) and node.left.value == 1:
            yield node.right
        elif isinstance(node.left, ast.Name):
            yield ast.BinOp(ast.Constant(1.0), ast.Sub(), node.right)


@operator("forget an activation's derivative")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Call) and len(node.args) == 1:
        (argument,) = node.args
        if scene.kind(node) == scene.kind(argument) == ("scalar",):
            yield argument


@operator("change a constant")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, float)
        and scene.is_number(scene.parent(node))
    ):
        yield ast.Constant(2.0 * node.value)


@operator("swap two gates")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Assign) and node.value in scene.seen and _is_tuple(*node.targets):
        names = getattr(node.targets[0], "elts", [])
        kinds = scene.kind(node.value)[1:]
        if not kinds:  # an iterator
            kinds = (None,) * len(names)
        for a in range(len(names)):
            for b in range(a + 1, len(names)):
                if len(kinds) == len(names) and kinds[a] == kinds[b] and _is_data(kinds[a]):
                    order = [*names]
                    order[a], order[b] = names[b], names[a]
                    yield ast.Assign([ast.Tuple(order, ast.Store())], node.value)
    elif isinstance(node, ast.Call) and node in scene.seen:
        for items in _swapped(node.args, scene):
            yield ast.Call(node.func, items, node.keywords)
        if getattr(node.func, "attr", "") == "blocks":  # which are gates
            for a, b in (0, 1), (1, 2):
                yield tool("exchanged", node, ast.Constant(a), ast.Constant(b))


@operator("swap two outputs")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load):
        for items in _swapped(node.elts, scene):
            yield type(node)(items, ast.Load())
    elif isinstance(node, ast.Dict) and node in scene.seen:
        for items in _swapped(node.values, scene):
            yield ast.Dict(node.keys, items)


@operator("take another variable")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Name) and scene.is_number(node):
        yield from (ast.Name(name, ast.Load()) for name in scene.others(node)[:1])
    elif isinstance(node, ast.Subscript) and scene.is_number(node) and isinstance(node.slice, ast.Constant):
        sort, *items = scene.kind(node.value)
        own = [key for key, found in items if found == scene.kind(node)] if sort == "mapping" else []
        if node.slice.value in own and len(own) > 1:
            key = own[(own.index(node.slice.value) + 1) % len(own)]
            yield ast.Subscript(node.value, ast.Constant(key), ast.Load())


@operator("take another state")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Attribute) and scene.kind(node.value)[0] == "state":
        for field in scene.kind(node.value)[1:]:
            if field != node.attr:
                yield ast.Attribute(node.value, field, node.ctx)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node in scene.seen:
        at, (sort, *items) = node.slice.value, scene.kind(node.value)
        if isinstance(at, int) and sort in ("sequence", "state") and scene.kind(node) != ("int",):
            for k in range(len(items)):
                if k != at and (sort == "state" or items[k] == items[at]):
                    yield ast.Subscript(node.value, ast.Constant(k), node.ctx)


@operator("use t instead of t-1")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Name) and scene.kind(node)[0] == "state":
        yield from (ast.Name(name, ast.Load()) for name in scene.others(node))
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reversed" and node in scene.seen:
        yield node.args[0]
    elif isinstance(node, ast.Subscript) and scene.kind(node.value)[0] == "array":
        several = isinstance(node.slice, ast.Tuple)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for at, part in enumerate(parts):
            for new in _moved(scene, part):
                items = [*parts[:at], new, *parts[at + 1 :]]
                yield ast.Subscript(node.value, ast.Tuple(items, ast.Load()) if several else new, node.ctx)


def _moved(scene: Scene, part: ast.expr) -> Iterator[ast.expr]:
    """An index one later and one earlier; the steps from the second on for all but the last, and back."""
    if isinstance(part, ast.Slice):
        lower, upper = (None if end is None else ast.unparse(end) for end in (part.lower, part.upper))
        if (lower, upper) == (None, "-1"):
            yield ast.Slice(ast.Constant(1), None)
        elif (lower, upper) == ("1", None):
            yield ast.Slice(None, ast.UnaryOp(ast.USub(), ast.Constant(1)))
    elif scene.kind(part) == ("int",) or (isinstance(part, ast.Constant) and type(part.value) is int):
        yield ast.BinOp(part, ast.Add(), ast.Constant(1))
        yield ast.BinOp(part, ast.Sub(), ast.Constant(1))


@operator("forget a carry")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    other = {"matmul_add": "matmul", "matmul": "matmul_add"}
    if isinstance(node, ast.Attribute) and node in scene.seen and node.attr in other:
        call = scene.parent(node)
        if isinstance(call, ast.Call) and len(call.args) == 1:  # the product is bound, not taken
            yield ast.Attribute(node.value, other[node.attr], node.ctx)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node.value in scene.seen:
        yield ast.Pass()
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and _is_data(scene.kind(node.value)):
        (target,) = node.targets
        again = isinstance(target, ast.Name) and target.id in scene.bound_before(node)
        if again or isinstance(target, ast.Subscript | ast.Attribute):
            yield ast.Pass()


@operator("do not store a result")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Tuple) and getattr(scene.parent(node), "arg", "") == "out":
        for k, item in enumerate(node.elts):
            if scene.kind(item)[0] == "array":
                yield ast.Tuple([*node.elts[:k], tool("copied", item), *node.elts[k + 1 :]], ast.Load())


@operator("transpose a square weight")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if not isinstance(node, ast.expr) or scene.kind(node)[0] != "array":
        return
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    shape = scene.kind(node)[1] or ()
    blocks = len(shape) == 2 and min(shape) > 1 and max(shape) % min(shape) == 0
    names = [name for name, other in scene.tensors.items() if other == shape]
    weight = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    if blocks and names and (weight or scene.is_result(node)):
        yield tool("transposed", node)


@operator("swap two axes")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.Tuple) and scene.parent(node) in scene.seen:
        if all(isinstance(item, ast.Constant) or scene.kind(item) == ("int",) for item in node.elts):
            for k in range(len(node.elts) - 1 if isinstance(scene.parent(node), ast.Call) else 0):
                items = [*node.elts]
                items[k], items[k + 1] = items[k + 1], items[k]
                yield ast.Tuple(items, ast.Load())
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "matrix_transpose":
        yield from node.args if node in scene.seen else ()


@operator("drop a part of a sum")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if scene.kind(node)[0] != "array":
        return
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "sum":
        axes = [word.value for word in node.keywords if word.arg == "axis"]
        if len(axes) == 1:
            yield tool("first", node.args[0], axes[0])
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield tool("shorter_product", node.left, node.right)


@operator("start a gradient from its parameter")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if not isinstance(node, ast.expr) or not scene.is_result(node) or scene.kind(node)[0] != "array":
        return
    for name, shape in scene.tensors.items():
        if shape == scene.kind(node)[1]:
            yield tool("started", node, ast.Constant(name))


@operator("leave a gradient zero")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.expr) and scene.is_result(node):
        yield _times(0.0, node)


@operator("double a gradient")
def _(scene: Scene, node: Tree) -> Iterator[Tree]:
    if isinstance(node, ast.expr) and scene.is_result(node):
        yield _times(2.0, node)
