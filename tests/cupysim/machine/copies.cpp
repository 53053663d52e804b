// Copies and fills, with CUDA's rules of what returns only when it is done.
#include "machine.h"

#include <cstring>

using namespace cupysim;

static void record_copy(intptr_t to, intptr_t from, size_t bytes) {
    const Allocation *target = allocation_of(to), *source = allocation_of(from);
    Counter counter = target && source ? (target->device == source->device ? D2D : P2P) : target ? H2D : D2H;
    const char *name = counter == D2D ? "D2D" : counter == P2P ? "P2P" : counter == H2D ? "H2D" : "D2H";
    record(counter, "(ssn)", "memcpy", name, (Py_ssize_t)bytes);
}

static PyObject *check_copy(intptr_t to, intptr_t from, size_t bytes) {
    if (in_bounds(to, bytes) && in_bounds(from, bytes)) return none();
    return fail(INVALID_VALUE,
                "a copy of " + std::to_string(bytes) + " bytes beyond the end of an allocation");
}

static Operation copy(intptr_t to, intptr_t from, size_t bytes) {
    return [=](std::string *) {
        memcpy((void *)to, (void *)from, bytes);
        return SUCCESS;
    };
}

static PyObject *copy_now(intptr_t to, intptr_t from, size_t bytes) {
    record_copy(to, from, bytes);
    if (any_capture(CAPTURE_THREAD_LOCAL)) return fail(CAPTURE_IMPLICIT, "cudaMemcpy during a capture");
    PyObject *checked = check_copy(to, from, bytes);
    if (!checked) return nullptr;
    Py_DECREF(checked);
    PyObject *submitted = submit(0, copy(to, from, bytes));
    if (!submitted) return nullptr;
    Py_DECREF(submitted);
    drain(stream_at(0));
    return none_or_pending();
}

static PyObject *copy_async(intptr_t to, intptr_t from, size_t bytes, intptr_t stream) {
    record_copy(to, from, bytes);
    PyObject *checked = check_copy(to, from, bytes);
    if (!checked || stream_at(stream)->capture) {
        Py_XDECREF(checked);
        return checked ? submit(stream, copy(to, from, bytes)) : nullptr;
    }
    Py_DECREF(checked);
    const Allocation *from_device = allocation_of(from), *to_device = allocation_of(to);
    // Between devices, all work on either before it is done, and it is done before all work that comes.
    bool between_devices = from_device && to_device && from_device->device != to_device->device;
    if (between_devices) drain_all();
    if (!from_device && !is_pinned(from)) {   // pageable memory is staged before the call returns
        auto staged = std::make_shared<std::vector<char>>((char *)from, (char *)from + bytes);
        return submit(stream, [=](std::string *) {
            memcpy((void *)to, staged->data(), bytes);
            return SUCCESS;
        });
    }
    PyObject *submitted = submit(stream, copy(to, from, bytes));
    bool to_pageable = !to_device && !is_pinned(to);   // filled before the call returns
    if (submitted && (between_devices || to_pageable)) drain(stream_at(stream));
    return submitted;
}

static PyObject *fill(intptr_t address, int value, size_t bytes, intptr_t stream) {
    record(MEMSET, "(sn)", "memset", (Py_ssize_t)bytes);
    if (!in_bounds(address, bytes)) return fail(INVALID_VALUE, "a fill beyond the end of an allocation");
    return submit(stream, [=](std::string *) {
        memset((void *)address, value, bytes);
        return SUCCESS;
    });
}

EXPORT PyObject *runtime_memcpy(intptr_t to, intptr_t from, size_t bytes, int, int) {
    return copy_now(to, from, bytes);
}
EXPORT PyObject *runtime_memcpyAsync(intptr_t to, intptr_t from, size_t bytes, int, intptr_t stream, int) {
    return copy_async(to, from, bytes, stream);
}
EXPORT PyObject *runtime_memcpyPeer(intptr_t to, int, intptr_t from, int, size_t bytes, int) {
    return copy_async(to, from, bytes, 0);
}
EXPORT PyObject *runtime_memcpyPeerAsync(intptr_t to, int, intptr_t from, int, size_t bytes, intptr_t stream,
                                         int) {
    return copy_async(to, from, bytes, stream);
}
EXPORT PyObject *runtime_memset(intptr_t address, int value, size_t bytes, int) {
    return fill(address, value, bytes, 0);
}
EXPORT PyObject *runtime_memsetAsync(intptr_t address, int value, size_t bytes, intptr_t stream, int) {
    return fill(address, value, bytes, stream);
}
