// Atomic operations. Threads run one at a time and are never interrupted inside one of these, so that reading
// and writing one after the other is atomic.
#pragma once

#define CUPYSIM_ATOMIC(name, T, result)         \
    static inline T name(T *address, T value) { \
        T old = *address;                       \
        *address = result;                      \
        return old;                             \
    }

#define CUPYSIM_ATOMIC_NUMBER(T)              \
    CUPYSIM_ATOMIC(atomicAdd, T, old + value) \
    CUPYSIM_ATOMIC(atomicExch, T, value)

#define CUPYSIM_ATOMIC_INTEGER(T)                                \
    CUPYSIM_ATOMIC_NUMBER(T)                                     \
    CUPYSIM_ATOMIC(atomicSub, T, old - value)                    \
    CUPYSIM_ATOMIC(atomicAnd, T, old &value)                     \
    CUPYSIM_ATOMIC(atomicOr, T, old | value)                     \
    CUPYSIM_ATOMIC(atomicXor, T, old ^ value)                    \
    CUPYSIM_ATOMIC(atomicMax, T, value > old ? value : old)      \
    CUPYSIM_ATOMIC(atomicMin, T, value < old ? value : old)      \
    static inline T atomicCAS(T *address, T expected, T value) { \
        T old = *address;                                        \
        if (old == expected) *address = value;                   \
        return old;                                              \
    }

CUPYSIM_ATOMIC_INTEGER(int)
CUPYSIM_ATOMIC_INTEGER(unsigned)
CUPYSIM_ATOMIC_INTEGER(unsigned long long)
CUPYSIM_ATOMIC_NUMBER(float)
CUPYSIM_ATOMIC_NUMBER(double)
// CUDA has no atomicAdd of long long (CuPy brings its own), but these two.
CUPYSIM_ATOMIC(atomicMax, long long, value > old ? value : old)
CUPYSIM_ATOMIC(atomicMin, long long, value < old ? value : old)

static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}
