#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static void *mem_or_die(void *p, size_t bytes) {
    if (!p) {
        fprintf(stderr, "bowline: out of memory (%zu bytes)\n", bytes);
        abort();
    }
    return p;
}

void *mem_alloc(size_t bytes) {
    return mem_or_die(calloc(1, bytes ? bytes : 1), bytes);
}

void *mem_resize(void *p, size_t bytes) {
    return mem_or_die(realloc(p, bytes ? bytes : 1), bytes);
}

void *mem_dup(const void *p, size_t bytes) {
    void *copy = mem_or_die(malloc(bytes ? bytes : 1), bytes);
    if (bytes) {
        memcpy(copy, p, bytes);
    }
    return copy;
}

char *mem_strdup(struct str s) {
    if (!s.p) {
        return NULL;
    }
    char *copy = mem_or_die(malloc(s.len + 1), s.len + 1);
    memcpy(copy, s.p, s.len);
    copy[s.len] = '\0';
    return copy;
}

void mem_free(void *p) {
    free(p);
}
