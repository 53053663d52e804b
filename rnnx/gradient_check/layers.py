"""Problems of the layers and losses: what stands around the cells is checked as they are."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from rnnx.activations import Tanh
from rnnx.backends import asarray
from rnnx.gradient_check.problem import Backward, Problem, Tensors, draw
from rnnx.layers import Dropout, Embedding, Linear
from rnnx.losses import half_squared_error, softmax_cross_entropy
from rnnx.typing import Array


def linear() -> list[Problem]:
    """An affine map of the last axis."""
    rng, layer = np.random.default_rng(1), Linear(3, 5)
    tensors = {name: draw(rng, shape) for name, shape in layer.param_shapes.items()} | {
        "x": draw(rng, (4, 2, 3))
    }

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        y, tape = layer.forward({"W": values["W"], "b": values["b"]}, values["x"])

        def backward(upstream: Tensors) -> Tensors:
            dx, grads = layer.backward(tape, upstream["y"])
            return grads | {"x": dx}

        return {"y": y}, backward

    return [Problem("linear", "4, 2 vectors", tensors, forward)]


def tanh() -> list[Problem]:
    """Hyperbolic tangent, of small and of large numbers."""
    layer, rng = Tanh(), np.random.default_rng(7)

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        y, tape = layer.forward(values["x"])
        return {"y": y}, lambda upstream: {"x": layer.backward(tape, upstream["y"])}

    cases = {"random": 1.0, "saturated": 4.0}
    return [
        Problem("tanh", case, {"x": scale * draw(rng, (4, 2, 3))}, forward) for case, scale in cases.items()
    ]


def embedding() -> list[Problem]:
    """Rows of a table, some of them taken several times and one never."""
    layer = Embedding(5, 3)
    tensors = {"W": draw(np.random.default_rng(2), (5, 3))}
    ids = np.array([[0, 4], [4, 1], [4, 2]])

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        x, tape = layer.forward(values, ids)
        return {"x": x}, lambda upstream: layer.backward(tape, upstream["x"])

    return [Problem("embedding", "repeated ids", tensors, forward)]


def dropout() -> list[Problem]:
    """Half of the entries dropped, the same in every evaluation."""
    layer, tensors = Dropout(0.5), {"x": draw(np.random.default_rng(5), (4, 2, 3))}

    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        y, mask = layer.forward(values["x"], np.random.default_rng(6))
        return {"y": y}, lambda upstream: {"x": layer.backward(mask, upstream["y"])}

    return [Problem("dropout", "rate 0.5", tensors, forward)]


Loss = Callable[[Tensors], tuple[Array, Array]]


def _loss_problem(name: str, case: str, tensors: dict[str, np.ndarray], loss: Loss) -> Problem:
    def forward(values: Tensors) -> tuple[Tensors, Backward]:
        value, gradient = loss(values)
        (tensor,) = values
        return {"loss": value}, lambda upstream: {tensor: gradient * upstream["loss"]}

    return Problem(name, case, tensors, forward)


def squared_error() -> list[Problem]:
    """Half the summed squared error."""
    rng = np.random.default_rng(3)
    y, target = draw(rng, (4, 2, 3)), draw(rng, (4, 2, 3))

    def loss(values: Tensors) -> tuple[Array, Array]:
        return half_squared_error(values["y"], asarray(target, dtype=values["y"].dtype))

    return [_loss_problem("half-squared-error", "random", {"y": y}, loss)]


def cross_entropy() -> list[Problem]:
    """Softmax cross-entropy with and without a mask, summed and averaged, and with logits of a hundred."""
    rng = np.random.default_rng(4)
    targets, some = rng.integers(0, 5, (4, 3)), rng.random((4, 3)) < 0.6

    def problem(
        case: str, mask: np.ndarray | None, reduction: Literal["mean", "sum"], scale: float = 1.0
    ) -> Problem:
        def loss(values: Tensors) -> tuple[Array, Array]:
            return softmax_cross_entropy(values["logits"], targets, mask, reduction)

        return _loss_problem("softmax-cross-entropy", case, {"logits": scale * draw(rng, (4, 3, 5))}, loss)

    return [
        problem("mean", None, "mean"),
        problem("masked mean", some, "mean"),
        problem("masked sum", some, "sum"),
        problem("large logits", None, "sum", 100.0),
    ]


LAYERS = {
    "linear": linear,
    "tanh": tanh,
    "embedding": embedding,
    "dropout": dropout,
    "half-squared-error": squared_error,
    "softmax-cross-entropy": cross_entropy,
}
"""Maker of the problems of each layer and loss by name."""
