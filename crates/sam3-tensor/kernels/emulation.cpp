// Runs kernels on a CPU: a block's threads as fibers, or, with -DREAL_THREADS (for ThreadSanitizer), as threads.
#include "emulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>

#ifdef REAL_THREADS
#include <condition_variable>
#include <thread>
#else
#include <ucontext.h>
#endif

namespace emulation {

static std::map<std::string, Found> &kernels() {
    static std::map<std::string, Found> all;
    return all;
}

Kernel::Kernel(const char *name, const Found &found) { kernels()[name] = found; }

static Dim block, grid, size;
Dim &block_index() { return block; }
Dim &grid_size() { return grid; }
Dim &block_size() { return size; }

void fail(const char *what) {
    fprintf(stderr, "emulation: block %u,%u,%u thread %u: %s\n", block.x, block.y, block.z, self().index.x, what);
    abort();
}

static std::vector<void *> poisoned;
static std::mutex poisoning;

void poison(void *memory, size_t bytes) {
    std::lock_guard<std::mutex> lock(poisoning);
    if (std::find(poisoned.begin(), poisoned.end(), memory) != poisoned.end()) return;
    memset(memory, 0xff, bytes);
    poisoned.push_back(memory);
}

static std::mt19937 random_order(1);
static bool at_once;
bool copies_at_once() { return at_once; }

#ifdef REAL_THREADS

class Barrier {
  public:
    explicit Barrier(unsigned count) : count(count), waiting(count) {}
    void wait() {
        std::unique_lock<std::mutex> lock(mutex);
        unsigned now = round;
        if (--waiting == 0) {
            waiting = count;
            round++;
            all.notify_all();
        } else {
            all.wait(lock, [&] { return round != now; });
        }
    }

  private:
    std::mutex mutex;
    std::condition_variable all;
    unsigned count, waiting, round = 0;
};

static thread_local Thread *current;
static thread_local Barrier *of_warp;
static Barrier *of_block;
Thread &self() { return *current; }
void block_barrier() { of_block->wait(); }
void warp_barrier() { of_warp->wait(); }

static void run_block(void (*kernel)(const void *), const void *args, std::vector<Thread> &threads) {
    Barrier all(threads.size());
    of_block = &all;
    std::vector<std::unique_ptr<Barrier>> warps;
    for (size_t i = 0; i < threads.size(); i += WARP) warps.push_back(std::make_unique<Barrier>(WARP));
    std::vector<std::thread> running;
    for (size_t i = 0; i < threads.size(); i++)
        running.emplace_back([&, i] {
            current = &threads[i];
            of_warp = warps[i / WARP].get();
            kernel(args);
        });
    for (std::thread &thread : running) thread.join();
}

#else

enum State { READY, AT_WARP, AT_BLOCK, DONE };

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(256 << 10);
    State state;
    Thread *thread;
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static Fiber *running;
static void (*running_kernel)(const void *);
static const void *running_args;

static int released; // the widest barrier that the running fiber opened

Thread &self() { return *running->thread; }

static std::vector<size_t> shuffled(size_t count) {
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_order);
    return order;
}

// Waits until all of `count` fibers from `first` on have come here.
static void wait(size_t first, size_t count, State state) {
    running->state = state;
    size_t there = 0;
    for (size_t i = first; i < first + count; i++) there += fibers[i].state == state;
    if (there == count) {
        for (size_t i = first; i < first + count; i++) fibers[i].state = READY;
        released = std::max(released, static_cast<int>(state));
    }
    swapcontext(&running->context, &scheduler);
}

void block_barrier() { wait(0, size.x, AT_BLOCK); }
void warp_barrier() { wait(self().index.x / WARP * WARP, WARP, AT_WARP); }

static void start() {
    running_kernel(running_args);
    running->state = DONE;
}

static void run_block(void (*kernel)(const void *), const void *args, std::vector<Thread> &threads) {
    running_kernel = kernel;
    running_args = args;
    if (fibers.size() < threads.size()) fibers.resize(threads.size());
    for (size_t i = 0; i < threads.size(); i++) {
        Fiber &fiber = fibers[i];
        fiber.thread = &threads[i];
        fiber.state = READY;
        getcontext(&fiber.context);
        fiber.context.uc_stack = {fiber.stack.data(), 0, fiber.stack.size()};
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, start, 0);
    }
    // Warps, and lanes within each, by a drawn rank: who comes first always goes on, as far as barriers let it, before
    // others do.
    std::vector<size_t> order;
    for (size_t warp : shuffled(threads.size() / WARP))
        for (size_t lane : shuffled(WARP)) order.push_back(warp * WARP + lane);
    for (size_t done = 0, i = 0; done < threads.size();) {
        while (i < order.size() && fibers[order[i]].state != READY) i++;
        if (i == order.size()) fail("threads wait for others that have ended or wait elsewhere");
        running = &fibers[order[i]];
        released = 0;
        swapcontext(&scheduler, &running->context);
        done += running->state == DONE;
        if (released == AT_WARP) i -= i % WARP;
        if (released == AT_BLOCK) i = 0;
    }
}

