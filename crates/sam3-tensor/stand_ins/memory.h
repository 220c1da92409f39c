// Memory of a GPU that is not there. An allocation ends where a page begins that nobody may touch, begins behind
// another one, and leaves its addresses to nobody when it is freed: what reaches beyond it, or comes too late, is
// found.
#pragma once

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>

namespace memory {

constexpr size_t PAGE = 4096, ALL = size_t(1) << 42, ALIGNMENT = 16;
constexpr unsigned char SLACK = 0xa5;

struct Allocation {
    size_t bytes;
    bool is_freed; // by the program, though the stream may not have come there
    bool is_gone;  // the stream has
};

// By where they begin. Of freed ones the addresses stay taken.
inline std::map<uint64_t, Allocation> all;
inline uint64_t first, next;
inline size_t used;
inline const char *running = ""; // the kernel
inline bool is_dry;

inline uint64_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// What a kernel did that touched a page in between.
inline void fault(int, siginfo_t *info, void *) {
    uint64_t address = reinterpret_cast<uint64_t>(info->si_addr);
    auto after = all.upper_bound(address);
    char text[256];
    if (address >= first && address < next && after != all.begin()) {
        auto [start, allocation] = *std::prev(after);
        snprintf(text, sizeof(text), "stand-in: %s touched byte %lld of %zu%s\n", running,
                 static_cast<long long>(address - start), allocation.bytes, allocation.is_freed ? ", which are freed" : "");
    } else {
        snprintf(text, sizeof(text), "stand-in: %s touched %p, which is no memory of the GPU's\n", running, info->si_addr);
    }
    if (write(2, text, strlen(text)) < 0) _exit(134);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

inline void reserve() {
    void *start = mmap(nullptr, ALL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) abort();
    first = next = reinterpret_cast<uint64_t>(start);
    struct sigaction action = {};
    action.sa_sigaction = fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
}

// All bits set, NaN in floats: what is read before it is written shows. 0 where there is no room.
inline uint64_t allocate(size_t bytes, size_t limit) {
    if (used + bytes > limit) return 0;
    size_t length = rounded(bytes, ALIGNMENT), pages = rounded(length, PAGE);
    if (next + pages + 2 * PAGE > first + ALL) return 0;
    uint64_t start = next + PAGE + pages - length;
    mprotect(reinterpret_cast<void *>(next + PAGE), pages, PROT_READ | PROT_WRITE);
    if (!is_dry) {
        memset(reinterpret_cast<void *>(start), 0xff, bytes);
        memset(reinterpret_cast<void *>(start + bytes), SLACK, length - bytes);
    }
    next += pages + PAGE;
    all[start] = {bytes, false, false};
    used += bytes;
    return start;
}

// Whether it was there to be freed. The stream may still work with it: `unmap` comes when it has passed.
inline bool free(uint64_t start) {
    auto found = all.find(start);
    if (found == all.end() || found->second.is_freed) return false;
    found->second.is_freed = true;
    used -= found->second.bytes;
    return true;
}

// Null, or what was written behind its end.
inline const char *unmap(uint64_t start) {
    size_t bytes = all[start].bytes, length = rounded(bytes, ALIGNMENT), pages = rounded(length, PAGE);
    const unsigned char *end = reinterpret_cast<const unsigned char *>(start);
    bool is_whole = true;
    for (size_t i = bytes; !is_dry && i < length; i++) is_whole = is_whole && end[i] == SLACK;
    void *page = reinterpret_cast<void *>(start + length - pages);
    all[start].is_gone = true;
    mmap(page, pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return is_whole ? nullptr : "bytes behind the end of an allocation were written";
}

// Null where `bytes` from there on are of one allocation, which is not freed: by the program, when it asks for work; in
// the stream's order, when that is done.
inline const char *check(uint64_t address, size_t bytes, bool in_order) {
    if (address < first || address >= next) return "an address that is not the GPU's";
    auto after = all.upper_bound(address);
    if (after == all.begin()) return "an address before every allocation";
    auto [start, allocation] = *std::prev(after);
    if (in_order ? allocation.is_gone : allocation.is_freed) return "an address of memory that was freed";
    if (address - start + bytes > allocation.bytes) return "more bytes than an allocation has";
    return nullptr;
}

} // namespace memory
