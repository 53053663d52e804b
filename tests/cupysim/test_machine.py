"""What the machine says of itself: events, counters, memory, the programs that it was given."""

import numpy as np
import pytest

import cupysim

ADD = 'extern "C" __global__ void k(float* x) { x[threadIdx.x] += 1; }'


def test_the_functions_that_are_stood_in_for():
    assert cupysim.installed()
    assert len(set(cupysim.replaced)) == len(cupysim.replaced) >= 57
    assert {"malloc", "memcpyAsync", "launchKernel", "streamSynchronize"} <= set(cupysim.replaced)


def test_a_second_installation_is_refused():
    with pytest.raises(cupysim.SimulatorError, match="installed in this process already"):
        cupysim.install()


def test_trace(cp):
    host = np.ones((2, 3), "float32")
    kernel = cp.RawKernel(ADD, "k")
    kernel.compile()
    with cupysim.trace() as events:
        x = cp.asarray(host)
        kernel((1,), (6,), (x,))
        y = cp.matmul(x, x.T)
        cp.cuda.Device().synchronize()
        y.get()
        del x
    kinds = [event[0] for event in events]
    assert ("malloc", 24) in events
    assert ("memcpy", "H2D", 24) in events
    assert ("launch", "k", 1, 6) in events
    assert ("gemm", 2, 2, 3, 1) in events
    assert ("sync", "device") in events
    assert ("memcpy", "D2H", 16) in events
    assert events[-1] == ("free", 24)
    assert kinds.index("malloc") < kinds.index("launch") < kinds.index("gemm") < kinds.index("sync")


def test_an_array_from_the_pool_is_an_alloc(cp):
    pool = cp.cuda.MemoryPool()
    with cp.cuda.using_allocator(pool.malloc), cupysim.trace() as events:
        x = cp.empty(6)
        del x
        cp.empty(6)
    assert events == [("alloc", 48), ("malloc", 512), ("alloc", 48)]


def test_a_trace_inside_a_trace(cp):
    with cupysim.trace() as outer:
        cp.cuda.Device().synchronize()
        with cupysim.trace() as inner:
            cp.cuda.get_current_stream().synchronize()
    assert inner == [("sync", "stream")]
    assert outer == [("sync", "device"), ("sync", "stream")]


def test_counters(cp):
    cupysim.reset_counters()
    x = cp.ones(3)
    assert cupysim.counters()["launch"] == 1
    x.get()
    cp.cuda.Device().synchronize()
    counted = {name: number for name, number in cupysim.counters().items() if number}
    assert counted == {"launch": 1, "malloc": 1, "d2h": 1, "sync": 2}
    cupysim.reset_counters()
    assert not any(cupysim.counters().values())


def test_memory_is_accounted_for(cp):
    free, total = cp.cuda.runtime.memGetInfo()
    x = cp.empty(1000, "uint8")
    assert cp.cuda.runtime.memGetInfo() == (free - 1000, total)
    del x
    assert cp.cuda.runtime.memGetInfo() == (free, total)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_device_runs_out_of_memory(cp, pooled):
    cupysim.configure(capacity=1 << 20)
    allocator = cp.cuda.MemoryPool().malloc if pooled else None
    error = cp.cuda.memory.OutOfMemoryError if pooled else cp.cuda.runtime.CUDARuntimeError
    with cp.cuda.using_allocator(allocator), pytest.raises(error, match=r"1,049,088|1048577"):
        cp.empty((1 << 20) + 1, "uint8")


def test_an_unknown_setting_is_refused():
    with pytest.raises(cupysim.SimulatorError, match="no setting colour"):
        cupysim.configure(colour=1)
    with pytest.raises(cupysim.SimulatorError, match="no setting devices"):
        cupysim.configure(devices=1)


def test_programs_are_kept_with_their_source(cp):
    source = f"{ADD} // of this test"
    kernel = cp.RawKernel(source, "k")
    kernel.compile()
    assert cupysim.programs()[-1].source.rstrip() == source
    assert cupysim.programs()[-1].code.startswith(b"cupysim:")


# ---- what kernels may do


def test_shared_memory_and_a_barrier(cp):
    source = """
    extern "C" __global__ void k(const float* x, float* y) {
        extern __shared__ float s[];
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        s[threadIdx.x] = x[i];
        __syncthreads();
        y[i] = s[blockDim.x - 1 - threadIdx.x];
    }"""
    x = cp.arange(64, dtype="float32")
    y = cp.empty_like(x)
    cp.RawKernel(source, "k")((2,), (32,), (x, y), shared_mem=128)
    assert y.get().tolist() == np.arange(64.0).reshape(2, 32)[:, ::-1].ravel().tolist()


@pytest.mark.parametrize("reverse", [False, True])
def test_warps_shuffle(cp, reverse):
    cupysim.configure(reverse=reverse)
    source = """
    extern "C" __global__ void k(float* x) {
        float v = threadIdx.x;
        for (int d = 16; d; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
        x[threadIdx.x] = v;
    }"""
    x = cp.zeros(64, "float32")
    cp.RawKernel(source, "k")((1,), (64,), (x,))
    assert x.get().tolist() == [sum(range(32))] * 32 + [sum(range(32, 64))] * 32


def test_blocks_vote(cp):
    source = """
    extern "C" __global__ void k(int* x) {
        int i = threadIdx.x, count = __syncthreads_count(i < 5), any = __syncthreads_or(i == 7);
        int all = __syncthreads_and(i < 40);
        x[i] = 100 * count + 10 * any + all;
    }"""
    x = cp.zeros(40, "int32")
    cp.RawKernel(source, "k")((1,), (40,), (x,))
    assert set(x.get().tolist()) == {511}


def test_atomics(cp):
    source = """
    extern "C" __global__ void k(float* sum, int* most, int* bits) {
        atomicAdd(sum, 0.5f);
        atomicMax(most, (int)(threadIdx.x ^ 5));
        atomicOr(bits, 1 << (threadIdx.x % 4));
    }"""
    total, most, bits = cp.zeros(1, "float32"), cp.zeros(1, "int32"), cp.zeros(1, "int32")
    cp.RawKernel(source, "k")((3,), (64,), (total, most, bits))
    assert (float(total[0]), int(most[0]), int(bits[0])) == (96.0, 63, 15)


def test_templates_by_name(cp):
    source = "template <class T, int N> __global__ void k(T* x) { x[threadIdx.x] *= N; }"
    module = cp.RawModule(code=source, name_expressions=["k<float, 2>", "k<double, 3>"])
    for dtype, name, factor in (("float32", "k<float, 2>", 2), ("float64", "k<double, 3>", 3)):
        x = cp.ones(4, dtype)
        with cupysim.trace() as events:
            module.get_function(name)((1,), (4,), (x,))
        assert events == [("launch", name, 1, 4)]
        assert x.get().tolist() == [factor] * 4


def test_elementwise_and_fused_kernels(cp, rng):
    a = rng.standard_normal((3, 4))
    x = cp.asarray(a)
    kernel = cp.ElementwiseKernel("T x, T s", "T y, T z", "y = tanh(x) * s; z = y + 1", "two_results")
    y, z = kernel(x, 2.0)
    np.testing.assert_allclose(y.get(), np.tanh(a) * 2, rtol=1e-12)
    np.testing.assert_allclose(z.get(), np.tanh(a) * 2 + 1, rtol=1e-12)

    @cp.fuse()
    def fused(x, s):
        return cp.tanh(x) * s + 1

    np.testing.assert_allclose(fused(x, x).get(), np.tanh(a) * a + 1, rtol=1e-12)
