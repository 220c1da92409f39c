// A CUDA driver without a GPU, for tests: `libcuda.so.1` with the functions of `gpu/driver.rs`.
//
// A launch runs the kernel of that name on the CPU, as emulation.cpp does. What is asked of the stream happens when the
// program waits for it, in order, as late as a GPU might: a buffer that is filled again too early shows. SAM3_STAND_IN
// says more, words with spaces between:
//   dry            once the first result was read, which tries the GPU out, nothing is computed: memory is counted at any size
//   integrated     its memory is the machine's, as a Jetson's
//   capability=90  a card like an H100; without this, like an Orin
//   bytes=N        all the memory that there is
//   pools=0        it has no memory pools
#include "../kernels/emulation.cpp"

#include "memory.h"
#include "queue.h"

#include <deque>
#include <mutex>
#include <sstream>

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };
enum { INTEGRATED = 18, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76, MEMORY_POOLS_SUPPORTED = 115 };
enum { RELEASE_THRESHOLD = 4, RESERVED_MEM_CURRENT = 5 };

struct Submitted {
    Work work;
    void (*drop)(void *);
    void *data;
    size_t number;
};

std::recursive_mutex all_calls;
std::deque<Submitted> stream;
size_t submitted, passed;
int failed = SUCCESS; // of the work: every later call has it, too
bool gets_dry;
int is_integrated, has_pools = 1, capability = 87;
size_t limit = size_t(8) << 30;
int context, pool;
thread_local bool is_current;

void configure() {
    memory::reserve();
    const char *text = getenv("SAM3_STAND_IN");
    std::istringstream words(text ? text : "");
    for (std::string word; words >> word;) {
        unsigned long long number = strtoull(word.c_str() + word.find('=') + 1, nullptr, 10);
        if (word == "dry") gets_dry = true;
        else if (word == "integrated") is_integrated = 1;
        else if (word.rfind("pools=", 0) == 0) has_pools = number != 0;
        else if (word.rfind("bytes=", 0) == 0) limit = number;
        else if (word.rfind("capability=", 0) == 0) capability = number;
        else abort();
    }
}

// Everything up to that number.
void run(size_t until) {
    while (!stream.empty() && stream.front().number <= until) {
        Submitted next = stream.front();
        stream.pop_front();
        const char *wrong = failed ? nullptr : next.work(next.data);
        if (wrong) {
            fprintf(stderr, "stand-in: %s: %s\n", memory::running, wrong);
            failed = ILLEGAL_ADDRESS;
        }
        next.drop(next.data);
        passed = next.number;
    }
}

template <typename Run> int submit(Run work) {
    auto call = [](void *data) -> const char * { return (*static_cast<Run *>(data))(); };
    auto drop = [](void *data) { delete static_cast<Run *>(data); };
    stream.push_back({call, drop, new Run(work), ++submitted});
    return failed;
}

struct Call {
    std::lock_guard<std::recursive_mutex> lock;
    Call() : lock(all_calls) {}
};

const char *copy(void *to, const void *from, size_t bytes) {
    memory::running = "a copy";
    memcpy(to, from, bytes);
    return nullptr;
}

bool is_pinned(const void *address) {
    uint64_t at = reinterpret_cast<uint64_t>(address);
    return at >= memory::first && at < memory::next;
}

} // namespace

