"""Memory that is used again: only when nothing sees it any more."""

import gc
import threading

import numpy as np
import pytest

import rnnx
from rnnx.backends import host_pool, resolve

ENTRIES = host_pool.LEAST // 4


def address(x):
    return x.__array_interface__["data"][0]


@pytest.fixture
def pool():
    return host_pool.Pool()


def make(pool, entries=ENTRIES):
    return pool.empty((entries // 8, 8), np.dtype("float32"), entries)


def test_memory_is_used_again_once_the_array_is_gone(pool):
    x = make(pool)
    assert x.shape == (ENTRIES // 8, 8)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert x.flags.writeable
    first = address(x)
    assert address(make(pool)) != first
    del x
    assert address(make(pool)) in {first}


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1:].T,
        lambda x: x.view(np.int32)[::2],
        lambda x: x.reshape(-1)[5:],
        lambda x: np.broadcast_to(x, (2, *x.shape)),
        lambda x: memoryview(x),
        lambda x: np.asarray(memoryview(x[2:])),
        lambda x: np.from_dlpack(x),
    ],
)
def test_a_view_keeps_the_memory(pool, view):
    x = make(pool)
    x[...] = 7.0
    seen = view(x)
    before = np.array(seen)
    first = address(x)
    del x
    gc.collect()
    other = make(pool)
    assert address(other) != first
    other[...] = 0.0
    np.testing.assert_array_equal(np.array(seen), before)
    del seen
    gc.collect()
    assert address(make(pool)) == first


def test_a_block_serves_what_is_a_little_smaller(pool):
    del_me = make(pool)
    first = address(del_me)
    del del_me
    smaller = make(pool, ENTRIES - 8)
    assert address(smaller) == first
    del smaller
    assert address(make(pool, ENTRIES // 2)) != first


def test_what_is_kept_is_limited(pool, monkeypatch):
    monkeypatch.setattr(host_pool, "KEPT", 3 * host_pool.LEAST)
    arrays = [make(pool) for _ in range(3)]
    arrays.clear()
    assert pool.kept() == 3 * host_pool.LEAST
    larger = make(pool, 2 * ENTRIES)
    del larger
    assert pool.kept() == 2 * host_pool.LEAST  # the others went
    huge = make(pool, 4 * ENTRIES)
    del huge
    assert pool.kept() == 2 * host_pool.LEAST
    pool.clear()
    assert pool.kept() == 0


def test_threads_never_share_a_block(pool):
    wrong = []

    def work(number):
        for _ in range(300):
            x = make(pool)
            x[...] = number
            if not (x == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_small_arrays_are_numpys_own():
    backend = resolve("numpy")
    assert backend.empty((4, 4), "float32").flags.owndata
    assert not backend.empty((host_pool.LEAST, 2), "float32").flags.owndata


def test_results_of_earlier_passes_stay_what_they_are(rng):
    """Outputs and gradients of one training step, after others in the same memory."""
    cell = rnnx.LSTM(16, 32)
    params = cell.init()
    x, other = (rng.standard_normal((60, 32, 16), "float32") for _ in range(2))
    y, state, tape = cell.forward(params, x)
    dx, dstate, grads = cell.backward(tape, np.ones_like(y))
    kept = [y, *state, dx, *dstate, *grads.values()]
    copies = [value.copy() for value in kept]
    del tape
    for _ in range(3):
        z, _, tape = cell.forward(params, other)
        cell.backward(tape, np.ones_like(z))
    for value, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(value, copy)
