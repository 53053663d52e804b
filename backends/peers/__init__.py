"""Other libraries' recurrent layers, for `rnnx bench`: each is imported in a process of its own."""

import importlib
from typing import cast

from rnnx.backends.peers.base import Layer, Peer, Work
from rnnx.backends.registry import first_line
from rnnx.errors import BackendError

PEERS = {
    "torch": "rnnx.backends.peers.torch_peer",
    "jax": "rnnx.backends.peers.jax_peer",
    "onnxruntime": "rnnx.backends.peers.onnxruntime_peer",
    "tensorflow": "rnnx.backends.peers.tensorflow_peer",
}
INSTALL = {
    "torch": "pip install torch",
    "jax": "pip install jax",
    "onnxruntime": "pip install onnx onnxruntime",
    "tensorflow": "pip install tensorflow",
}

__all__ = ["INSTALL", "PEERS", "Layer", "Peer", "Work", "load"]


def load(name: str) -> Peer:
    """Import one of `PEERS`.

    Raises
    ------
    BackendError
        It is not installed, or does not import.
    """
    try:
        return cast(Peer, importlib.import_module(PEERS[name]))
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{name} is not measured: the package {error.name!r} is not installed.", f"Run: {INSTALL[name]}."
        ) from error
    except ImportError as error:
        raise BackendError(
            f"{name} is not measured: it does not import ({first_line(error)}).",
            f"Install it anew: {INSTALL[name]}.",
        ) from error
