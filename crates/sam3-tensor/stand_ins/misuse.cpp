// Programs that use a GPU wrongly, each of which the driver's stand-in has to find: misuse LIBRARY WHAT.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;

template <typename... Args> int call(const char *name, Args... args) {
    auto function = reinterpret_cast<int (*)(Args...)>(dlsym(library, name));
    if (!function) exit(99);
    return function(args...);
}

// Of `copy_1`, see kernels/arrange.cu.
struct CopyArgs {
    uint64_t from, to, total;
    uint32_t dims[6], from_strides[6], to_strides[6];
};

static void *context, *stream;

static int copy(uint64_t from, uint64_t to, uint32_t bytes) {
    void *module, *function;
    call("cuModuleLoadData", &module, "//");
    call("cuModuleGetFunction", &function, module, "copy_1");
    CopyArgs args = {from, to, bytes, {1, 1, 1, 1, 1, bytes}, {0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 1}};
    void *arguments[] = {&args};
    int status = call("cuLaunchKernel", function, (bytes + 255) / 256, 1u, 1u, 256u, 1u, 1u, 0u, stream, arguments, (void **)nullptr);
    return status ? status : call("cuStreamSynchronize", stream);
}

int main(int, char **argv) {
    library = dlopen(argv[1], RTLD_NOW);
    if (!library) return puts(dlerror()), 98;
    const char *what = argv[2];
    uint64_t a, b;
    char bytes[100] = {1, 2, 3};
    call("cuInit", 0u);
    call("cuDevicePrimaryCtxRetain", &context, 0);
    if (!strcmp(what, "no context")) return call("cuMemAlloc_v2", &a, size_t(100));
    call("cuCtxSetCurrent", context);
    call("cuStreamCreate", &stream, 1u);
    if (call("cuMemAllocAsync", &a, size_t(100), stream) || call("cuMemAllocAsync", &b, size_t(100), stream)) return 97;
    if (call("cuMemcpyHtoDAsync_v2", a, (const void *)bytes, size_t(100), stream)) return 96;
    if (!strcmp(what, "right")) {
        if (copy(a, b, 100)) return 95;
        char back[100] = {};
        call("cuMemcpyDtoHAsync_v2", (void *)back, b, size_t(100), stream);
        call("cuStreamSynchronize", stream);
        return memcmp(bytes, back, 100) ? 94 : 0;
    }
    if (!strcmp(what, "too much")) return call("cuMemAllocAsync", &b, size_t(1) << 40, stream);
    if (!strcmp(what, "copied too far")) return call("cuMemcpyHtoDAsync_v2", a, (const void *)bytes, size_t(101), stream);
    if (!strcmp(what, "copied elsewhere")) return call("cuMemcpyHtoDAsync_v2", (uint64_t)bytes, (const void *)bytes, size_t(1), stream);
    if (!strcmp(what, "freed elsewhere")) return call("cuMemFreeAsync", a + 16, stream);
    if (!strcmp(what, "read too far")) return copy(a, b + 1, 99) || copy(a, b, 120);
    if (!strcmp(what, "written behind")) {
        if (copy(a, b + 3, 100)) return 93;
        call("cuMemFreeAsync", b, stream);
        return call("cuStreamSynchronize", stream);
    }
    call("cuMemFreeAsync", b, stream);
    if (!strcmp(what, "freed twice")) return call("cuMemFreeAsync", b, stream);
    if (!strcmp(what, "used when freed")) return copy(a, b, 100);
    return 92;
}