#pragma GCC visibility push(default)
extern "C" {

int stand_in_submit(Work work, void (*drop)(void *), void *data) {
    Call call;
    stream.push_back({work, drop, data, ++submitted});
    return failed;
}

const char *stand_in_check(uint64_t address, size_t bytes) { return memory::check(address, bytes, true); }

bool stand_in_is_dry() { return memory::is_dry; }

int cuInit(unsigned flags) {
    Call call;
    if (flags != 0) return INVALID_VALUE;
    if (!memory::first) configure();
    return SUCCESS;
}

int cuGetErrorName(int error, const char **text) {
    static const std::map<int, const char *> names = {{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
                                                      {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                      {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
                                                      {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
                                                      {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
                                                      {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"}};
    auto found = names.find(error);
    *text = found == names.end() ? nullptr : found->second;
    return found == names.end() ? INVALID_VALUE : SUCCESS;
}

int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int ordinal) { return *device = 0, ordinal == 0 ? SUCCESS : INVALID_VALUE; }
int cuDeviceGetName(char *name, int length, int) { return snprintf(name, length, "stand-in"), SUCCESS; }

int cuDeviceGetAttribute(int *value, int attribute, int) {
    const std::map<int, int> values = {{INTEGRATED, is_integrated},
                                       {CAPABILITY_MAJOR, capability / 10},
                                       {CAPABILITY_MINOR, capability % 10},
                                       {MEMORY_POOLS_SUPPORTED, has_pools}};
    auto found = values.find(attribute);
    if (found == values.end()) return INVALID_VALUE;
    *value = found->second;
    return SUCCESS;
}

int cuDeviceGetDefaultMemPool(void **out, int) { return *out = &pool, has_pools ? SUCCESS : INVALID_VALUE; }
int cuDevicePrimaryCtxRetain(void **out, int) { return *out = &context, SUCCESS; }
int cuCtxSetCurrent(void *given) { return is_current = given == &context, is_current ? SUCCESS : INVALID_VALUE; }
int cuStreamCreate(void **out, unsigned) { return *out = &stream, is_current ? SUCCESS : INVALID_CONTEXT; }

int cuStreamSynchronize(void *given) {
    Call call;
    if (!is_current || given != &stream) return INVALID_CONTEXT;
    run(submitted);
    return failed;
}

int cuMemPoolSetAttribute(void *, int attribute, void *) { return attribute == RELEASE_THRESHOLD ? SUCCESS : INVALID_VALUE; }

int cuMemPoolGetAttribute(void *given, int attribute, void *value) {
    Call call;
    if (given != &pool || attribute != RESERVED_MEM_CURRENT) return INVALID_VALUE;
    uint64_t reserved = memory::used;
    memcpy(value, &reserved, sizeof(reserved));
    return SUCCESS;
}

int cuMemGetInfo_v2(size_t *free, size_t *total) {
    Call call;
    *free = limit - memory::used;
    *total = limit;
    return is_current ? SUCCESS : INVALID_CONTEXT;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    Call call;
    if (!is_current) return INVALID_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    *address = memory::allocate(bytes, limit);
    return *address ? failed : OUT_OF_MEMORY;
}

int cuMemAllocAsync(uint64_t *address, size_t bytes, void *given) {
    return given == &stream && has_pools ? cuMemAlloc_v2(address, bytes) : INVALID_VALUE;
}

int cuMemFreeAsync(uint64_t address, void *given) {
    Call call;
    if (!is_current || given != &stream) return INVALID_CONTEXT;
    if (!memory::free(address)) {
        fprintf(stderr, "stand-in: memory is freed that is not there to be freed\n");
        return INVALID_VALUE;
    }
    return submit([=] { return memory::unmap(address); });
}

int cuMemFree_v2(uint64_t address) {
    int status = cuMemFreeAsync(address, &stream);
    return status ? status : cuStreamSynchronize(&stream);
}

int cuMemHostAlloc(void **address, size_t bytes, unsigned) {
    Call call;
    uint64_t start = 0;
    // The machine's memory, not the GPU's: it counts for nothing there.
    int status = cuMemAlloc_v2(&start, bytes);
    memory::used -= status ? 0 : bytes;
    *address = reinterpret_cast<void *>(start);
    return status;
}

int cuMemFreeHost(void *address) {
    Call call;
    uint64_t start = reinterpret_cast<uint64_t>(address);
    auto found = memory::all.find(start);
    if (found == memory::all.end()) return INVALID_VALUE;
    memory::used += found->second.bytes;
    return cuMemFree_v2(start);
}

int cuMemsetD8Async(uint64_t address, unsigned char value, size_t bytes, void *given) {
    Call call;
    if (!is_current || given != &stream || memory::check(address, bytes, false)) return INVALID_VALUE;
    if (memory::is_dry) return failed;
    return submit([=]() -> const char * { return memset(reinterpret_cast<void *>(address), value, bytes), nullptr; });
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *given) {
    Call call;
    if (!is_current || given != &stream || memory::check(to, bytes, false)) return INVALID_VALUE;
    if (memory::is_dry) return failed;
    int status = submit([=] { return copy(reinterpret_cast<void *>(to), from, bytes); });
    // The system's memory is read before the call returns; page-locked memory may be read late.
    if (!is_pinned(from)) run(submitted);
    return status ? status : failed;
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *given) {
    Call call;
    if (!is_current || given != &stream || memory::check(from, bytes, false)) return INVALID_VALUE;
    if (memory::is_dry) return memset(to, 0, bytes), failed;
    int status = submit([=] { return copy(to, reinterpret_cast<const void *>(from), bytes); });
    if (gets_dry) run(submitted);
    memory::is_dry = gets_dry;
    return status;
}

int cuEventCreate(void **out, unsigned) { return *out = new size_t(0), SUCCESS; }

int cuEventRecord(void *event, void *given) {
    Call call;
    *static_cast<size_t *>(event) = submitted;
    return given == &stream ? failed : INVALID_VALUE;
}

int cuEventSynchronize(void *event) {
    Call call;
    run(*static_cast<size_t *>(event));
    return failed;
}

int cuEventDestroy_v2(void *event) { return delete static_cast<size_t *>(event), SUCCESS; }

int cuModuleLoadData(void **out, const void *image) {
    bool is_code = memcmp(image, "\x7f" "ELF", 4) == 0, is_ptx = memcmp(image, "//", 2) == 0;
    *out = const_cast<void *>(image);
    return is_code || is_ptx ? SUCCESS : INVALID_IMAGE;
}

int cuModuleGetFunction(void **out, void *, const char *name) {
    auto found = emulation::kernels().find(name);
    if (found == emulation::kernels().end()) return NOT_FOUND;
    *out = &*found;
    return SUCCESS;
}

int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned of_y, unsigned of_z, unsigned shared,
                   void *given, void **arguments, void **extra) {
    Call call;
    if (!is_current) return INVALID_CONTEXT;
    const auto &[name, kernel] = *static_cast<const std::pair<const std::string, emulation::Found> *>(function);
    bool is_grid = x > 0 && y > 0 && z > 0 && x <= 0x7fffffff && y <= 0xffff && z <= 0xffff;
    bool is_block = threads > 0 && threads <= kernel.most_threads && of_y == 1 && of_z == 1;
    if (!is_grid || !is_block || shared || extra || given != &stream) return INVALID_VALUE;
    if (memory::is_dry) return failed;
    const uint64_t *words = static_cast<const uint64_t *>(arguments[0]);
    std::vector<uint64_t> args(words, words + kernel.args / sizeof(uint64_t));
    return submit([&name = name, &kernel = kernel, args, x, y, z, threads]() -> const char * {
        memory::running = name.c_str();
        for (uint64_t word : args)
            if (word >= memory::first && word < memory::first + memory::ALL)
                if (const char *wrong = memory::check(word, 1, true)) return wrong;
        emulation::grid = {x, y, z};
        emulation::size = {threads, 1, 1};
        emulation::run_grid(kernel.run, args.data());
        return nullptr;
    });
}

} // extern "C"
#pragma GCC visibility pop
