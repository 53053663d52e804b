// cuBLAS's matrix product, C = alpha * op(A) * op(B) + beta * C, column-major as in its manual, as plain
// loops.
#include "machine.h"

#include <complex>

using namespace cupysim;

// ---- cudaDataType (library_types.h of CUDA)
enum Type { R_32F = 0, R_64F = 1, R_16F = 2, C_32F = 4, C_64F = 5 };
enum Transpose { NO = 0, YES = 1, CONJUGATE = 2 };

struct Matrix {
    intptr_t address;   // of the data, or of a device array of addresses if `pointers`
    int leading_dimension;
    long long stride;   // from one matrix of the batch to the next, in elements
    int transpose;

    template <class T>
    T *of_batch(int index, bool pointers) const {
        return pointers ? ((T **)address)[index] : (T *)address + index * stride;
    }
};

struct Product {
    int m, n, k, batch;
    Matrix a, b, c;
    intptr_t alpha, beta;
    bool pointers;
};

template <class T>
static T conjugate(T x, int) {
    return x;
}
template <class T>
static std::complex<T> conjugate(std::complex<T> x, int transpose) {
    return transpose == CONJUGATE ? std::conj(x) : x;
}

// T: of the elements; S: of alpha, beta and the sums.
template <class T, class S>
static void multiply(const Product &p) {
    S alpha = *(const S *)p.alpha, beta = *(const S *)p.beta;
    std::vector<S> column(p.m);
    for (int index = 0; index < p.batch; index++) {
        const T *a = p.a.of_batch<T>(index, p.pointers), *b = p.b.of_batch<T>(index, p.pointers);
        T *c = p.c.of_batch<T>(index, p.pointers);
        size_t a_row = p.a.transpose ? p.a.leading_dimension : 1,
               a_column = p.a.transpose ? 1 : p.a.leading_dimension;
        size_t b_row = p.b.transpose ? p.b.leading_dimension : 1,
               b_column = p.b.transpose ? 1 : p.b.leading_dimension;
        for (int j = 0; j < p.n; j++) {
            column.assign(p.m, S(0));
            for (int l = 0; l < p.k; l++) {
                S factor = conjugate((S)b[l * b_row + j * b_column], p.b.transpose);
                for (int i = 0; i < p.m; i++)
                    column[i] += conjugate((S)a[i * a_row + l * a_column], p.a.transpose) * factor;
            }
            T *result = c + (size_t)j * p.c.leading_dimension;
            // With beta = 0, C is not read: it may hold NaN.
            for (int i = 0; i < p.m; i++)
                result[i] = (T)(beta == S(0) ? alpha * column[i] : alpha * column[i] + beta * (S)result[i]);
        }
    }
}

static void (*multiply_of(int type))(const Product &) {
    switch (type) {
        case R_32F: return multiply<float, float>;
        case R_64F: return multiply<double, double>;
        case R_16F: return multiply<_Float16, float>;
        case C_32F: return multiply<std::complex<float>, std::complex<float>>;
        case C_64F: return multiply<std::complex<double>, std::complex<double>>;
        default: return nullptr;
    }
}

static size_t scalar_bytes(int type) { return type == C_64F ? 16 : type == R_64F || type == C_32F ? 8 : 4; }

EXPORT PyObject *cupysim_gemm(intptr_t stream, int type, int m, int n, int k, intptr_t alpha, intptr_t a,
                              int lda, long long stride_a, int transpose_a, intptr_t b, int ldb,
                              long long stride_b, int transpose_b, intptr_t beta, intptr_t c, int ldc,
                              long long stride_c, int batch, int pointers) {
    record(GEMM, "(siiii)", "gemm", m, n, k, batch);
    auto run = multiply_of(type);
    if (!run) return fail(INVALID_VALUE, "a matrix product of a type that is not simulated");
    if (lda < (transpose_a ? k : m) || ldb < (transpose_b ? n : k) || ldc < m)
        return fail(INVALID_VALUE, "a leading dimension smaller than the matrix");
    if (stream_at(stream)->device != current_device)
        return fail(INVALID_HANDLE, "a matrix product on a stream of another device than the current one");

    Product product = {m,
                       n,
                       k,
                       batch,
                       {a, lda, stride_a, transpose_a},
                       {b, ldb, stride_b, transpose_b},
                       {c, ldc, stride_c, NO},
                       alpha,
                       beta,
                       pointers != 0};
    // Scalars of the host are read at the call, those of a device when the product runs.
    std::string host_alpha, host_beta;
    if (!allocation_of(alpha)) host_alpha.assign((char *)alpha, scalar_bytes(type));
    if (!allocation_of(beta)) host_beta.assign((char *)beta, scalar_bytes(type));
    return submit(stream, [=](std::string *) mutable {
        if (!host_alpha.empty()) product.alpha = (intptr_t)host_alpha.data();
        if (!host_beta.empty()) product.beta = (intptr_t)host_beta.data();
        run(product);
        return SUCCESS;
    });
}
