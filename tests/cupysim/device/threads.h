// How the threads of a launch run: one at a time, on one CPU thread.
//
// Without barriers each thread is a plain call. With barriers or shuffles (CUPYSIM_BARRIERS, set by the
// compiling side when the source names one) each thread of a block is a fiber with a stack of its own, which
// runs up to its next barrier and is resumed when all that the barrier waits for have come to it.
#pragma once
#include "../machine/launch.h"

#ifdef CUPYSIM_BARRIERS
#include <setjmp.h>
#include <ucontext.h>
#endif

namespace cupysim {

using Body = void (*)(void **arguments);

static char *dynamic_shared = nullptr;   // `extern __shared__` arrays are made to point here

static inline uint3 position(size_t index, const unsigned *shape) {
    return {(unsigned)(index % shape[0]), (unsigned)(index / shape[0] % shape[1]),
            (unsigned)(index / ((size_t)shape[0] * shape[1]))};
}

#ifndef CUPYSIM_BARRIERS

static const char *run_block(const Launch &launch, Body body, size_t threads) {
    for (size_t turn = 0; turn < threads; turn++) {
        threadIdx = position(launch.reverse ? threads - 1 - turn : turn, launch.block);
        body(launch.arguments);
    }
    return nullptr;
}

#else

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Fiber {
    ucontext_t entry;   // where it starts
    jmp_buf place;      // where it waits
    bool started;
    uint3 index;       // threadIdx
    unsigned number;   // threadIdx, counted through
    State state;
    int site;                   // which __syncthreads of the source it waits at
    unsigned lanes;             // whom of its warp it waits for
    unsigned long long shown;   // what the warp's other lanes may read in a shuffle
};

static Fiber fibers[MAX_THREADS];
static unsigned fiber_count = 0;
static Fiber *current = nullptr;
static jmp_buf scheduler;
static Body fiber_body;
static void **fiber_arguments;
static int votes = 0, counted_votes = 0;   // of __syncthreads_or and its kin, before and after the barrier

// A start goes through setcontext, since it changes stacks; all later switches through longjmp, since
// setcontext asks the kernel for the signal mask each time.
static __attribute__((noinline)) void resume(Fiber *fiber) {
    current = fiber;
    threadIdx = fiber->index;
    if (_setjmp(scheduler)) return;
    if (fiber->started) _longjmp(fiber->place, 1);
    fiber->started = true;
    setcontext(&fiber->entry);
}
static __attribute__((noinline)) void wait_at(State barrier) {
    current->state = barrier;
    if (!_setjmp(current->place)) _longjmp(scheduler, 1);
}
static inline void block_barrier(int site) {
    current->site = site;
    wait_at(AT_BLOCK_BARRIER);
}
static inline int block_vote(int site, int predicate) {
    votes += predicate != 0;
    block_barrier(site);
    return counted_votes;
}
static inline void warp_barrier(unsigned lanes = 0xffffffffu) {
    current->lanes = lanes;
    wait_at(AT_WARP_BARRIER);
}
template <class T>
static inline T shuffle(unsigned lanes, T value, unsigned source_lane) {
    static_assert(sizeof(T) <= sizeof current->shown, "a shuffle of at most 8 bytes");
    memcpy(&current->shown, &value, sizeof value);
    warp_barrier(lanes);
    unsigned source = current->number / 32 * 32 + source_lane;
    if (source < fiber_count) memcpy(&value, &fibers[source].shown, sizeof value);
    warp_barrier(lanes);   // none goes on and shows its next value before all have read this one
    return value;
}

static void fiber_main() {
    fiber_body(fiber_arguments);
    wait_at(DONE);
}

static void start_fibers(const Launch &launch, Body body) {
    fiber_body = body;
    fiber_arguments = launch.arguments;
    votes = 0;
    for (unsigned i = 0; i < fiber_count; i++) {
        Fiber &fiber = fibers[i];
        fiber.index = position(i, launch.block);
        fiber.number = i;
        fiber.state = READY;
        fiber.started = false;
        getcontext(&fiber.entry);
        fiber.entry.uc_stack.ss_sp = launch.stacks + i * STACK_BYTES;
        fiber.entry.uc_stack.ss_size = STACK_BYTES;
        fiber.entry.uc_link = nullptr;
        makecontext(&fiber.entry, fiber_main, 0);
    }
}

// Lets all threads past __syncthreads if every one that has not ended waits at it; says so in `released`.
static const char *release_block(bool *released) {
    Fiber *first = nullptr;
    for (unsigned i = 0; i < fiber_count; i++) {
        if (fibers[i].state == DONE) continue;
        if (fibers[i].state != AT_BLOCK_BARRIER) return nullptr;
        if (!first) first = &fibers[i];
        if (fibers[i].site != first->site) return "threads of one block wait at different __syncthreads()";
    }
    *released = first != nullptr;
    counted_votes = votes;
    votes = 0;
    for (unsigned i = 0; i < fiber_count; i++)
        if (fibers[i].state == AT_BLOCK_BARRIER) fibers[i].state = READY;
    return nullptr;
}

// Lets those lanes past a warp's barrier whose named fellows wait at one too, or have ended.
static bool release_warp(unsigned begin) {
    unsigned end = begin + 32 < fiber_count ? begin + 32 : fiber_count, waiting = 0, absent = 0;
    for (unsigned i = begin; i < end; i++) {
        waiting |= (unsigned)(fibers[i].state == AT_WARP_BARRIER) << (i - begin);
        absent |= (unsigned)(fibers[i].state != AT_WARP_BARRIER && fibers[i].state != DONE) << (i - begin);
    }
    bool released = false;
    for (unsigned i = begin; i < end; i++) {
        if (!(waiting >> (i - begin) & 1) || (fibers[i].lanes & absent)) continue;
        fibers[i].state = READY;
        released = true;
    }
    return released;
}

static const char *run_block(const Launch &launch, Body body, size_t threads) {
    fiber_count = (unsigned)threads;
    start_fibers(launch, body);
    for (;;) {
        unsigned done = 0;
        for (unsigned turn = 0; turn < fiber_count; turn++) {
            Fiber &fiber = fibers[launch.reverse ? fiber_count - 1 - turn : turn];
            if (fiber.state == READY) resume(&fiber);
            done += fiber.state == DONE;
        }
        if (done == fiber_count) return nullptr;
        bool released = false;
        if (const char *wrong = release_block(&released)) return wrong;
        if (!released)
            for (unsigned begin = 0; begin < fiber_count; begin += 32) released |= release_warp(begin);
        if (!released) return "threads of one block wait at different barriers, for ever";
    }
}

#endif

static const char *run_grid(const Launch &launch, Body body) {
    gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    blockDim = {launch.block[0], launch.block[1], launch.block[2]};
    size_t blocks = (size_t)launch.grid[0] * launch.grid[1] * launch.grid[2];
    size_t threads = (size_t)launch.block[0] * launch.block[1] * launch.block[2];
    // Unlike a GPU's, filled: float32 and float64 read from it unwritten are NaN.
    size_t shared_bytes = (launch.shared_bytes + 63) / 64 * 64;
    dynamic_shared = shared_bytes ? (char *)aligned_alloc(64, shared_bytes) : nullptr;
    const char *wrong = nullptr;
    for (size_t turn = 0; turn < blocks && !wrong; turn++) {
        if (dynamic_shared) memset(dynamic_shared, 0xff, shared_bytes);
        blockIdx = position(launch.reverse ? blocks - 1 - turn : turn, launch.grid);
        wrong = run_block(launch, body, threads);
    }
    free(dynamic_shared);
    return wrong;
}

}   // namespace cupysim

