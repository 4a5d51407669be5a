/*
 * fetch.h: asks the processor for memory that will be needed soon. With tens of thousands of sessions hardly anything of one is in a cache when its turn comes,
 * and several lines that are asked for early come together instead of one after the other. Any address will do: nothing happens with one that is not there.
 */
#ifndef BOWLINE_BASE_FETCH_H
#define BOWLINE_BASE_FETCH_H

#include <stddef.h>
#include <stdint.h>

#define FETCH_LINE 64

static inline void fetch_ahead(const void *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += FETCH_LINE) {
        __builtin_prefetch((const void *) ((uintptr_t) p + i));
    }
}

#endif
