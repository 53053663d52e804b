"""Layers without a time loop: linear maps, embeddings of ids, dropout.

Each `forward` returns its result and a tape; `backward` takes the tape and the gradient of the result. A tape
may serve any number of backward passes.
"""

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from rnnx import backends, checks
from rnnx.backends import Backend, asarray
from rnnx.errors import ShapeError
from rnnx.init import draw_uniform, generator
from rnnx.typing import Array, Params


class LinearTape(NamedTuple):
    """What `Linear.backward` needs of its forward pass."""

    backend: Backend
    W: Array
    rows: Array
    shape: tuple[int, ...]


class EmbeddingTape(NamedTuple):
    """What `Embedding.backward` needs of its forward pass."""

    backend: Backend
    dtype: Any
    ids: Array
    shape: tuple[int, ...]


def _backend(where: str, params: Params, **inputs: Array) -> Backend:
    """The one backend of the parameters and inputs."""
    return backends.of({f"params[{name!r}]": value for name, value in params.items()} | inputs, where)


@dataclass(frozen=True)
class Linear:
    """Affine map of the last axis, ``y = x W + b``; parameters ``W (D, O)``, ``b (O,)``.

    Parameters
    ----------
    input_size, output_size : int
        D and O.
    """

    input_size: int
    output_size: int

    def __post_init__(self) -> None:
        checks.sizes(self, "input_size", "output_size")

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
        return {"W": (self.input_size, self.output_size), "b": (self.output_size,)}

    def init(self, seed: int = 0, dtype: str = "float32", prefix: str = "") -> dict[str, Array]:
        """Draw the parameters uniformly in ±1/sqrt(D), as torch.nn.Linear does.

        Parameters
        ----------
        seed : int
            One child seed per parameter name, drawn on the host: the same numbers on every backend.
        dtype : str
            ``"float32"`` or ``"float64"``.
        prefix : str
            Set before every name, such as ``"head."``.

        Returns
        -------
        dict of str to array
            On the default backend.
        """
        return draw_uniform(self.param_shapes, 1.0 / sqrt(self.input_size), seed, dtype, prefix)

    def forward(self, params: Params, x: Array) -> tuple[Array, LinearTape]:
        """Map x to ``x W + b``.

        Parameters
        ----------
        params : mapping of str to array
            W (D, O) and b (O,).
        x : (..., D) array
            Of the dtype of the parameters.

        Returns
        -------
        y : (..., O) array
        tape : LinearTape

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError
        """
        where = "Linear.forward"
        backend = _backend(where, params, x=x)
        dtype = checks.parameters(where, backend, params, self.param_shapes)
        if not x.shape or x.shape[-1] != self.input_size:
            raise ShapeError(f"{where}: x has shape {tuple(x.shape)}; expected (..., {self.input_size}).")
        checks.dtype(where, "x", x, dtype)
        leading = tuple(x.shape[:-1])
        # One matrix: a product of stacked matrices runs one GEMM for each of them.
        with backend.computing(where, rows=prod(leading), D=self.input_size, O=self.output_size):
            rows = backend.xp.reshape(x, (prod(leading), self.input_size))
            y = rows @ params["W"]
            y += params["b"]
            y = backend.xp.reshape(y, (*leading, self.output_size))
        return y, LinearTape(backend, params["W"], rows, leading)

    def backward(self, tape: LinearTape, dy: Array) -> tuple[Array, dict[str, Array]]:
        """Return the gradients of x and of the parameters.

        Parameters
        ----------
        tape : LinearTape
        dy : (..., O) array
            Gradient of y.

        Returns
        -------
        dx : (..., D) array
            ``dy Wᵀ``.
        grads : dict of str to array
            ``dW = xᵀ dy`` and ``db``, the sum of dy over all but its last axis.

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError
        """
        where, xp, count = "Linear.backward", tape.backend.xp, tape.rows.shape[0]
        expected = (*tape.shape, self.output_size)
        checks.gradient(where, tape.backend, "dy", dy, expected, tape.rows.dtype)
        with tape.backend.computing(where, rows=count, D=self.input_size, O=self.output_size):
            dy = xp.reshape(dy, (count, self.output_size))
            dx = xp.reshape(dy @ tape.W.T, (*tape.shape, self.input_size))
            return dx, {"W": tape.rows.T @ dy, "b": xp.sum(dy, axis=0)}


