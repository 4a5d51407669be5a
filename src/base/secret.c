#include "base/secret.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct header {
    size_t mapped; /* bytes, with this */
    max_align_t data[];
};

void *secret_alloc(size_t len) {
    size_t page = (size_t) sysconf(_SC_PAGESIZE);
    size_t bytes = (sizeof(struct header) + len + page - 1) / page * page;
    struct header *h = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (h == MAP_FAILED) {
        fprintf(stderr, "bowline: out of memory (%zu bytes for a secret)\n", bytes);
        abort();
    }
    (void) mlock(h, bytes);
    (void) madvise(h, bytes, MADV_DONTDUMP);
    h->mapped = bytes;
    return h->data;
}

void secret_free(void *p) {
    if (p) {
        struct header *h = (struct header *) ((char *) p - offsetof(struct header, data));
        size_t bytes = h->mapped;
        explicit_bzero(h, bytes);
        (void) munmap(h, bytes);
    }
}

char *secret_strdup(struct str s) {
    char *copy = secret_alloc(s.len + 1);
    if (s.len) {
        memcpy(copy, s.p, s.len);
    }
    return copy;
}

void secret_wipe(struct buf *b) {
    if (b->data) {
        explicit_bzero(b->data, b->cap);
    }
    buf_fini(b);
}
