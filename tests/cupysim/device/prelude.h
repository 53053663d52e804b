// Included before every CUDA source: makes CUDA C++ out of C++, so that g++ compiles it for the CPU.
#pragma once
#include <assert.h>
#include <initializer_list>
#include <limits>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <tuple>
#include <type_traits>
#include <utility>

#define __CUDACC_VER_MAJOR__ 13

#define __device__
#define __host__
#define __global__
#define __constant__ static
// Static, so that the threads of a block share it: they run one at a time, and so do the blocks.
#define __shared__ static
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

#include "intrinsics.h"
#include "atomics.h"
#include "threads.h"
#include "export.h"
