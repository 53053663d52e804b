"""Initial parameters, drawn on the host: the same numbers on every backend."""

from collections.abc import Mapping
from zlib import crc32

import numpy as np

from rnnx.backends import asarray
from rnnx.typing import Array


def generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one purpose: the seed's child of that name, independent of all other names."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(crc32(name.encode()),)))
    )


def draw_uniform(
    shapes: Mapping[str, tuple[int, ...]], bound: float, seed: int, dtype: str, prefix: str = ""
) -> dict[str, Array]:
    """Draw each parameter uniformly in ±bound, from its name's child seed, on the default backend."""
    return {
        prefix + name: asarray(generator(seed, prefix + name).uniform(-bound, bound, shape), dtype=dtype)
        for name, shape in shapes.items()
    }
