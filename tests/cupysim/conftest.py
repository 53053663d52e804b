"""What the simulator's own tests share."""

import pytest

import cupysim


@pytest.fixture
def cp():
    """CuPy, its memory not from the pool: each array is poisoned and guarded for itself."""
    import cupy

    before = cupysim.settings()
    cupysim.configure(lazy=False, reverse=False)  # whatever the environment says
    with cupy.cuda.using_allocator(None):
        yield cupy
    cupysim.configure(**before)
