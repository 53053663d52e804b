"""Initial parameters, drawn on the host: the same numbers on every backend."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any
from zlib import crc32

import numpy as np

from rnnx.backends import asarray, get_backend
from rnnx.errors import DtypeError, OptionError
from rnnx.typing import Array


def generator(seed: Any, name: str) -> np.random.Generator:
    """Random numbers of one purpose: the seed's child of that name, independent of all other names."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise OptionError(f"The seed is {seed!r}; expected an integer of at least 0.")
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(int(seed), spawn_key=(crc32(name.encode()),)))
    )


def child_seed(seed: Any, name: str) -> int:
    """Seed of a part of that name: independent of those of all other names."""
    return int(generator(seed, name).integers(2**62))


def draw_uniform(
    shapes: Mapping[str, tuple[int, ...]], bound: float, seed: int, dtype: str, prefix: str = ""
) -> dict[str, Array]:
    """Draw each parameter uniformly in ±bound, from its name's child seed, on the default backend."""
    backend = get_backend()
    if not backend.xp.isdtype(backend.dtype(dtype), ("real floating", "complex floating")):
        raise DtypeError(f"dtype is {dtype!r}; expected one of floating numbers.", 'Use "float32".')
    return {
        prefix + name: asarray(generator(seed, prefix + name).uniform(-bound, bound, shape), dtype=dtype)
        for name, shape in shapes.items()
    }
