// cuBLASLt without a GPU, for tests: `libcublasLt.so.13` with the functions of `gpu/cublaslt.rs`, products by plain
// loops. It works with the driver's stand-in, in the order of its stream.
#include "../kernels/emulation.h"
#include "../kernels/kernel.cuh"
#include "queue.h"

#include <dlfcn.h>

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68 };
enum { TRANSA = 3, EPILOGUE = 7, BIAS_POINTER = 8, EPILOGUE_BIAS = 4 };
enum { MAX_WORKSPACE_BYTES = 1, FIRST_ALIGNMENT = 5, LAST_ALIGNMENT = 8 };

struct Layout {
    int type;
    uint64_t rows, columns; // of a matrix that is stored column by column
    int64_t leading;
};

struct Description {
    int is_transposed = 0, epilogue = 1;
    uint64_t bias = 0;
};

struct Preference {
    uint64_t workspace = 0;
    uint32_t alignments[4] = {};
};

struct Found {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

constexpr uint64_t CHOSEN = 0x5a3;

size_t size_of(int type) { return type == R_32F ? 4 : 2; }

float read(int type, const void *at, uint64_t i) {
    if (type == R_32F) return static_cast<const float *>(at)[i];
    if (type == R_16F) return to_float(static_cast<const f16 *>(at)[i]);
    return to_float(static_cast<const bf16 *>(at)[i]);
}

void write(int type, void *at, uint64_t i, float x) {
    if (type == R_32F) static_cast<float *>(at)[i] = x;
    else if (type == R_16F) static_cast<f16 *>(at)[i] = from_float<f16>(x);
    else static_cast<bf16 *>(at)[i] = from_float<bf16>(x);
}

void *of_driver(const char *name) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    return driver ? dlsym(driver, name) : nullptr;
}

struct Product {
    Description description;
    Layout a, b, d;
    const void *from_a, *from_b, *added;
    void *to;
    float share;
};

const char *multiply(void *data) {
    const Product &p = *static_cast<const Product *>(data);
    auto check = reinterpret_cast<Check>(of_driver(CHECK));
    auto wrong = [&](const Layout &layout, const void *at) {
        return check(reinterpret_cast<uint64_t>(at), layout.columns * layout.leading * size_of(layout.type));
    };
    for (const char *found : {wrong(p.a, p.from_a), wrong(p.b, p.from_b), wrong(p.d, p.to), wrong(p.d, p.share == 0 ? p.to : p.added)})
        if (found) return found;
    bool has_bias = p.description.epilogue == EPILOGUE_BIAS;
    const float *bias = reinterpret_cast<const float *>(p.description.bias);
    if (has_bias)
        if (const char *found = check(p.description.bias, p.d.rows * sizeof(float))) return found;
    // Widened once: every element is used many times.
    std::vector<float> a(p.a.columns * p.a.rows), b(p.b.rows);
    for (uint64_t row = 0; row < p.a.columns; row++)
        for (uint64_t k = 0; k < p.a.rows; k++) a[row * p.a.rows + k] = read(p.a.type, p.from_a, row * p.a.leading + k);
    for (uint64_t column = 0; column < p.d.columns; column++) {
        for (uint64_t k = 0; k < p.b.rows; k++) b[k] = read(p.b.type, p.from_b, column * p.b.leading + k);
        for (uint64_t row = 0; row < p.d.rows; row++) {
            float sums[8] = {};
            const float *of_a = &a[row * p.a.rows];
            for (uint64_t k = 0; k < p.b.rows; k++) sums[k % 8] += of_a[k] * b[k];
            float sum = 0;
            for (float part : sums) sum += part;
            uint64_t place = column * p.d.leading + row;
            if (p.share != 0) sum += p.share * read(p.d.type, p.added, place);
            write(p.d.type, p.to, place, has_bias ? sum + bias[row] : sum);
        }
    }
    return nullptr;
}

} // namespace

