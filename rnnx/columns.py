"""Matrices whose columns are time steps and, in each of them, its sequences."""

from rnnx import ragged
from rnnx.backends import Backend
from rnnx.ragged import Segment
from rnnx.typing import Array


class Columns:
    """A matrix (R, K) that lies in memory as slabs (T, R, N), one after the other.

    Attributes
    ----------
    backend : Backend
    slabs : list of (T, R, N) array
        Views of what the time loop has written; R is the same in all.
    """

    __slots__ = "_whole", "backend", "slabs"

    def __init__(self, backend: Backend, slabs: list[Array], whole: Array | None = None) -> None:
        self.backend, self.slabs, self._whole = backend, slabs, whole

    @classmethod
    def of_rows(cls, backend: Backend, rows: Array) -> "Columns":
        """The transpose of a matrix (K, R)."""
        whole = rows.T
        return cls(backend, [whole[None, ...]], whole)

    @property
    def shape(self) -> tuple[int, int]:
        """R and K."""
        return self.slabs[0].shape[1], sum([slab.shape[0] * slab.shape[2] for slab in self.slabs])

    @property
    def whole(self) -> Array:
        """The matrix as an array (R, K); a copy, if it is not one already."""
        if self._whole is None:
            self._whole = self._join()
        return self._whole

    def _join(self) -> Array:
        """The layout does not depend on how the steps are cut, so that neither do a product's last bits."""
        xp, slabs = self.backend.xp, self.slabs
        if slabs[0].shape[2] == 1:  # a single sequence is a matrix already
            return (slabs[0] if len(slabs) == 1 else xp.concat(slabs, axis=0))[:, :, 0].T
        if len(slabs) == 1:
            return self.backend.side_by_side(slabs[0])
        joined = self.backend.empty(self.shape, slabs[0].dtype)
        parts = [Segment(0, slab.shape[0], slab.shape[2]) for slab in slabs]
        for part, slab in zip(ragged.slabs(xp, joined, parts), slabs, strict=True):
            part[...] = slab
        return joined

    def rows(self, rows: slice) -> "Columns":
        """Some of the rows."""
        whole = None if self._whole is None else self._whole[rows, :]
        return Columns(self.backend, [slab[:, rows, :] for slab in self.slabs], whole)

    def overwrite(self, rows: slice, other: "Columns") -> None:
        """Put another matrix, in slabs of the same sizes, in place of some of the rows."""
        if self._whole is not None:
            self._whole[rows, :] = other.whole
            self.slabs = [self._whole[None, ...]]
        else:
            for slab, values in zip(self.slabs, other.slabs, strict=True):
                slab[:, rows, :] = values
