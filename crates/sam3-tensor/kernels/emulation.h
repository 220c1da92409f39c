// The kernels as C++: what CUDA gives them, on a CPU.
//
// Blocks run one after another. The threads of a block have a rank drawn anew for every block, and the first that can
// goes on, so that a missing barrier shows as a wrong result; shared memory starts as NaN, and asynchronous copies
// happen either at once or when they are waited for. Operations of a warp exchange their operands through exactly the
// layout that the PTX manual gives.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <utility>
#include <vector>

#define __device__
using std::max;
using std::min;

namespace emulation {

struct Dim {
    unsigned x = 1, y = 1, z = 1;
};

struct Copy {
    void *to;
    const void *from; // null: zeros
};

constexpr unsigned WARP = 32, OPERAND = 32;

struct Warp {
    alignas(16) unsigned char operands[2][WARP][OPERAND]; // two, so that one barrier an operation is enough
    int kind[2][WARP];
};

struct Thread {
    Dim index;
    Warp *warp;
    unsigned lane, operations = 0;
    std::vector<Copy> copies;
};

Thread &self();
Dim &block_index();
Dim &grid_size();
Dim &block_size();
void block_barrier();
void warp_barrier();
bool copies_at_once(); // in this block; else as late as can be
void fail(const char *what);
// Fills memory with NaN the first time that a block's thread comes here.
void poison(void *memory, size_t bytes);

struct Found {
    void (*run)(const void *args);
    size_t args; // bytes
    unsigned most_threads;
};

struct Kernel {
    Kernel(const char *name, const Found &found);
};

enum Kind { SHUFFLE = 1, BALLOT, MMA, LDMATRIX };

// Gives an operand to the warp; returns all 32.
template <typename T> const T *exchange(Kind kind, const T &mine) {
    static_assert(sizeof(T) <= OPERAND, "");
    Thread &thread = self();
    unsigned side = thread.operations++ % 2;
    Warp &warp = *thread.warp;
    T *all = reinterpret_cast<T *>(warp.operands[side]);
    all[thread.lane] = mine;
    warp.kind[side][thread.lane] = kind;
    warp_barrier();
    for (unsigned lane = 0; lane < WARP; lane++)
        if (warp.kind[side][lane] != kind) fail("lanes of a warp run different operations");
    return all;
}

} // namespace emulation

#define threadIdx (emulation::self().index)
#define blockIdx (emulation::block_index())
#define gridDim (emulation::grid_size())
#define blockDim (emulation::block_size())

#define KERNEL(threads, Args, name)                                                                                                \
    static void name(const Args &a);                                                                                              \
    static emulation::Kernel name##_kernel(                                                                                       \
        #name, {[](const void *args) { name(*static_cast<const Args *>(args)); }, sizeof(Args), threads});                        \
    static void name([[maybe_unused]] const Args &a)
#define SHARED(type, name, count)                                                                                                  \
    alignas(128) static type name[count];                                                                                         \
    emulation::poison(name, sizeof(name))

inline void __syncthreads() { emulation::block_barrier(); }
inline void __syncwarp() { emulation::warp_barrier(); }

template <typename T> inline T __shfl_xor_sync(unsigned, T x, unsigned mask) {
    return emulation::exchange(emulation::SHUFFLE, x)[emulation::self().lane ^ mask];
}

inline unsigned __ballot_sync(unsigned, int predicate) {
    const int *all = emulation::exchange(emulation::BALLOT, predicate);
    unsigned bits = 0;
    for (unsigned lane = 0; lane < emulation::WARP; lane++) bits |= unsigned(all[lane] != 0) << lane;
    return bits;
}

inline uint32_t __umulhi(uint32_t a, uint32_t b) { return uint64_t(a) * b >> 32; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float exp2_fast(float x) { return exp2f(x); }

// 16-bit floats, rounded to nearest, ties to even.
struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};

inline float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

inline uint32_t to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

