// Memory of the devices and pinned memory of the host. Each allocation lies between two guarded zones; what
// writes beyond its end, or before its begin, is found at the next cudaFree of it or cudaDeviceSynchronize.
#include "machine.h"

#include <cstdlib>
#include <cstring>

namespace cupysim {

constexpr size_t ALIGNMENT = 512;   // as CUDA's; the guarded zones are at most that large
constexpr unsigned char GUARD = 0xfb, POISON = 0xff;

extern PyObject *pointer_attributes;
static std::map<intptr_t, Allocation> allocations;
static std::map<intptr_t, size_t> pinned;
static size_t in_use[MAX_DEVICES];

static size_t redzone() { return settings.redzone < ALIGNMENT ? settings.redzone : ALIGNMENT; }

static void guard(intptr_t address, size_t bytes) {
    memset((char *)address - redzone(), GUARD, redzone());
    memset((char *)address + bytes, GUARD, redzone());
}

static bool intact(intptr_t address, size_t bytes, std::string *reason) {
    const unsigned char *begin = (unsigned char *)address, *end = begin + bytes;
    for (size_t i = 1; i <= redzone(); i++) {
        if (begin[-(ptrdiff_t)i] == GUARD && end[i - 1] == GUARD) continue;
        *reason = "out-of-bounds write next to a device allocation of " + std::to_string(bytes) + " bytes";
        guard(address, bytes);
        return false;
    }
    return true;
}

bool redzones_intact(std::string *reason) {
    for (auto &[address, allocation] : allocations)
        if (!intact(address, allocation.bytes, reason)) return false;
    return true;
}

// The entry whose range holds the address; an empty range holds its begin.
template <class Map, class Size>
static typename Map::const_iterator find(const Map &map, intptr_t address, Size size) {
    auto it = map.upper_bound(address);
    if (it == map.begin()) return map.end();
    --it;
    return address == it->first || address < it->first + (intptr_t)size(it->second) ? it : map.end();
}

static auto find_allocation(intptr_t address) {
    return find(allocations, address, [](const Allocation &allocation) { return allocation.bytes; });
}

const Allocation *allocation_of(intptr_t address) {
    auto it = find_allocation(address);
    return it == allocations.end() ? nullptr : &it->second;
}

bool is_pinned(intptr_t address) {
    return find(pinned, address, [](size_t bytes) { return bytes; }) != pinned.end();
}

bool in_bounds(intptr_t address, size_t bytes) {
    auto it = find_allocation(address);
    return it == allocations.end() || address + bytes <= it->first + it->second.bytes;
}

}   // namespace cupysim

using namespace cupysim;

EXPORT PyObject *runtime_memGetInfo(int) {
    return Py_BuildValue("(nn)", (Py_ssize_t)(settings.capacity - in_use[current_device]),
                         (Py_ssize_t)settings.capacity);
}

EXPORT intptr_t runtime_malloc(size_t bytes, int) {
    record(MALLOC, "(sn)", "malloc", (Py_ssize_t)bytes);
    if (any_capture(CAPTURE_THREAD_LOCAL)) {
        fail(CAPTURE_UNSUPPORTED, "cudaMalloc during a capture");
        return 0;
    }
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    char *block = nullptr;
    if (bytes <= settings.capacity && in_use[current_device] + bytes <= settings.capacity)
        block = (char *)aligned_alloc(ALIGNMENT, rounded + 2 * ALIGNMENT);
    if (!block) {
        fail(OUT_OF_MEMORY, std::to_string(bytes) + " bytes were asked for");
        return 0;
    }
    intptr_t address = (intptr_t)(block + ALIGNMENT);
    guard(address, bytes);
    if (settings.poison) memset((void *)address, POISON, bytes);
    allocations[address] = {bytes, current_device};
    in_use[current_device] += bytes;
    return address;
}

EXPORT PyObject *runtime_free(intptr_t address, int) {
    if (!address) return none();
    auto it = allocations.find(address);
    if (it == allocations.end()) return fail(INVALID_VALUE, "cudaFree of what cudaMalloc did not return");
    Allocation allocation = it->second;
    record(FREE, "(sn)", "free", (Py_ssize_t)allocation.bytes);
    drain_all();
    // For the next synchronisation: CuPy frees in destructors, where an exception would go unseen.
    std::string reason;
    if (!intact(address, allocation.bytes, &reason)) fail_later(ILLEGAL_ADDRESS, reason);
    in_use[allocation.device] -= allocation.bytes;
    allocations.erase(it);
    ::free((char *)address - ALIGNMENT);
    return none();
}

EXPORT intptr_t runtime_mallocAsync(size_t bytes, intptr_t, int skip) { return runtime_malloc(bytes, skip); }
EXPORT PyObject *runtime_freeAsync(intptr_t address, intptr_t, int skip) {
    return runtime_free(address, skip);
}

EXPORT intptr_t runtime_hostAlloc(size_t bytes, unsigned, int) {
    record(HOST_ALLOC, "(sn)", "hostalloc", (Py_ssize_t)bytes);
    void *block = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (!block) {
        fail(OUT_OF_MEMORY, std::to_string(bytes) + " bytes of pinned memory were asked for");
        return 0;
    }
    pinned[(intptr_t)block] = bytes;
    return (intptr_t)block;
}

EXPORT PyObject *runtime_freeHost(intptr_t address, int) {
    drain_all();
    if (pinned.erase(address)) ::free((void *)address);
    return none();
}

// ---- cudaMemoryType: 0 unregistered, 1 host, 2 device
static int memory_type(intptr_t address) { return allocation_of(address) ? 2 : is_pinned(address) ? 1 : 0; }

EXPORT int runtime_pointerGetMemoryType(intptr_t address, int) { return memory_type(address); }

EXPORT PyObject *runtime_pointerGetAttributes(intptr_t address, int) {
    const Allocation *allocation = allocation_of(address);
    constexpr int UNREGISTERED = -2;   // cudaInvalidDeviceId
    return PyObject_CallFunction(pointer_attributes, "inni", allocation ? allocation->device : UNREGISTERED,
                                 (Py_ssize_t)address, (Py_ssize_t)address, memory_type(address));
}