#endif

static void run_grid(void (*kernel)(const void *), const void *args) {
    for (block.z = 0; block.z < grid.z; block.z++)
        for (block.y = 0; block.y < grid.y; block.y++)
            for (block.x = 0; block.x < grid.x; block.x++) {
                std::vector<Thread> threads(size.x);
                std::vector<Warp> warps(size.x / WARP);
                for (unsigned i = 0; i < size.x; i++) {
                    threads[i].index.x = i;
                    threads[i].index.y = threads[i].index.z = 0;
                    threads[i].lane = i % WARP;
                    threads[i].warp = &warps[i / WARP];
                }
                poisoned.clear();
                at_once = random_order() % 2 == 0;
                run_block(kernel, args, threads);
                for (const Thread &thread : threads)
                    if (!thread.copies.empty()) fail("a copy that nobody waited for");
            }
}

// Memory whose end lies before a page that must not be touched, and whose start lies after one but for less than a
// page.
class Guarded {
  public:
    explicit Guarded(size_t bytes) {
        size_t page = 4096;
        size_t used = (bytes + 15) / 16 * 16, pages = (used + page - 1) / page * page;
        length = pages + 2 * page;
        base = static_cast<char *>(mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        mprotect(base + page, pages, PROT_READ | PROT_WRITE);
        start = base + page + pages - used;
    }
    ~Guarded() { munmap(base, length); }
    char *start;

  private:
    char *base;
    size_t length;
};

} // namespace emulation

// One tensor's memory, in which arguments of a kernel point.
struct Buffer {
    char *start;
    uint64_t bytes;
    uint64_t is_output;
};

// Runs a kernel with copies of its buffers between guard pages, and copies what it wrote back. Returns 0 where there is
// no such kernel.
extern "C" int emulate(const char *name, const uint64_t *args, uint64_t words, const Buffer *buffers, uint64_t count,
                       const uint32_t *blocks, uint32_t threads) {
    using namespace emulation;
    auto found = kernels().find(name);
    if (found == kernels().end()) return 0;
    if (words * sizeof(uint64_t) != found->second.args || threads > found->second.most_threads) fail("other arguments or more threads");
    grid = {blocks[0], blocks[1], blocks[2]};
    size = {threads, 1, 1};
    std::vector<uint64_t> moved(args, args + words);
    std::vector<std::unique_ptr<Guarded>> copies;
    for (uint64_t i = 0; i < count; i++) {
        const Buffer &buffer = buffers[i];
        copies.push_back(std::make_unique<Guarded>(buffer.bytes));
        memcpy(copies[i]->start, buffer.start, buffer.bytes);
        uint64_t start = reinterpret_cast<uint64_t>(buffer.start);
        for (uint64_t word = 0; word < words; word++)
            if (args[word] >= start && args[word] < start + buffer.bytes)
                moved[word] = args[word] - start + reinterpret_cast<uint64_t>(copies[i]->start);
    }
    run_grid(found->second.run, moved.data());
    for (uint64_t i = 0; i < count; i++)
        if (buffers[i].is_output) memcpy(buffers[i].start, copies[i]->start, buffers[i].bytes);
    return 1;
}

#include "attention.cuh"
#include "places.cuh"
#include "tensor_core.cuh"

namespace of_arrange {
#include "arrange.cu"
}
namespace of_elementwise {
#include "elementwise.cu"
}
namespace of_attention {
#include "attention.cu"
}
namespace of_attention_exact {
#include "attention_exact.cu"
}
namespace of_rotate {
#include "rotate.cu"
}
namespace of_norm {
#include "norm.cu"
}
namespace of_finish {
#include "finish.cu"
}
namespace of_dequantize {
#include "dequantize.cu"
}
namespace of_rearrange {
#include "rearrange.cu"
}
namespace of_pixels {
#include "pixels.cu"
}
namespace of_upsample {
#include "upsample.cu"
}
namespace of_box_bias {
#include "box_bias.cu"
}
namespace of_softmax {
#include "softmax.cu"
}
namespace of_depthwise {
#include "depthwise.cu"
}