#ifdef CUPYSIM_BARRIERS
// Macros, for the number of the place in the source that they stand at.
#define __syncthreads() ::cupysim::block_barrier(__COUNTER__)
#define __syncthreads_or(predicate) (::cupysim::block_vote(__COUNTER__, predicate) > 0)
#define __syncthreads_and(predicate) \
    (::cupysim::block_vote(__COUNTER__, predicate) == (int)::cupysim::fiber_count)
#define __syncthreads_count(predicate) ::cupysim::block_vote(__COUNTER__, predicate)

static inline void __syncwarp(unsigned lanes = 0xffffffffu) { cupysim::warp_barrier(lanes); }

// width: a warp in parts of so many lanes, each shuffled for itself.
template <class T>
static inline T __shfl_sync(unsigned lanes, T value, int source, int width = 32) {
    unsigned lane = cupysim::current->number % 32;
    return cupysim::shuffle(lanes, value, lane / width * width + (source & (width - 1)));
}
template <class T>
static inline T __shfl_down_sync(unsigned lanes, T value, unsigned delta, int width = 32) {
    unsigned lane = cupysim::current->number % 32;
    return cupysim::shuffle(lanes, value, lane % width + delta < (unsigned)width ? lane + delta : lane);
}
template <class T>
static inline T __shfl_up_sync(unsigned lanes, T value, unsigned delta, int width = 32) {
    unsigned lane = cupysim::current->number % 32;
    return cupysim::shuffle(lanes, value, lane % width >= delta ? lane - delta : lane);
}
template <class T>
static inline T __shfl_xor_sync(unsigned lanes, T value, int mask, int width = 32) {
    (void)width;
    return cupysim::shuffle(lanes, value, (cupysim::current->number % 32) ^ mask);
}
#endif