@dataclass(frozen=True)
class Embedding:
    """A row of numbers for every id; parameter ``W (V, E)``.

    Parameters
    ----------
    vocabulary_size, embedding_size : int
        V and E.
    """

    vocabulary_size: int
    embedding_size: int

    def __post_init__(self) -> None:
        checks.sizes(self, "vocabulary_size", "embedding_size")

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name."""
        return {"W": (self.vocabulary_size, self.embedding_size)}

    def init(self, seed: int = 0, dtype: str = "float32", prefix: str = "") -> dict[str, Array]:
        """Draw W from the standard normal distribution, as torch.nn.Embedding does.

        Parameters
        ----------
        seed, dtype, prefix
            As of `Linear.init`.

        Returns
        -------
        dict of str to array
            On the default backend.
        """
        name = f"{prefix}W"
        return {name: asarray(generator(seed, name).standard_normal(self.param_shapes["W"]), dtype=dtype)}

    def forward(self, params: Params, ids: Any) -> tuple[Array, EmbeddingTape]:
        """Take the row of every id.

        Parameters
        ----------
        params : mapping of str to array
            W (V, E).
        ids : (...) array_like of int
            On the host: a NumPy array or nested lists, each id in 0 .. V - 1.

        Returns
        -------
        x : (..., E) array
        tape : EmbeddingTape

        Raises
        ------
        OptionError
            An id is out of range.
        ShapeError, DtypeError, MixedArraysError
        """
        where = "Embedding.forward"
        backend = _backend(where, params)
        dtype = checks.parameters(where, backend, params, self.param_shapes)
        ids = checks.on_host(where, "ids", ids, "integers")
        ids = checks.ids(where, "ids", ids, self.vocabulary_size)
        with backend.computing(where, ids=ids.size, E=self.embedding_size):
            flat = backend.asarray(ids.reshape(-1))
            rows = backend.xp.take(params["W"], flat, axis=0)
            x = backend.xp.reshape(rows, (*ids.shape, self.embedding_size))
        return x, EmbeddingTape(backend, dtype, flat, ids.shape)

    def backward(self, tape: EmbeddingTape, dy: Array) -> dict[str, Array]:
        """Return the gradient of W: row v is the sum of dy over the positions whose id is v.

        Parameters
        ----------
        tape : EmbeddingTape
        dy : (..., E) array
            Gradient of x.

        Raises
        ------
        ShapeError, DtypeError, MixedArraysError
        """
        backend, size = tape.backend, self.embedding_size
        checks.gradient("Embedding.backward", backend, "dy", dy, (*tape.shape, size), tape.dtype)
        with backend.untracked():
            rows = backend.xp.reshape(dy, (tape.ids.shape[0], size))
            return {"W": backend.scatter_add(tape.ids, rows, self.vocabulary_size)}


@dataclass(frozen=True)
class Dropout:
    """Set each number to 0 with probability `rate`, and divide the others by ``1 - rate``.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014),
    1929-1958; scaled in training, so that expectations stay, as torch.nn.Dropout. Leave it out where nothing
    is trained.

    Parameters
    ----------
    rate : float
        In 0 <= rate < 1.
    """

    rate: float

    def __post_init__(self) -> None:
        checks.numbers(self, rate=1.0)

    def forward(self, x: Array, generator: np.random.Generator) -> tuple[Array, Array | None]:
        """Drop numbers of x.

        Parameters
        ----------
        x : (...) array
        generator : numpy.random.Generator
            Advanced by one number per element of x; on the host, so that a seed gives the same mask on every
            backend and in every dtype.

        Returns
        -------
        y : (...) array
            ``x * mask``; x itself if the rate is 0.
        mask : (...) array or None
            The tape: 0 or ``1 / (1 - rate)``, in the dtype of x; None if the rate is 0.
        """
        if self.rate == 0.0:
            return x, None
        backend = backends.of({"x": x}, "Dropout.forward")
        kept = generator.random(tuple(x.shape), dtype=np.float32) >= self.rate
        with backend.untracked():
            mask = backend.asarray(kept, x.dtype) * (1.0 / (1.0 - self.rate))
            return x * mask, mask

    def backward(self, mask: Array | None, dy: Array) -> Array:
        """Return the gradient of x, ``dy * mask``.

        Parameters
        ----------
        mask : (...) array or None
            From `forward`.
        dy : (...) array
            Gradient of y.
        """
        if mask is None:
            return dy
        backend = backends.of({"mask": mask}, "Dropout.backward")
        checks.gradient("Dropout.backward", backend, "dy", dy, tuple(mask.shape), mask.dtype)
        with backend.untracked():
            return dy * mask
