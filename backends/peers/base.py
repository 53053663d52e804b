"""What a peer is: a library whose recurrent layers are timed beside the cells."""

import os
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

import numpy as np


class Work(NamedTuple):
    """One layer's work as float32 arrays on the host.

    Attributes
    ----------
    params : dict of str to array
        By the names, and in the layouts, of rnnx's cells: ``Wx (D, G*H)``, ``Wh (H, G*H)``, ``b (G*H,)``, and
        ``bn (H,)`` of a GRU that resets after the product.
    x : (T, N, D) array
    state : dict of str to (N, H) array
        The initial state: ``h``, and ``c`` of an LSTM.
    dy : (T, N, H) array
        Gradient of y.
    """

    params: dict[str, np.ndarray]
    x: np.ndarray
    state: dict[str, np.ndarray]
    dy: np.ndarray


class Layer(NamedTuple):
    """A library's layer with its work in its own arrays.

    Attributes
    ----------
    forward : callable
        Computes y, and returns when it is there.
    train : callable or None
        Computes y and the gradients of x, of the initial state and of all parameters, and returns when they
        are there; None if the library does not train.
    y : callable
        y (T, N, H) on the host, from what `forward` returned.
    gradients : callable
        Gradients on the host, from what `train` returned, by name: ``x``, and the names in `Work`.
    """

    forward: Callable[[], Any]
    train: Callable[[], Any] | None
    y: Callable[[Any], np.ndarray]
    gradients: Callable[[Any], dict[str, np.ndarray]]


class Peer(Protocol):
    """A module of this folder."""

    CELLS: Collection[str]
    """Names of the cells that the library has, as in rnnx's registry."""

    def version(self) -> str:
        """Library and version, such as ``PyTorch 2.13.0``."""

    def bind(self, cell: str, work: Work) -> Layer:
        """The layer that is the same function as rnnx's cell of that name."""


def threads() -> int | None:
    """Threads that the environment asks for; None if it leaves that to the library.

    ``OMP_NUM_THREADS`` may be a list, one number for each level of nested loops.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(asked) if asked.isdecimal() else None


def reorder(matrix: np.ndarray, order: str, target: str) -> np.ndarray:
    """The blocks of the last axis, which are in one order of gates, in another; a letter is a gate."""
    blocks = dict(zip(order, np.split(matrix, len(order), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in target], axis=-1)
