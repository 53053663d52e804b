// The machine that CuPy is shown in place of CUDA: devices, memory, streams, and what was asked of them.
//
// CuPy calls it through the functions that are exported (EXPORT) under the names "runtime_<name>" and
// "driver_<name>"; they have the signatures, and keep the conventions, of the functions <name> that CuPy's
// own modules cupy_backends.cuda.api.runtime and .driver export to each other: Python's lock is held, an
// error is a Python exception, and the last argument, which tells Cython not to look for an override in
// Python, means nothing here.
#pragma once
#include <Python.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace cupysim {

// ---- status codes, of cudaError_t (driver_types.h of CUDA)
enum Status {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    INVALID_KERNEL_IMAGE = 200,
    INVALID_HANDLE = 400,
    SYMBOL_NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILURE = 719,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_IMPLICIT = 906,
};

// ---- settings (events.cpp)
constexpr int MAX_DEVICES = 8;
struct Settings {
    int devices = 1;
    bool lazy = false;                    // work waits until something synchronises with its stream
    bool reverse = false;                 // blocks and threads run from the last to the first
    bool poison = true;                   // fresh memory is filled with ones: NaN, or -1
    size_t redzone = 256;                 // guarded bytes on each side of an allocation
    size_t capacity = (size_t)16 << 30;   // bytes of memory of each device
};
extern Settings settings;

// ---- what was asked (events.cpp)
enum Counter {
    LAUNCH,
    H2D,
    D2H,
    D2D,
    P2P,
    MEMSET,
    MALLOC,
    FREE,
    SYNC,
    GEMM,
    HOST_ALLOC,
    GRAPH_LAUNCH,
    CAPTURED,
    COUNTERS
};
extern long long counters[COUNTERS];
// Counts, and appends Py_BuildValue(format, ...) to the list of events, if there is one.
void record(Counter counter, const char *format, ...);

// ---- errors (events.cpp)
// Raises CuPy's CUDARuntimeError of that status, with the reason added; returns nullptr.
PyObject *fail(Status status, const std::string &reason);
// Keeps the error of work that ran asynchronously for the next call that synchronises.
void fail_later(Status status, const std::string &reason);
// None, or nullptr with the error that was kept.
PyObject *none_or_pending();
PyObject *none();

// ---- devices (devices.cpp)
extern thread_local int current_device;

// ---- memory (memory.cpp)
struct Allocation {
    size_t bytes;
    int device;
};
// The allocation that an address is in; nullptr for an address of the host.
const Allocation *allocation_of(intptr_t address);
bool is_pinned(intptr_t address);
// Whether a range lies in one allocation, or on the host (about which nothing is known).
bool in_bounds(intptr_t address, size_t bytes);
// Looks at all guarded bytes; mends them, and returns false with the reason, where one was written to.
bool redzones_intact(std::string *reason);

// ---- streams (streams.cpp)
using Operation = std::function<Status(std::string *reason)>;

struct Graph {
    std::vector<Operation> operations;
};

enum CaptureMode { CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, CAPTURE_RELAXED };
constexpr unsigned NON_BLOCKING = 1;   // flag of a stream that does not wait for the legacy stream

struct Stream {
    int device = 0;
    unsigned flags = 0;
    int priority = 0;
    std::deque<Operation> queue;
    size_t submitted = 0, finished = 0;   // operations so far
    std::unique_ptr<Graph> capture;
    CaptureMode capture_mode = CAPTURE_RELAXED;
    bool capture_broken = false;

    bool waits_for_legacy() const { return !(flags & NON_BLOCKING); }
};

Stream *stream_at(intptr_t handle);
// Runs the operation in the order of its stream: now, or in a lazy machine when the stream is synchronised.
PyObject *submit(intptr_t handle, Operation operation);
void drain(Stream *stream);
void drain_all();
bool any_capture(CaptureMode strictest);

}   // namespace cupysim
