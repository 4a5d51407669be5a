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

/* For looking ahead only: where an entry with this key (an id or a number) stands if it is there. hh: the handle of the table's first entry. */
static inline const struct UT_hash_bucket *hash_bucket(const struct UT_hash_handle *hh, const void *key, size_t len) {
    return &hh->tbl->buckets[hash_of_id(key, len) & (hh->tbl->num_buckets - 1)];
}

/* The first entry there, which nearly always is the one, or NULL. */
static inline const void *hash_expected(const struct UT_hash_handle *hh, const void *key, size_t len) {
    const struct UT_hash_handle *first = hash_bucket(hh, key, len)->hh_head;
    return first ? (const char *) first - hh->tbl->hho : NULL;
}

#endif
