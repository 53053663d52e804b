"""Streams, captures and devices: what is forgotten or forbidden there shows."""

import numpy as np
import pytest

import cupysim


def capture(body, stream):
    """The graph of what the body does, also where a part of it is refused; the refusal is raised."""
    with stream:
        stream.begin_capture()
        try:
            body()
        finally:
            graph = stream.end_capture()
    return graph


@pytest.fixture
def stream(cp):
    return cp.cuda.Stream(non_blocking=True)


# ---- what is forgotten between streams, on a machine that does nothing before it must


@pytest.fixture
def two_streams(cp):
    first, second = cp.cuda.Stream(non_blocking=True), cp.cuda.Stream(non_blocking=True)
    z, w = cp.zeros(4, "float32"), cp.zeros(4, "float32")
    cp.cuda.Device().synchronize()
    cupysim.configure(lazy=True)
    return first, second, z, w


def test_a_stream_that_does_not_wait_for_another_reads_what_was_before(cp, two_streams):
    first, second, z, w = two_streams
    with first:
        z.fill(3)
    with second:
        cp.add(z, 1, out=w)
    second.synchronize()
    first.synchronize()
    assert w.get().tolist() == [1, 1, 1, 1]


def test_an_event_orders_two_streams(cp, two_streams):
    first, second, z, w = two_streams
    with first:
        z.fill(3)
        event = first.record()
    second.wait_event(event)
    with second:
        cp.add(z, 1, out=w)
    second.synchronize()
    assert w.get().tolist() == [4, 4, 4, 4]


def test_the_legacy_stream_waits_for_blocking_ones(cp):
    cupysim.configure(lazy=True)
    z = cp.zeros(4, "float32")
    with cp.cuda.Stream():
        z.fill(3)
    assert (z + 1).get().tolist() == [4, 4, 4, 4]


def test_pinned_memory_is_read_before_the_copy_is_done(cp, two_streams):
    first, _, z, _ = two_streams
    pinned = np.frombuffer(cp.cuda.alloc_pinned_memory(16), "float32", 4)
    pinned[:] = -1
    with first:
        z.fill(9)
        z.get(out=pinned, blocking=False)
    assert pinned.tolist() == [-1, -1, -1, -1]
    assert not first.done
    first.synchronize()
    assert pinned.tolist() == [9, 9, 9, 9]
    assert first.done


def test_an_error_of_a_kernel_comes_when_its_stream_is_synchronised(cp, two_streams):
    first, _, z, _ = two_streams
    kernel = cp.RawKernel('extern "C" __global__ void k(float*) { if (threadIdx.x) __syncthreads(); '
                          'else __syncthreads(); }', "k")  # fmt: skip
    kernel((1,), (2,), (z,), stream=first)
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="kernel k"):
        first.synchronize()
    first.synchronize()


# ---- captures


def test_a_graph_repeats_what_was_captured(cp, stream):
    x, y = cp.ones(4, "float32"), cp.zeros(4, "float32")
    graph = capture(lambda: cp.add(y, x, out=y), stream)
    assert y.get().tolist() == [0, 0, 0, 0]
    for _ in range(5):
        graph.launch(stream)
    stream.synchronize()
    assert y.get().tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        (lambda cp, x: cp.matmul(x, x, out=x), NotImplementedError, "cuBLAS"),
        (lambda cp, x: float(x[0, 0]), RuntimeError, "D2H transfers are disallowed"),
        (lambda cp, x: cp.asarray(np.ones(3)), RuntimeError, "H2D transfers are disallowed"),
    ],
)
def test_what_cannot_be_captured(cp, stream, body, error, reason):
    x = cp.ones((4, 4), "float32")
    pool = cp.cuda.MemoryPool()
    pool.malloc(1 << 12)  # what the pool has free may be used in a capture
    with cp.cuda.using_allocator(pool.malloc), pytest.raises(error, match=reason):
        capture(lambda: body(cp, x), stream)


@pytest.mark.parametrize("call", ["synchronize", "query"])
def test_a_capture_is_broken_by_what_waits_for_it(cp, stream, call):
    runtime = cp.cuda.runtime
    stream.begin_capture()
    wait = runtime.streamSynchronize if call == "synchronize" else runtime.streamQuery
    with pytest.raises(runtime.CUDARuntimeError, match="StreamCaptureUnsupported"):
        wait(stream.ptr)
    with pytest.raises(runtime.CUDARuntimeError, match="StreamCaptureInvalidated"):
        stream.end_capture()


def test_memory_that_a_graph_writes_to_is_given_to_another_array(cp, stream):
    """The pool knows nothing of graphs: it gives away what was freed in a capture; the graph writes there."""
    x, y, freed = cp.ones(4, "float32"), cp.zeros(4, "float32"), []

    def body():
        temporary = x * 2.0
        cp.add(temporary, 1.0, out=y)
        freed.append(temporary.data.ptr)

    with cp.cuda.using_allocator(cp.cuda.MemoryPool().malloc):
        with stream:
            cp.empty(4, "float32")  # so that the pool has memory to give in the capture
        graph = capture(body, stream)
        with stream:
            live = cp.full(4, 7, "float32")
    assert live.data.ptr == freed[0]
    graph.launch(stream)
    stream.synchronize()
    assert live.get().tolist() == [2, 2, 2, 2]


# ---- two devices


def test_arrays_of_two_devices_do_not_mix(cp):
    with cp.cuda.Device(1):
        there = cp.ones(3)
    assert there.device.id == 1
    with pytest.raises(ValueError, match="Peer access is unavailable"):
        cp.ones(3) + there


def test_a_copy_between_devices(cp):
    here = cp.arange(3)
    with cp.cuda.Device(1), cupysim.trace() as events:
        there = here.copy()
    assert there.device.id == 1
    assert there.get().tolist() == [0, 1, 2]
    assert ("memcpy", "P2P", 24) in events


def test_a_stream_of_another_device(cp):
    x, kernel = cp.zeros(1), cp.RawKernel('extern "C" __global__ void k(double*) {}', "k")
    stream = cp.cuda.Stream()
    kernel((1,), (1,), (x,))
    with cp.cuda.Device(1), pytest.raises(RuntimeError, match="device"), stream:
        kernel((1,), (1,), (x,))


def test_a_device_that_is_not_there(cp):
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match=r"InvalidDevice.*no device 8"):
        cp.cuda.Device(8).use()
