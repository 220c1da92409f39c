// Feature maps rearranged for matrix products; values are moved in units of 2, 4 or 16 bytes, whatever they are.
#include "kernel.cuh"

struct PatchesArgs {
    const void *x; // [height, width, units]
    void *out;     // [rows × width, 9, units]
    uint32_t first, height, width, units; // first row; units in a pixel
};

struct ShuffleArgs {
    const void *x; // [height, width, 2, 2, units]
    void *out;     // [2 height, 2 width, units]
    uint32_t total, width, units, unused;
};

struct alignas(16) Unit16 {
    uint32_t words[4];
};

constexpr unsigned PATCH_THREADS = 96; // 256 channels of f16 are 9 × 32 units of 16 bytes
constexpr unsigned THREADS = 256;

// A block gathers a pixel's patch.
template <typename Unit> __device__ inline void patches(const PatchesArgs &a) {
    uint32_t pixel_y = a.first + blockIdx.x / a.width, pixel_x = blockIdx.x % a.width;
    Unit *out = static_cast<Unit *>(a.out) + static_cast<size_t>(blockIdx.x) * 9 * a.units;
    for (uint32_t i = threadIdx.x; i < 9 * a.units; i += PATCH_THREADS) {
        // One above and to the left of the pixel is tap 0; what lies before the first row or column is a very large
        // number.
        uint32_t tap = i / a.units, y = pixel_y + tap / 3 - 1, x = pixel_x + tap % 3 - 1;
        Unit value = {};
        if (y < a.height && x < a.width)
            value = static_cast<const Unit *>(a.x)[(static_cast<size_t>(y) * a.width + x) * a.units + i % a.units];
        out[i] = value;
    }
}

template <typename Unit> __device__ inline void shuffle(const ShuffleArgs &a) {
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.total) return;
    uint32_t unit = i % a.units, pixel = i / a.units;
    uint32_t x = pixel % (2 * a.width), y = pixel / (2 * a.width);
    uint32_t from = (y / 2 * a.width + x / 2) * 4 + y % 2 * 2 + x % 2;
    static_cast<Unit *>(a.out)[i] = static_cast<const Unit *>(a.x)[static_cast<size_t>(from) * a.units + unit];
}

KERNEL(PATCH_THREADS, PatchesArgs, patches_2) { patches<uint16_t>(a); }
KERNEL(PATCH_THREADS, PatchesArgs, patches_4) { patches<uint32_t>(a); }
KERNEL(PATCH_THREADS, PatchesArgs, patches_16) { patches<Unit16>(a); }
KERNEL(THREADS, ShuffleArgs, shuffle_2) { shuffle<uint16_t>(a); }
KERNEL(THREADS, ShuffleArgs, shuffle_4) { shuffle<uint32_t>(a); }
KERNEL(THREADS, ShuffleArgs, shuffle_16) { shuffle<Unit16>(a); }
