// What the machine and a compiled kernel know of each other: the only header that both sides include.
#pragma once
#include <stddef.h>

namespace cupysim {

constexpr unsigned MAX_THREADS = 1024;      // of a block, on every device that CUDA supports
constexpr size_t STACK_BYTES = 64 * 1024;   // of one thread of a kernel with barriers

// One launch, as the machine hands it to a kernel.
struct Launch {
    unsigned grid[3];
    unsigned block[3];
    size_t shared_bytes;   // dynamic shared memory
    void **arguments;      // the address of each argument's value
    bool reverse;          // blocks and threads from the last to the first
    char *stacks;          // MAX_THREADS * STACK_BYTES, page by page in use only where touched
};

// A kernel, as its shared library exports it under the name "cupysim_entry_<name>".
struct Entry {
    const char *title;   // for events and errors
    size_t argument_count;
    const size_t *argument_sizes;
    const char *(*run)(const Launch &);   // null, or what went wrong
};

}   // namespace cupysim
