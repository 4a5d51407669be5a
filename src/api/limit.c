#include "api/limit.h"

#include "base/mem.h"

#include <pthread.h>
#include <uthash.h>

#define BUCKETS_MAX 65536

struct bucket {
    struct in6_addr address; /* the part that counts */
    double tokens;
    int64_t at_ms;
    UT_hash_handle hh;
};

struct limit {
    pthread_mutex_t lock;
    double per_minute;
    struct bucket *buckets; /* in the order of their making */
};

struct limit *limit_create(int64_t per_minute) {
    struct limit *l = mem_alloc(sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    l->per_minute = (double) per_minute;
    return l;
}

static void bucket_free(struct limit *l, struct bucket *b) {
    HASH_DEL(l->buckets, b);
    mem_free(b);
}

void limit_destroy(struct limit *l) {
    if (!l) {
        return;
    }
    while (l->buckets) {
        bucket_free(l, l->buckets);
    }
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

static struct bucket *bucket_find(struct limit *l, const struct in6_addr *address, int64_t now_ms) {
    struct in6_addr counted = *address;
    struct bucket *b;
    if (!IN6_IS_ADDR_V4MAPPED(address)) {
        memset(counted.s6_addr + 8, 0, 8);
    }
    HASH_FIND(hh, l->buckets, &counted, sizeof counted, b);
    if (!b && now_ms) {
        if (HASH_COUNT(l->buckets) >= BUCKETS_MAX) {
            bucket_free(l, l->buckets);
        }
        b = mem_alloc(sizeof *b);
        b->address = counted;
        b->tokens = l->per_minute;
        b->at_ms = now_ms;
        HASH_ADD(hh, l->buckets, address, sizeof b->address, b);
    }
    return b;
}

unsigned limit_take(struct limit *l, const struct in6_addr *address, int64_t now_ms) {
    unsigned wait_s = 0;
    pthread_mutex_lock(&l->lock);
    struct bucket *b = bucket_find(l, address, now_ms);
    if (now_ms > b->at_ms) {
        b->tokens += (double) (now_ms - b->at_ms) * l->per_minute / 60000;
        b->tokens = b->tokens > l->per_minute ? l->per_minute : b->tokens;
        b->at_ms = now_ms;
    }
    if (b->tokens >= 1) {
        b->tokens -= 1;
    } else {
        wait_s = 1 + (unsigned) ((1 - b->tokens) * 60 / l->per_minute);
    }
    pthread_mutex_unlock(&l->lock);
    return wait_s;
}

void limit_give_back(struct limit *l, const struct in6_addr *address) {
    pthread_mutex_lock(&l->lock);
    struct bucket *b = bucket_find(l, address, 0);
    if (b && b->tokens + 1 <= l->per_minute) {
        b->tokens += 1;
    }
    pthread_mutex_unlock(&l->lock);
}
