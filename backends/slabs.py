"""Slabs: blocks of rows, one below the other, that a kernel takes as one array."""

from rnnx.typing import Array

Slabs = tuple[tuple[slice, ...], ...]
"""For each slab the rows of its blocks."""


def blocks(arrays: tuple[Array, ...], slabs: Slabs) -> list[Array]:
    """The blocks of the slabs that come first, and the other arrays."""
    inside = [slab[rows, ...] for slab, places in zip(arrays, slabs, strict=False) for rows in places]
    return [*inside, *arrays[len(slabs) :]]
