// One value after the other: sums and products of tensors that broadcast, functions, other types.
#include "kernel.cuh"

constexpr unsigned AXES = 6;
constexpr unsigned THREADS = 256;

struct BinaryArgs {
    const float *a, *b;
    float *out;
    uint64_t total;
    uint32_t dims[AXES], a_strides[AXES], b_strides[AXES]; // 1, 0 and 0 for axes that there are not
};

struct UnaryArgs {
    const float *x;
    float *out;
    uint64_t total;
    float scale, shift; // of `affine`; the bounds of `clamp`
};

struct CastArgs {
    const void *x;
    void *out;
    uint64_t total;
};

struct SumArgs {
    const float *x; // [rows, columns]
    float *out;     // [rows]
    uint64_t columns;
};

#define BINARY(name, result)                                                                                                     \
    KERNEL(THREADS, BinaryArgs, name) {                                                                                           \
        uint64_t i = static_cast<uint64_t>(blockIdx.x) * THREADS + threadIdx.x;                                                   \
        if (i >= a.total) return;                                                                                                 \
        uint32_t rest = static_cast<uint32_t>(i), from_a = 0, from_b = 0;                                                         \
        for (int axis = AXES - 1; axis >= 0; axis--) {                                                                            \
            uint32_t index = rest % a.dims[axis];                                                                                 \
            rest /= a.dims[axis];                                                                                                 \
            from_a += index * a.a_strides[axis];                                                                                  \
            from_b += index * a.b_strides[axis];                                                                                  \
        }                                                                                                                         \
        float x = a.a[from_a], y = a.b[from_b];                                                                                   \
        a.out[i] = result;                                                                                                        \
    }

BINARY(add, x + y)
BINARY(subtract, x - y)
BINARY(multiply, x *y)
BINARY(divide, x / y)

#define UNARY(name, result)                                                                                                      \
    KERNEL(THREADS, UnaryArgs, name) {                                                                                            \
        uint64_t i = static_cast<uint64_t>(blockIdx.x) * THREADS + threadIdx.x;                                                   \
        if (i >= a.total) return;                                                                                                 \
        float x = a.x[i];                                                                                                         \
        a.out[i] = result;                                                                                                        \
    }

UNARY(affine, fmaf(x, a.scale, a.shift))
UNARY(exponential, expf(x))
UNARY(logarithm, logf(x))
UNARY(sine, sinf(x))
UNARY(cosine, cosf(x))
UNARY(reciprocal, 1.f / x)
UNARY(absolute, fabsf(x))
// What is no number stays none.
UNARY(sign, x > 0.f ? 1.f : x < 0.f ? -1.f : x)
// NaN of what is no number: x - x is 0 else.
UNARY(clamp, fminf(fmaxf(x, a.scale), a.shift) + (x - x))

#define CAST(from, From, to, To)                                                                                                 \
    KERNEL(THREADS, CastArgs, cast_##from##_##to) {                                                                               \
        uint64_t i = static_cast<uint64_t>(blockIdx.x) * THREADS + threadIdx.x;                                                   \
        if (i < a.total) static_cast<To *>(a.out)[i] = from_float<To>(to_float(static_cast<const From *>(a.x)[i]));               \
    }

EACH_PAIR(CAST)

// A warp sums a row.
KERNEL(WARP, SumArgs, sum) {
    const float *x = a.x + blockIdx.x * a.columns;
    float sum = 0.f;
    for (uint64_t i = threadIdx.x; i < a.columns; i += WARP) sum += x[i];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) a.out[blockIdx.x] = sum;
}
