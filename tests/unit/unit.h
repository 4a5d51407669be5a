/* unit.h: what each unit test includes. */
#ifndef BOWLINE_TESTS_UNIT_H
#define BOWLINE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/str.h"

#define assert_str(s, z)                                   \
    do {                                                   \
        struct str got_ = (s);                             \
        const char *want_ = (z);                           \
        assert_int_equal(got_.len, strlen(want_));         \
        assert_memory_equal(got_.p, want_, strlen(want_)); \
    } while (0)

#define assert_buf(b, z) assert_string_equal(buf_z(b), z)

/* A repeatable generator (xorshift64*), for tests that draw their inputs. */
static inline uint64_t unit_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

#endif
