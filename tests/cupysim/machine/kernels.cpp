// Modules, and launches of the kernels in them.
#include "machine.h"

#include "launch.h"

#include <dlfcn.h>
#include <sys/mman.h>

using namespace cupysim;

// ---- a module is the path of a shared library, behind this mark: what nvrtc.py returns as compiled code
static const std::string MARK = "cupysim:";

EXPORT intptr_t driver_moduleLoadData(PyObject *code, int) {
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(code, &bytes, &length) < 0) return 0;
    std::string text(bytes, length);
    if (text.compare(0, MARK.size(), MARK) != 0) {
        fail(INVALID_KERNEL_IMAGE, "this code was compiled for a GPU");
        return 0;
    }
    void *library = dlopen(text.substr(MARK.size()).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(INVALID_KERNEL_IMAGE, dlerror());
    return (intptr_t)library;
}

// Launches of it may still wait in a stream, so it stays.
EXPORT PyObject *driver_moduleUnload(intptr_t, int) { return none(); }

EXPORT intptr_t driver_moduleGetFunction(intptr_t library, PyObject *name, int) {
    const char *text = PyUnicode_AsUTF8(name);
    if (!text) return 0;
    void *entry = dlsym((void *)library, (std::string("cupysim_entry_") + text).c_str());
    if (!entry) fail(SYMBOL_NOT_FOUND, std::string("no kernel ") + text);
    return (intptr_t)entry;
}

// ---- CUfunction_attribute: 0 the most threads of a block, 4 registers of a thread
EXPORT int driver_funcGetAttribute(int code, intptr_t, int) {
    return code == 0 ? MAX_THREADS : code == 4 ? 32 : 0;
}
EXPORT PyObject *driver_funcSetAttribute(intptr_t, int, int, int) { return none(); }
EXPORT int driver_occupancyMaxActiveBlocksPerMultiprocessor(intptr_t, int, size_t, int) { return 2; }
EXPORT PyObject *driver_occupancyMaxPotentialBlockSize(intptr_t, size_t, int, int) {
    return Py_BuildValue("(ii)", 216, 256);
}

// ---- launches
static char *stacks() {   // the memory is the system's to give, page by page where touched
    static void *memory = mmap(nullptr, MAX_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : (char *)memory;
}

static const char *illegal(const unsigned *grid, const unsigned *block, unsigned shared_bytes) {
    for (int axis = 0; axis < 3; axis++)
        if (!grid[axis] || !block[axis]) return "a launch of nothing";
    if ((unsigned long long)block[0] * block[1] * block[2] > MAX_THREADS || block[2] > 64)
        return "more threads in a block than a device has";
    if (grid[0] > 2147483647u || grid[1] > 65535 || grid[2] > 65535) return "more blocks than a device has";
    if (shared_bytes > 49152) return "more shared memory than a block has";
    return nullptr;
}

static PyObject *launch(const Entry *entry, std::vector<unsigned> grid, std::vector<unsigned> block,
                        unsigned shared_bytes, intptr_t handle, void **arguments) {
    Py_ssize_t blocks = (Py_ssize_t)grid[0] * grid[1] * grid[2],
               threads = (Py_ssize_t)block[0] * block[1] * block[2];
    record(LAUNCH, "(ssnn)", "launch", entry->title, blocks, threads);
    if (const char *reason = illegal(grid.data(), block.data(), shared_bytes))
        return fail(INVALID_VALUE, reason);
    if (stream_at(handle)->device != current_device)
        return fail(INVALID_HANDLE, "a launch on a stream of another device than the current one");

    std::vector<std::vector<char>> values;   // copied: the caller's own are gone when a queued launch runs
    for (size_t i = 0; i < entry->argument_count; i++)
        values.emplace_back((char *)arguments[i], (char *)arguments[i] + entry->argument_sizes[i]);
    return submit(handle, [=](std::string *reason) mutable {
        std::vector<void *> addresses;
        for (auto &value : values) addresses.push_back(value.data());
        Launch work = {{grid[0], grid[1], grid[2]},
                       {block[0], block[1], block[2]},
                       shared_bytes,
                       addresses.data(),
                       settings.reverse,
                       stacks()};
        const char *wrong = entry->run(work);
        if (!wrong) return SUCCESS;
        *reason = std::string("kernel ") + entry->title + ": " + wrong;
        return LAUNCH_FAILURE;
    });
}

EXPORT PyObject *driver_launchKernel(intptr_t kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                     unsigned by, unsigned bz, unsigned shared_bytes, intptr_t stream,
                                     intptr_t arguments, intptr_t, int) {
    return launch((Entry *)kernel, {gx, gy, gz}, {bx, by, bz}, shared_bytes, stream, (void **)arguments);
}
EXPORT PyObject *driver_launchCooperativeKernel(intptr_t, unsigned, unsigned, unsigned, unsigned, unsigned,
                                                unsigned, unsigned, intptr_t, intptr_t, int) {
    return fail(LAUNCH_FAILURE, "cooperative launches are not simulated: blocks run one after the other");
}
