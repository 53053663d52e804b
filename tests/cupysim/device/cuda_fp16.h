// CUDA's header of this name, as far as CuPy includes it: half precision by g++'s _Float16.
#pragma once

struct __half_raw {
    unsigned short x;
};

struct __half {
    unsigned short bits;

    __half() {}
    __half(const __half_raw &raw) : bits(raw.x) {}
    __half(float x) : bits(__float2half_rn(x)) {}
    explicit __half(double x) : bits(cupysim::bits_as<unsigned short>((_Float16)x)) {}   // rounded once
    explicit __half(bool x) : __half((float)x) {}
    explicit __half(int x) : __half((float)x) {}
    explicit __half(unsigned x) : __half((float)x) {}
    explicit __half(long long x) : __half((float)x) {}
    explicit __half(unsigned long long x) : __half((float)x) {}

    operator float() const { return __half2float(bits); }
    operator __half_raw() const { return {bits}; }
};
typedef __half half;

static inline unsigned short __half_as_ushort(const __half x) { return x.bits; }
static inline __half __ushort_as_half(unsigned short x) { return __half_raw{x}; }