inline float __half2float(__half x) {
    uint32_t sign = (x.bits & 0x8000u) << 16, exponent = x.bits >> 10 & 31, fraction = x.bits & 0x3ff;
    if (exponent == 31) return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) return (sign ? -1.f : 1.f) * ldexpf(float(fraction), -24);
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

inline __half __float2half_rn(float x) {
    uint16_t sign = to_bits(x) >> 16 & 0x8000;
    float size = fabsf(x);
    if (!(size <= 3e38f)) return {uint16_t(sign | (x != x ? 0x7fff : 0x7c00))};
    int exponent;
    frexpf(size, &exponent);
    int unit = max(exponent - 11, -24); // a step of the result, as a power of 2
    float steps = nearbyintf(ldexpf(size, -unit));
    float rounded = ldexpf(steps, unit);
    if (rounded >= 65520.f) return {uint16_t(sign | 0x7c00)};
    if (rounded < 6.103515625e-05f) return {uint16_t(sign | uint16_t(ldexpf(rounded, 24)))};
    uint32_t bits = to_bits(rounded);
    return {uint16_t(sign | ((bits >> 23) - 112) << 10 | (bits >> 13 & 0x3ff))};
}

inline float __bfloat162float(__nv_bfloat16 x) { return from_bits(uint32_t(x.bits) << 16); }

inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    uint32_t bits = to_bits(x);
    if (x != x) return {0x7fff};
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <typename T> T from_float(float x);

template <typename T> inline uint32_t pack2(float low, float high) {
    return from_float<T>(low).bits | uint32_t(from_float<T>(high).bits) << 16;
}

float to_float(__half x);
float to_float(__nv_bfloat16 x);

template <typename T> inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    struct Fragments {
        uint32_t a[4], b[2];
    };
    const Fragments *all = emulation::exchange(emulation::MMA, Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    auto value = [](uint32_t pair, unsigned i) { return to_float(T{uint16_t(pair >> 16 * i)}); };
    unsigned g = emulation::self().lane / 4, t = emulation::self().lane % 4;
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
        for (unsigned k = 0; k < 16; k++) {
            float left = value(all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2);
            float right = value(all[column * 4 + k % 8 / 2].b[k / 8], k % 2);
            c[i] += left * right;
        }
    }
}

inline void ldmatrix_any(uint32_t (&m)[4], const void *row, bool transposed) {
    const void *const *rows = emulation::exchange(emulation::LDMATRIX, row);
    unsigned g = emulation::self().lane / 4, t = emulation::self().lane % 4;
    for (unsigned i = 0; i < 4; i++) {
        unsigned banks = 0;
        for (unsigned r = 0; r < 8; r++) {
            uintptr_t address = reinterpret_cast<uintptr_t>(rows[8 * i + r]);
            if (address % 16 != 0) emulation::fail("ldmatrix of a row that is not 16-byte aligned");
            banks |= 1u << address / 16 % 8;
        }
        if (banks != 0xff) emulation::fail("ldmatrix of rows in the same banks");
        auto value = [&](unsigned r, unsigned c) { return static_cast<const uint16_t *>(rows[8 * i + r])[c]; };
        m[i] = transposed ? value(2 * t, g) | uint32_t(value(2 * t + 1, g)) << 16 : value(g, 2 * t) | uint32_t(value(g, 2 * t + 1)) << 16;
    }
}

inline void ldmatrix(uint32_t (&m)[4], const void *row) { ldmatrix_any(m, row, false); }
inline void ldmatrix_transposed(uint32_t (&m)[4], const void *row) { ldmatrix_any(m, row, true); }

inline void copies_done() {
    for (const emulation::Copy &copy : emulation::self().copies) {
        if (copy.from) memcpy(copy.to, copy.from, 16);
        else memset(copy.to, 0, 16);
    }
    emulation::self().copies.clear();
}

inline void copy_async(void *to, const void *from, bool valid) {
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0) emulation::fail("an unaligned copy");
    emulation::self().copies.push_back({to, valid ? from : nullptr});
    if (emulation::copies_at_once()) copies_done();
}

inline void copy_async(void *to, const void *from) { copy_async(to, from, true); }
