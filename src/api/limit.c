#include "api/limit.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <uthash.h>

#define BUCKETS_MAX 65536

struct bucket {
    uint8_t address[16]; /* IPv4 as mapped */
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

static void address_read(const char *text, uint8_t out[16]) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memset(out, 0, 16);
    if (inet_pton(AF_INET, text, out + 12) == 1) {
        memcpy(out, mapped, 12);
    } else if (inet_pton(AF_INET6, text, out) == 1 && memcmp(out, mapped, 12) != 0) {
        memset(out + 8, 0, 8);
    }
}

static struct bucket *bucket_find(struct limit *l, const char *text, int64_t now_ms) {
    uint8_t address[16];
    struct bucket *b;
    address_read(text, address);
    HASH_FIND(hh, l->buckets, address, sizeof address, b);
    if (!b && now_ms) {
        if (HASH_COUNT(l->buckets) >= BUCKETS_MAX) {
            bucket_free(l, l->buckets);
        }
        b = mem_alloc(sizeof *b);
        memcpy(b->address, address, sizeof address);
        b->tokens = l->per_minute;
        b->at_ms = now_ms;
        HASH_ADD(hh, l->buckets, address, sizeof b->address, b);
    }
    return b;
}

unsigned limit_take(struct limit *l, const char *address, int64_t now_ms) {
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

void limit_give_back(struct limit *l, const char *address) {
    pthread_mutex_lock(&l->lock);
    struct bucket *b = bucket_find(l, address, 0);
    if (b && b->tokens + 1 <= l->per_minute) {
        b->tokens += 1;
    }
    pthread_mutex_unlock(&l->lock);
}
