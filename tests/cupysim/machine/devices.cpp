// Devices and contexts: alike, of compute capability 8.0, none with access to another's memory.
#include "machine.h"

#include "launch.h"

namespace cupysim {
thread_local int current_device = 0;
}
using namespace cupysim;

static bool known(int device) { return device >= 0 && device < settings.devices; }

static PyObject *fail_device(int device) {
    return fail(INVALID_DEVICE, "there is no device " + std::to_string(device));
}

// ---- cudaDeviceAttr (driver_types.h of CUDA), those that CuPy or its users ask for
static int attribute(int code) {
    switch (code) {
        case 1: return MAX_THREADS;   // of a block
        case 2:
        case 3: return MAX_THREADS;   // of a block, along x and y
        case 4: return 64;            // of a block, along z
        case 5: return 2147483647;    // blocks of a grid, along x
        case 6:
        case 7: return 65535;     // blocks of a grid, along y and z
        case 8: return 49152;     // bytes of shared memory of a block
        case 10: return 32;       // threads of a warp
        case 12: return 65536;    // registers of a block
        case 16: return 108;      // multiprocessors
        case 39: return 2048;     // threads of a multiprocessor
        case 75: return 8;        // compute capability, major
        case 76: return 0;        // compute capability, minor
        case 95: return 1;        // cooperative launches
        case 97: return 166912;   // bytes of shared memory of a block that opts in
        case 115: return 1;       // memory pools of CUDA
        default: return 0;
    }
}

EXPORT PyObject *runtime__ensure_context() { return none(); }
EXPORT int runtime_driverGetVersion(int) { return 13020; }
EXPORT int runtime_getDeviceCount(int) { return settings.devices; }
EXPORT int runtime_getDevice(int) { return current_device; }

EXPORT PyObject *runtime_setDevice(int device, int) {
    if (!known(device)) return fail_device(device);
    current_device = device;
    return none();
}

EXPORT int runtime_deviceGetAttribute(int code, int device, int) {
    if (known(device)) return attribute(code);
    fail_device(device);
    return -1;
}

EXPORT PyObject *runtime_getDeviceProperties(int device, int) {
    if (!known(device)) return fail_device(device);
    return Py_BuildValue("{s:y,s:i,s:i,s:i,s:i,s:n,s:i,s:i,s:i,s:(iii),s:(iii),s:i}", "name",
                         "simulated device (no GPU)", "warpSize", attribute(10), "multiProcessorCount",
                         attribute(16), "major", attribute(75), "minor", attribute(76), "totalGlobalMem",
                         (Py_ssize_t)settings.capacity, "maxThreadsPerBlock", attribute(1),
                         "sharedMemPerBlock", attribute(8), "regsPerBlock", attribute(12), "maxGridSize",
                         attribute(5), attribute(6), attribute(7), "maxThreadsDim", attribute(2),
                         attribute(3), attribute(4), "maxThreadsPerMultiProcessor", attribute(39));
}

EXPORT PyObject *runtime_deviceSynchronize(int) {
    record(SYNC, "(ss)", "sync", "device");
    if (any_capture(CAPTURE_RELAXED))
        return fail(CAPTURE_UNSUPPORTED, "cudaDeviceSynchronize during a capture");
    drain_all();
    std::string reason;
    if (!redzones_intact(&reason)) return fail(ILLEGAL_ADDRESS, reason);
    return none_or_pending();
}

EXPORT int runtime_deviceCanAccessPeer(int, int, int) { return 0; }

// ---- a device's primary context is known by the device's number plus 1: no handle is 0
EXPORT intptr_t driver_ctxGetCurrent(int) { return current_device + 1; }
EXPORT int driver_ctxGetDevice(int) { return current_device; }
EXPORT PyObject *driver_ctxSetCurrent(intptr_t context, int) {
    return runtime_setDevice((int)context - 1, 0);
}
EXPORT intptr_t driver_streamGetCtx(intptr_t stream, int) { return stream_at(stream)->device + 1; }
