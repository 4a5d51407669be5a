#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(16) char data[];
};

#define ARENA_FIRST 1520u
#define ARENA_BLOCK_MAX 65536u

void *arena_take(struct arena *a, size_t bytes) {
    size_t need = (bytes + 15u) & ~(size_t) 15u;
    if (need < bytes) {
        return NULL;
    }
    struct arena_block *b = a->blocks;
    if (!b || b->cap - b->used < need) {
        size_t cap = !b ? ARENA_FIRST : b->cap < ARENA_BLOCK_MAX / 2 ? b->cap * 2 : ARENA_BLOCK_MAX;
        if (cap < need) {
            cap = need;
        }
        if (cap > SIZE_MAX - sizeof(*b)) {
            return NULL;
        }
        b = a->spare;
        if (b && b->cap >= need) {
            a->spare = b->next;
        } else {
            b = malloc(sizeof(*b) + cap);
            if (!b) {
                return NULL;
            }
            b->cap = cap;
        }
        b->next = a->blocks;
        b->used = 0;
        a->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += need;
    return p;
}

void *arena_alloc(struct arena *a, size_t bytes) {
    void *p = arena_take(a, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

struct str arena_str(struct arena *a, struct str s) {
    if (!s.p) {
        return STR_NONE;
    }
    char *p = arena_take(a, s.len + 1);
    if (!p) {
        return STR_NONE;
    }
    if (s.len) {
        memcpy(p, s.p, s.len);
    }
    p[s.len] = '\0';
    return str_n(p, s.len);
}

void arena_reset(struct arena *a) {
    struct arena_block *b = a->blocks;
    if (b && b->cap <= ARENA_BLOCK_MAX) {
        struct arena older = {.blocks = b->next};
        arena_fini(&older);
        b->next = NULL;
        b->used = 0;
    } else {
        arena_fini(a);
    }
}

static void blocks_free(struct arena_block *b) {
    while (b) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
}

/* Those for which there is room become spare ones. */
static void blocks_keep(struct arena *a, struct arena_block *b, size_t *room) {
    while (b) {
        struct arena_block *next = b->next;
        if (b->cap <= *room) {
            *room -= b->cap;
            b->next = a->spare;
            a->spare = b;
        } else {
            free(b);
        }
        b = next;
    }
}

void arena_rewind(struct arena *a, size_t most) {
    struct arena old = *a;
    *a = (struct arena){0};
    blocks_keep(a, old.blocks, &most);
    blocks_keep(a, old.spare, &most);
}

void arena_fini(struct arena *a) {
    blocks_free(a->blocks);
    blocks_free(a->spare);
    *a = (struct arena){0};
}
