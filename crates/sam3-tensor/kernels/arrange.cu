// Elements copied from places to places: parts of axes, axes in another order, tensors end to end.
#include "kernel.cuh"

constexpr unsigned AXES = 6;

struct CopyArgs {
    const void *from;
    void *to;
    uint64_t total;
    uint32_t dims[AXES], from_strides[AXES], to_strides[AXES]; // of elements; 1, 0 and 0 for axes that there are not
};

constexpr unsigned THREADS = 256;

template <typename Unit> __device__ inline void copy(const CopyArgs &a) {
    uint64_t i = static_cast<uint64_t>(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= a.total) return;
    uint32_t rest = static_cast<uint32_t>(i), from = 0, to = 0;
#pragma unroll
    for (int axis = AXES - 1; axis >= 0; axis--) {
        uint32_t index = rest % a.dims[axis];
        rest /= a.dims[axis];
        from += index * a.from_strides[axis];
        to += index * a.to_strides[axis];
    }
    static_cast<Unit *>(a.to)[to] = static_cast<const Unit *>(a.from)[from];
}

KERNEL(THREADS, CopyArgs, copy_1) { copy<uint8_t>(a); }
KERNEL(THREADS, CopyArgs, copy_2) { copy<uint16_t>(a); }
KERNEL(THREADS, CopyArgs, copy_4) { copy<uint32_t>(a); }
