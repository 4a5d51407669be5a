/* hash.h: uthash, with a quicker hash for the keys that are ids or numbers: those are ours, nobody chooses them, and they differ in their last bytes. */
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
    uint64_t last;
    memcpy(&last, (const char *) key + len - sizeof(last), sizeof(last));
    last *= 0x9e3779b97f4a7c15u; /* twice, so that also the first byte reaches the bits that name a bucket */
    last = (last ^ last >> 32) * 0x9e3779b97f4a7c15u;
    return (unsigned) (last >> 32);
}

#endif
