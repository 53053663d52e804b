"""Mistakes of programs for a GPU, each put in on purpose: the simulator, or CuPy on it, shows them."""

import numpy as np
import pytest

import cupysim

BEYOND = 'extern "C" __global__ void k(float* x, int n) { int i = threadIdx.x; if (i <= n) x[i] = 1; }'
DIVERGENT = """
extern "C" __global__ void k(float* x) {
    if (threadIdx.x < 16) __syncthreads();
    else { __syncwarp(0xffff0000u); x[0] = 1; __syncthreads(); __syncthreads(); }
}"""
STUCK = """
extern "C" __global__ void k(float* x) {
    if (threadIdx.x == 0) __syncthreads(); else __syncwarp();
}"""
RACE = 'extern "C" __global__ void k(int* x) { x[0] = threadIdx.x; }'
SCALAR = 'extern "C" __global__ void k(float* x, float value) { x[0] = value; }'


def directions(events):
    return [event[1] for event in events if event[0] == "memcpy"]


def raised(cp, status, text):
    return pytest.raises(cp.cuda.runtime.CUDARuntimeError, match=rf"{status}: .*{text}")


# ---- host and device mixed


def test_an_array_of_the_host_is_refused(cp):
    with pytest.raises(TypeError, match=r"Unsupported type .*numpy\.ndarray"):
        cp.ones(3) + np.ones(3)


def test_an_implicit_copy_to_the_host_is_refused(cp):
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        np.asarray(cp.ones(3))


@pytest.mark.parametrize("read", [float, bool, int, str, lambda x: x.item(), lambda x: x > 1 and 2])
def test_a_hidden_copy_to_the_host_is_in_the_trace(cp, read):
    x = cp.ones((), "float32")
    with cupysim.trace() as events:
        read(x)
    assert directions(events) == ["D2H"]


@pytest.mark.parametrize("index", [[0, 2], np.array([0, 2])])
def test_a_hidden_copy_to_the_device_is_in_the_trace(cp, index):
    x = cp.ones((3, 4), "float32")
    with cupysim.trace() as events:
        assert x[index].shape == (2, 4)
    assert directions(events) == ["H2D"]


def test_a_mask_makes_the_host_wait(cp):
    x, mask = cp.ones(4), cp.asarray([True, False, True, True])
    with cupysim.trace() as events:
        assert x[mask].shape == (3,)
    assert "D2H" in directions(events)


def test_numpy_functions_run_on_the_device(cp):
    x = cp.ones((2, 3))
    with cupysim.trace() as events:
        assert isinstance(np.exp(x), cp.ndarray)
        assert isinstance(np.sum(x), cp.ndarray)
    assert directions(events) == []


# ---- types


def test_a_scalar_of_numpy_widens_and_one_of_python_does_not(cp):
    x = cp.ones(3, "float32")
    assert (x * 2.0).dtype == "float32"
    assert (x * np.float64(2)).dtype == "float64"
    assert (x * cp.asarray(2.0)).dtype == "float64"
    with pytest.raises(TypeError, match="Cannot cast output operand"):
        cp.arange(3).__iadd__(1.5)


@pytest.mark.parametrize("out", [lambda cp: cp.empty((3, 3)), lambda cp: cp.empty((3, 6), "float32")[:, ::2]])
def test_out_of_another_type_or_layout_costs_a_copy(cp, out):
    x, out = cp.ones((3, 4), "float32"), out(cp)
    with cupysim.trace() as events:
        assert cp.matmul(x, x.T, out=out) is out
    assert [event[0] for event in events] == ["malloc", "gemm", "launch", "free"]
    good = cp.empty((3, 3), "float32")
    with cupysim.trace() as events:
        cp.matmul(x, x.T, out=good)
    assert [event[0] for event in events] == ["gemm"]


