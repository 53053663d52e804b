"""Weights from other systems, and back to them."""

from rnnx.interop.torch_bridge import from_torch, to_torch
from rnnx.interop.torch_files import load_torch, save_torch

__all__ = ["from_torch", "load_torch", "save_torch", "to_torch"]