#pragma GCC visibility push(default)
extern "C" {

int cublasLtCreate(void **out) {
    *out = of_driver(SUBMIT);
    return *out ? SUCCESS : INVALID_VALUE;
}

int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    if ((type != R_32F && type != R_16F && type != R_16BF) || leading < static_cast<int64_t>(rows)) return INVALID_VALUE;
    return *out = new Layout{type, rows, columns, leading}, SUCCESS;
}

int cublasLtMatmulDescCreate(void **out, int compute, int scale) {
    return *out = new Description, compute == COMPUTE_32F && scale == R_32F ? SUCCESS : INVALID_VALUE;
}

int cublasLtMatmulDescSetAttribute(void *description, int attribute, const void *value, size_t bytes) {
    Description &to = *static_cast<Description *>(description);
    void *field = attribute == TRANSA         ? static_cast<void *>(&to.is_transposed)
                  : attribute == EPILOGUE     ? static_cast<void *>(&to.epilogue)
                  : attribute == BIAS_POINTER ? static_cast<void *>(&to.bias)
                                              : nullptr;
    if (!field || bytes != (attribute == BIAS_POINTER ? 8 : 4)) return INVALID_VALUE;
    return memcpy(field, value, bytes), SUCCESS;
}

int cublasLtMatmulPreferenceCreate(void **out) { return *out = new Preference, SUCCESS; }

int cublasLtMatmulPreferenceSetAttribute(void *preference, int attribute, const void *value, size_t bytes) {
    Preference &to = *static_cast<Preference *>(preference);
    if (attribute == MAX_WORKSPACE_BYTES && bytes == sizeof(to.workspace)) return memcpy(&to.workspace, value, bytes), SUCCESS;
    if (attribute < FIRST_ALIGNMENT || attribute > LAST_ALIGNMENT || bytes != 4) return INVALID_VALUE;
    return memcpy(&to.alignments[attribute - FIRST_ALIGNMENT], value, bytes), SUCCESS;
}

int cublasLtMatmulPreferenceDestroy(void *preference) { return delete static_cast<Preference *>(preference), SUCCESS; }

int cublasLtMatmulAlgoGetHeuristic(void *, void *description, void *of_a, void *of_b, void *of_c, void *of_d, void *preference, int wanted,
                                   Found *found, int *count) {
    const Layout &a = *static_cast<Layout *>(of_a), &b = *static_cast<Layout *>(of_b), &d = *static_cast<Layout *>(of_d);
    bool is_one = static_cast<Description *>(description)->is_transposed == 1 && a.type == b.type && of_c == of_d && wanted >= 1;
    if (!is_one || a.rows != b.rows || d.rows != a.columns || d.columns != b.columns) return INVALID_VALUE;
    *count = 0;
    // As the real one: it has no kernel for halves whose rows begin at odd places.
    const Preference &prefers = *static_cast<Preference *>(preference);
    for (uint32_t alignment : prefers.alignments)
        if (a.type != R_32F && (a.leading % 2 != 0 || alignment < 4)) return NOT_SUPPORTED;
    *count = 1;
    *found = Found{{CHOSEN}, 0, SUCCESS, 1, {}};
    return SUCCESS;
}

int cublasLtMatmul(void *handle, void *description, const float *alpha, const void *a, void *of_a, const void *b, void *of_b,
                   const float *beta, const void *c, void *of_c, void *d, void *of_d, const uint64_t *algorithm, void *, size_t, void *) {
    if (*algorithm != CHOSEN || *alpha != 1 || of_c != of_d) return INVALID_VALUE;
    auto is_dry = reinterpret_cast<bool (*)()>(of_driver(IS_DRY));
    if (is_dry()) return SUCCESS;
    auto *product = new Product{*static_cast<Description *>(description),
                                *static_cast<Layout *>(of_a),
                                *static_cast<Layout *>(of_b),
                                *static_cast<Layout *>(of_d),
                                a,
                                b,
                                c,
                                d,
                                *beta};
    auto drop = [](void *data) { delete static_cast<Product *>(data); };
    return reinterpret_cast<Submit>(handle)(multiply, drop, product) == 0 ? SUCCESS : INVALID_VALUE;
}

} // extern "C"
#pragma GCC visibility pop