def test_a_python_float_is_half_a_float32_parameter(cp):
    x, kernel = cp.zeros(1, "float32"), cp.RawKernel(SCALAR, "k")
    kernel((1,), (1,), (x, 1.5))
    assert x[0] == 0
    kernel((1,), (1,), (x, np.float32(1.5)))
    assert x[0] == 1.5


# ---- memory


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_memory_that_was_never_written_is_nan(cp, dtype):
    assert cp.isnan(cp.empty(3, dtype)).all()


def test_a_write_beyond_the_end(cp):
    x = cp.zeros(31, "float32")
    cp.RawKernel(BEYOND, "k")((1,), (32,), (x, np.int32(31)))
    with raised(
        cp, "cudaErrorIllegalAddress", "out-of-bounds write next to a device allocation of 124 bytes"
    ):
        cp.cuda.Device().synchronize()
    cp.cuda.Device().synchronize()


def test_a_write_beyond_the_end_of_what_is_freed(cp):
    x = cp.zeros(31, "float32")
    cp.RawKernel(BEYOND, "k")((1,), (32,), (x, np.int32(31)))
    del x
    with raised(cp, "cudaErrorIllegalAddress", "out-of-bounds write"):
        cp.cuda.Device().synchronize()


def test_a_copy_beyond_the_end(cp):
    x, y = cp.zeros(4), cp.zeros(8)
    with raised(cp, "cudaErrorInvalidValue", "64 bytes beyond the end of an allocation"):
        x.data.copy_from_device(y.data, 64)


# ---- kernels


def test_threads_that_part_at_a_barrier(cp):
    with raised(cp, "cudaErrorLaunchFailure", "kernel k: threads of one block wait at different"):
        cp.RawKernel(DIVERGENT, "k")((1,), (32,), (cp.zeros(1, "float32"),))


def test_threads_that_wait_for_ever(cp):
    with raised(cp, "cudaErrorLaunchFailure", "kernel k: threads of one block wait .* for ever"):
        cp.RawKernel(STUCK, "k")((1,), (32,), (cp.zeros(1, "float32"),))


def test_a_race_has_another_winner_in_reverse(cp):
    x, kernel = cp.zeros(1, "int32"), cp.RawKernel(RACE, "k")
    winners = []
    for reverse in (False, True):
        cupysim.configure(reverse=reverse)
        kernel((1,), (32,), (x,))
        winners.append(int(x[0]))
    assert winners == [31, 0]


@pytest.mark.parametrize(
    ("grid", "block", "shared", "reason"),
    [
        ((1,), (2048,), 0, "more threads in a block"),
        ((1,), (1, 1, 65), 0, "more threads in a block"),
        ((1, 70000), (1,), 0, "more blocks"),
        ((1,), (1,), 50000, "more shared memory"),
    ],
)
def test_a_launch_that_no_device_allows(cp, grid, block, shared, reason):
    with raised(cp, "cudaErrorInvalidValue", reason):
        cp.RawKernel(RACE, "k")(grid, block, (cp.zeros(1, "int32"),), shared_mem=shared)


def test_a_source_that_does_not_compile(cp):
    with pytest.raises(cp.cuda.compiler.CompileException, match="nowhere"):
        cp.RawKernel('extern "C" __global__ void k(int* x) { nowhere(x); }', "k").compile()


def test_a_wider_operand_shows_in_the_name_of_the_kernel(cp):
    a, wide = cp.ones((3, 4), "float32"), cp.ones((3, 4))
    for add in (lambda: cp.add(a, wide, out=a), lambda: a.__iadd__(wide)):
        with cupysim.trace() as events:
            assert add().dtype == "float32"
        assert ("launch", "cupy_add__float32_float64_float32") in [event[:2] for event in events]


def test_a_list_of_device_scalars_is_a_launch_each(cp):
    a = cp.ones(3)
    scalars = [a.sum(), a.sum()]
    with cupysim.trace() as events:
        cp.asarray(scalars)
    assert sum(event[0] == "launch" for event in events) == 2
    assert not any(event[:2] == ("memcpy", "D2H") for event in events)
