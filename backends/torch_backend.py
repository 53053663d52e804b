"""PyTorch tensors: one more library, and autograd as an independent oracle for the hand-written gradients."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch

from rnnx.backends import memory
from rnnx.backends.base import Backend
from rnnx.backends.products import Product
from rnnx.errors import BackendError
from rnnx.typing import Array

NO_MEMORY = re.compile("out of memory|can't allocate memory")
"""In the text of a RuntimeError; only on CUDA does PyTorch have a class for it."""


@dataclass(frozen=True)
class TorchBackend(Backend):
    """Tensors on one device; the hand-written passes run without autograd."""

    kernels = "functions of PyTorch, one call per operation"

    def holds(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor) and x.device == self.device

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        if not isinstance(values, torch.Tensor):
            values = torch.from_numpy(np.array(values))
        return values.to(device=self.device, dtype=self.dtype(dtype))

    def to_numpy(self, x: Array) -> np.ndarray:
        host: np.ndarray = x.detach().cpu().numpy()
        return host

    def contiguous(self, x: Array) -> Array:
        return x.contiguous()

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def memory_report(self) -> dict[str, int]:
        if self.device.type == "cpu":
            return memory.host()
        if self.device.type != "cuda":
            return {}
        free, total = torch.cuda.mem_get_info(self.device)
        held = torch.cuda.memory_reserved(self.device)
        return {"used": torch.cuda.memory_allocated(self.device), "held": held, "free": free, "total": total}

    def memory_asked(self, error: Exception) -> int | None:
        if not isinstance(error, RuntimeError) or not NO_MEMORY.search(str(error)):
            return super().memory_asked(error)
        found = re.search(r"tried to allocate ([\d.]+) (bytes|[KMGT]iB)", str(error), re.IGNORECASE)
        return round(float(found[1]) * memory.UNITS[found[2]]) if found else 0

    def details(self) -> dict[str, str]:
        if self.device.type != "cuda":
            return {"threads": str(torch.get_num_threads())}
        properties = torch.cuda.get_device_properties(self.device)
        return {
            "name": properties.name,
            "compute capability": f"{properties.major}.{properties.minor}",
            "CUDA runtime": str(torch.version.cuda),
        }

    def untracked(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = torch.no_grad()
        return context

    def differentiate(
        self, function: Callable[[dict[str, Array]], Array], inputs: dict[str, Array]
    ) -> dict[str, Array]:
        leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
        gradients = torch.autograd.grad(function(leaves), list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, gradients, strict=True))

    def watching(self, see: Callable[[str, Any, Any], None]) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = _Watching(see)
        return context

    def matmul(self, shape: tuple[int, ...], dtype: Any) -> Product:
        return lambda a, b, out: torch.matmul(a, b, out=out)

    def matmul_add(self, shape: tuple[int, ...], dtype: Any) -> Product:
        return lambda a, b, out: out.addmm_(a, b)

    def scatter_add(self, ids: Array, rows: Array, size: int) -> Array:
        if self.asynchronous:  # index_add_ adds with atomics there, in no fixed order
            return super().scatter_add(ids, rows, size)
        return self.zeros((size, rows.shape[1]), rows.dtype).index_add_(0, ids, rows)


class _Watching(torch.overrides.TorchFunctionMode):  # type: ignore[misc]  # torch is untyped there
    def __init__(self, see: Callable[[str, Any, Any], None]) -> None:
        super().__init__()
        self.see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.see(torch.overrides.resolve_name(func) or "", args, result)
        return result


def create(device: str | None) -> Backend:
    """The torch backend on ``"cpu"`` (the default), ``"cuda:0"``, ``"mps"``, ..."""
    label = device or "cpu"
    try:
        place = torch.zeros(1, device=label).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise BackendError(
            f"torch cannot use the device {label!r} here: {reason}.", 'Use set_backend("torch") for its CPU.'
        ) from error
    mps = place.type == "mps"
    return TorchBackend(
        "torch" if place.type == "cpu" else f"torch:{place}",
        xp,
        place,
        asynchronous=place.type != "cpu",
        complex=not mps,
        double=not mps,
        autograd=True,
    )


def device_of(x: Any) -> str | None:
    """Device part of the name of the backend that holds x."""
    return None if x.device.type == "cpu" else str(x.device)
