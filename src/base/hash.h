/*
 * hash.h: uthash, with a quicker hash for keys as long as ids or numbers: those are ours, and nobody chooses them. Names of users, queues and kinds may be as
 * long and differ in any byte, so that all of them count.
 */
#ifndef BOWLINE_BASE_HASH_H
#define BOWLINE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_FUNCTION(key, len, hash)          \
    do {                                       \
        if ((len) == 16 || (len) == 8) {       \
            (hash) = hash_of_id((key), (len)); \
        } else {                               \
            HASH_JEN((key), (len), (hash));    \
        }                                      \
    } while (0)
#include <uthash.h>

/* Short chains: each step of one is a cache miss. The table has 5 to 32 bytes for each entry. */
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH 3U

static inline unsigned hash_of_id(const void *key, size_t len) {
    uint64_t first = 0, last;
    memcpy(&first, key, len - sizeof(last));
    memcpy(&last, (const char *) key + len - sizeof(last), sizeof(last));
    last ^= (first ^ first >> 32) * 0xd6e8feb86659fd93u;
    last *= 0x9e3779b97f4a7c15u; /* twice, so that also the first byte reaches the bits that name a bucket */
    last = (last ^ last >> 32) * 0x9e3779b97f4a7c15u;
    return (unsigned) (last >> 32);
}

#endif
