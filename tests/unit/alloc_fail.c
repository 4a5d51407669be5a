#include "alloc_fail.h"

#include <stdbool.h>
#include <stddef.h>

static _Thread_local bool armed, fail_all;
static _Thread_local unsigned left, refused;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);

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

void *__wrap_malloc(size_t bytes) {
    return refuse() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return refuse() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *p, size_t bytes) {
    return refuse() ? NULL : __real_realloc(p, bytes);
}
