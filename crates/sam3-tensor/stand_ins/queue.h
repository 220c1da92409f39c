// What both stand-ins share: work put in a stream's order, and memory that it may touch.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Puts work behind what was asked of the stream before. It returns null, or says what is wrong.
typedef const char *(*Work)(void *data);
typedef int (*Submit)(Work work, void (*drop)(void *data), void *data);

// Null where `bytes` from `address` on are of one allocation that nobody has freed; else what is wrong.
typedef const char *(*Check)(uint64_t address, size_t bytes);

// As the driver's stand-in exports them.
#define SUBMIT "stand_in_submit"
#define CHECK "stand_in_check"
// Whether nothing is computed: launches and copies do nothing, and all that comes back is zero. For counting memory.
#define IS_DRY "stand_in_is_dry"
