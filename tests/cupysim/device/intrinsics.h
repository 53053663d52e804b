// CUDA's built-in functions as plain C++. The fast ones (__expf) are the accurate ones here: what a GPU
// rounds away in them cannot be seen on a CPU.
#pragma once

template <class A, class B>
inline typename std::common_type<A, B>::type min(A a, B b) {
    using T = typename std::common_type<A, B>::type;
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
inline typename std::common_type<A, B>::type max(A a, B b) {
    using T = typename std::common_type<A, B>::type;
    return T(a) < T(b) ? T(b) : T(a);
}

// ---- the same bits, as another type
namespace cupysim {
template <class To, class From>
inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "only between types of one size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
}   // namespace cupysim

static inline int __float_as_int(float x) { return cupysim::bits_as<int>(x); }
static inline float __int_as_float(int x) { return cupysim::bits_as<float>(x); }
static inline unsigned __float_as_uint(float x) { return cupysim::bits_as<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return cupysim::bits_as<float>(x); }
static inline long long __double_as_longlong(double x) { return cupysim::bits_as<long long>(x); }
static inline double __longlong_as_double(long long x) { return cupysim::bits_as<double>(x); }

// ---- conversions, to the nearest
static inline unsigned short __float2half_rn(float x) {
    return cupysim::bits_as<unsigned short>((_Float16)x);
}
static inline float __half2float(unsigned short x) { return (float)cupysim::bits_as<_Float16>(x); }
static inline long long __float2ll_rn(float x) { return llrintf(x); }
static inline int __float2int_rn(float x) { return (int)lrintf(x); }

// ---- integers
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __mul24(int a, int b) { return a * b; }

// ---- floating point; macros where glibc declares a function of that name itself
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __tanhf(x) tanhf(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }

template <class T>
static inline T __ldg(const T *address) {
    return *address;
}
