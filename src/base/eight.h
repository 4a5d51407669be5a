/*
 * eight.h: eight bytes looked at in one step, for texts most of which are too short for a call to be quick. The tests are those of "Bit Twiddling Hacks"
 * (Sean Eron Anderson, "determine if a word has a byte less than n" and "a byte equal to n"); as tests of the whole word they are exact.
 */
#ifndef BOWLINE_BASE_EIGHT_H
#define BOWLINE_BASE_EIGHT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define EIGHT_ONES 0x0101010101010101u
#define EIGHT_TOPS 0x8080808080808080u

static inline uint64_t eight_read(const char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Not 0 if a byte is less than n, which is at most 128. */
static inline uint64_t eight_below(uint64_t v, unsigned n) {
    return (v - EIGHT_ONES * n) & ~v & EIGHT_TOPS;
}

/* Not 0 if a byte is c. */
static inline uint64_t eight_have(uint64_t v, unsigned char c) {
    uint64_t x = v ^ EIGHT_ONES * c;
    return (x - EIGHT_ONES) & ~x & EIGHT_TOPS;
}

#endif
