#include "alloc_fail.h"

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static _Thread_local bool armed, fail_all;
static _Thread_local unsigned left, refused;

static _Thread_local bool counting;
static _Thread_local int64_t counted, counted_most;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void __real_free(void *p);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void __wrap_free(void *p);

void alloc_fail_after(unsigned skip, int all) {
    left = skip;
    fail_all = all;
    refused = 0;
    armed = true;
}

unsigned alloc_fail_stop(void) {
    armed = false;
    return refused;
}

static bool refuse(void) {
    if (!armed) {
        return false;
    }
    if (left) {
        left--;
        return false;
    }
    armed = fail_all;
    refused++;
    return true;
}

void alloc_count_start(void) {
    counted = counted_most = 0;
    counting = true;
}

size_t alloc_count_stop(void) {
    counting = false;
    return (size_t) counted_most;
}

static void *count(void *p) {
    if (counting && p) {
        counted += (int64_t) malloc_usable_size(p);
        counted_most = counted > counted_most ? counted : counted_most;
    }
    return p;
}

void *__wrap_malloc(size_t bytes) {
    return refuse() ? NULL : count(__real_malloc(bytes));
}

void *__wrap_calloc(size_t n, size_t bytes) {
    return refuse() ? NULL : count(__real_calloc(n, bytes));
}

/* Counted as the new one beside the old one, as it may be for a moment. */
void *__wrap_realloc(void *p, size_t bytes) {
    if (refuse()) {
        return NULL;
    }
    int64_t before = counting && p ? (int64_t) malloc_usable_size(p) : 0;
    void *q = count(__real_realloc(p, bytes));
    counted -= q ? before : 0;
    return q;
}

void __wrap_free(void *p) {
    if (counting && p) {
        counted -= (int64_t) malloc_usable_size(p);
    }
    __real_free(p);
}
