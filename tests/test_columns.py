"""Matrices in slabs: the same matrix, whether it was joined before or not."""

import numpy as np
import pytest

from rnnx.columns import Columns

SIZES = {
    "one slab": [(4, 3)],
    "one step": [(1, 9)],
    "one sequence": [(5, 1)],
    "pieces": [(4, 3), (2, 3)],
    "pieces of one sequence": [(4, 1), (2, 1)],
    "ragged": [(3, 4), (1, 2), (2, 1)],
}
H = 2


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def slabs(request, rng):
    """Slabs of 3 H rows, on the host."""
    return [rng.standard_normal((T, 3 * H, N)) for T, N in request.param]


@pytest.fixture(params=[False, True], ids=["in slabs", "joined"])
def joined(request):
    """Whether the matrix is asked for first."""
    return request.param


def matrix(slabs):
    """What they are as a matrix, by NumPy."""
    return np.concatenate([slab.swapaxes(0, 1).reshape(slab.shape[1], -1) for slab in slabs], axis=1)


def columns(backend, slabs, joined):
    """The slabs in memory of a backend."""
    found = Columns(backend, [backend.empty(slab.shape, "float64") for slab in slabs])
    for target, slab in zip(found.slabs, slabs, strict=True):
        target[...] = backend.asarray(slab)
    assert found.shape == matrix(slabs).shape
    return (found, found.whole)[0] if joined else found


def check(backend, found, expected):
    """A matrix is the expected one, joined and in its slabs."""
    np.testing.assert_array_equal(backend.to_numpy(found.whole), expected)
    np.testing.assert_array_equal(matrix([backend.to_numpy(slab) for slab in found.slabs]), expected)
    assert found.shape == expected.shape


def test_the_whole_matrix(backend, slabs, joined):
    check(backend, columns(backend, slabs, joined), matrix(slabs))


def test_some_rows(backend, slabs, joined):
    found = columns(backend, slabs, joined).rows(slice(H, 3 * H))
    check(backend, found, matrix(slabs)[H:])


def test_rows_that_are_overwritten(backend, slabs, joined):
    other = [-slab[:, :H] for slab in slabs]
    expected = matrix(slabs)
    expected[H : 2 * H] = matrix(other)
    for other_joined in (False, True):
        found = columns(backend, slabs, joined)
        found.overwrite(slice(H, 2 * H), columns(backend, other, other_joined))
        check(backend, found, expected)
        check(backend, found.rows(slice(2 * H)), expected[: 2 * H])


def test_rows_of_a_matrix(backend, rng):
    rows = rng.standard_normal((5, 4))
    found = Columns.of_rows(backend, backend.asarray(rows))
    check(backend, found, rows.T)
