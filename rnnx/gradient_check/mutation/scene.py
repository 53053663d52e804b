"""A module of a backward pass as a run has shown it, and one change of it."""

import ast
import copy
from dataclasses import dataclass
from types import CodeType

from rnnx.gradient_check.mutation.copies import Kind, Tools
from rnnx.gradient_check.mutation.sources import TOOLS, Source


class Scene:
    """One module of a backward pass: its syntax, and the kinds of the values seen in that pass.

    Parameters
    ----------
    source : Source
    runs : list of Tools
        Of runs of the watched module; what the first one has shown of a node goes before what others have.

    Attributes
    ----------
    seen : dict of ast.AST to Kind
        The expressions that a backward pass has evaluated.
    shared : set of ast.AST
        Those of them that a forward pass has evaluated too.
    tensors : dict of str to tuple of int
        Shapes of the parameters and of x in the first run.
    """

    def __init__(self, source: Source, runs: list[Tools]) -> None:
        self.source = source
        self.tensors = {name: value.shape for name, value in runs[0].tensors.items()}
        self.seen: dict[ast.AST, Kind] = {}
        self.shared: set[ast.AST] = set()
        for (name, number), kinds in ((key, kinds) for tools in runs for key, kinds in tools.seen.items()):
            if name == source.name and True in kinds:
                self.seen.setdefault(source.nodes[number], kinds[True])
            if name == source.name and False in kinds:
                self.shared.add(source.nodes[number])
        self.shared &= self.seen.keys()

    def kind(self, node: ast.AST) -> Kind:
        return self.seen.get(node, ("unseen",))

    def is_number(self, node: ast.AST) -> bool:
        return self.kind(node)[0] in ("scalar", "array")

    def parent(self, node: ast.AST) -> ast.AST:
        return self.source.parents[node]

    def function(self, node: ast.AST) -> ast.AST:
        """The innermost function around a node."""
        while not isinstance(node, ast.FunctionDef | ast.Module):
            node = self.parent(node)
        return node

    def is_result(self, node: ast.AST) -> bool:
        """Whether a number is what a statement, a return, a dictionary's item or a comprehension yields."""
        if not self.is_number(node):
            return False
        parent = self.parent(node)
        if isinstance(parent, ast.Tuple):
            parent, node = self.parent(parent), parent
        if isinstance(parent, ast.ListComp | ast.GeneratorExp):
            return node is parent.elt
        return isinstance(parent, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Return | ast.Dict)

    def bound_before(self, node: ast.AST) -> set[str]:
        """Names that the function around a node has bound by then: parameters, and those assigned above."""
        function, line = self.function(node), getattr(node, "lineno", 0)
        names = {a.arg for a in function.args.args} if isinstance(function, ast.FunctionDef) else set()
        for other in ast.walk(function):
            if isinstance(other, ast.Name) and isinstance(other.ctx, ast.Store) and other.lineno < line:
                names.add(other.id)
        return names

    def others(self, node: ast.Name) -> list[str]:
        """Other names of the same kind that are bound by then, the next one first."""
        same = [each for each in ast.walk(self.function(node)) if self.kind(each) == self.kind(node)]
        found = [getattr(each, "id", getattr(each, "arg", "")) for each in same]
        bound = self.bound_before(node) | {node.id}
        names = [name for name in dict.fromkeys(found) if name in bound]
        at = names.index(node.id)
        return names[at + 1 :] + names[:at]


@dataclass(frozen=True)
class Mutation:
    """One changed node of one module."""

    operator: str
    scene: Scene
    node: ast.AST
    new: ast.AST

    def __str__(self) -> str:
        return f"{_text(self.node)} → {_text(self.new)}"

    @property
    def place(self) -> tuple[str, str]:
        """Module and number of the line, and the line."""
        number = int(getattr(self.node, "lineno", 0))
        return f"{self.scene.source.name}:{number}", self.scene.source.lines[number - 1].strip()

    @property
    def is_number(self) -> bool:
        """Whether the true node is an expression with an array or a scalar for its value."""
        return self.scene.is_number(self.node)

    @property
    def code(self) -> CodeType:
        """The changed module; what the forward pass runs too is changed in the backward pass only."""
        new, shared = self.new, self.scene.shared
        if any(node in shared for node in (self.scene.parent(self.node), *ast.walk(self.node))):
            side = ast.Attribute(ast.Name(TOOLS, ast.Load()), "backward", ast.Load())
            if isinstance(self.node, ast.expr) and isinstance(new, ast.expr):
                new = ast.IfExp(side, new, self.node)
            elif isinstance(self.node, ast.stmt) and isinstance(new, ast.stmt):
                new = ast.If(side, [new], [self.node])
        return self.scene.source.changed(self.node, new)


def _text(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).replace(f"{TOOLS}.", "")
    return " ".join(text.split())
