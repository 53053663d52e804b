// CUDA's header of this name: what CuPy's copy of Thrust's complex numbers is wrapped in.
#pragma once
#define THRUST_NAMESPACE_BEGIN namespace thrust {
#define THRUST_NAMESPACE_END }
#define THRUST_NS_QUALIFIER ::thrust
