#include "base/json_names.h"

#include "base/crypto.h"
#include "base/json_scan.h"

#include <pthread.h>
#include <stdlib.h>

#define PRIME ((1ull << 61) - 1)
#define SORT_FEW 16

/* ---- names as they are meant, character by character ---- */

struct name {
    const char *p;
    char decoded[4];
    unsigned at, count;
};

/* The next byte of the name, or -1 at its end. */
static int name_next(struct name *n) {
    if (n->at < n->count) {
        return (unsigned char) n->decoded[n->at++];
    }
    if (*n->p == '"') {
        return -1;
    }
    if (*n->p != '\\') {
        return (unsigned char) *n->p++;
    }
    char *to = n->decoded;
    n->p += json_unescape(n->p, 12, &to); /* known to be good, so it reads no further than it goes */
    n->count = (unsigned) (to - n->decoded);
    n->at = 1;
    return (unsigned char) n->decoded[0];
}

static bool names_same_slowly(const char *a, const char *b) {
    struct name x = {.p = a}, y = {.p = b};
    int c;
    while ((c = name_next(&x)) == name_next(&y)) {
        if (c < 0) {
            return true;
        }
    }
    return false;
}

/* The names whose opening quotes stand there. */
static bool names_same(const char *a, const char *b) {
    const char *x = a + 1, *y = b + 1;
    for (; *x != '\\' && *y != '\\'; x++, y++) {
        if (*x != *y || *x == '"') {
            return *x == *y;
        }
    }
    return names_same_slowly(x, y);
}

/* ---- the hash: the bytes as a polynomial modulo a prime, taken at a point that only this process knows ---- */

static uint64_t hash_point;

static void hash_draw(void) {
    crypto_random(NULL, (uint8_t *) &hash_point, sizeof(hash_point));
    hash_point = hash_point % (PRIME - 1024) + 512;
}

static uint64_t hash_step(uint64_t h, unsigned byte) {
    unsigned __int128 v = (unsigned __int128) h * hash_point + byte + 1;
    uint64_t sum = (uint64_t) (v & PRIME) + (uint64_t) (v >> 61);
    return sum >= PRIME ? sum - PRIME : sum;
}

static uint64_t name_hash(const char *quote) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hash_draw);
    struct name n = {.p = quote + 1};
    uint64_t h = 1;
    int c;
    while ((c = name_next(&n)) >= 0) {
        h = hash_step(h, (unsigned) c);
    }
    return h;
}

/* ---- the array ---- */

void json_names_init(struct json_names *n, uint64_t few[JSON_NAMES_FEW]) {
    n->at = n->few = few;
    n->count = 0;
    n->cap = JSON_NAMES_FEW;
}

static bool names_grow(struct json_names *n) {
    size_t cap = n->cap + n->cap / 2;
    uint64_t *more = realloc(n->at == n->few ? NULL : n->at, cap * sizeof(*more));
    if (!more) {
        return false;
    }
    if (n->at == n->few) {
        memcpy(more, n->few, n->count * sizeof(*more));
    }
    n->at = more;
    n->cap = cap;
    return true;
}

bool json_names_add(struct json_names *n, size_t place) {
    if (n->count == n->cap && !names_grow(n)) {
        return false;
    }
    n->at[n->count++] = place;
    return true;
}

bool json_names_again(const struct json_names *n, struct str text, size_t from) {
    const char *last = text.p + n->at[n->count - 1];
    for (size_t i = from; i + 1 < n->count; i++) {
        if (names_same(text.p + n->at[i], last)) {
            return true;
        }
    }
    return false;
}

static void sort_few(uint64_t *at, size_t count) {
    for (size_t i = 1; i < count; i++) {
        uint64_t v = at[i];
        size_t k = i;
        for (; k > 0 && at[k - 1] > v; k--) {
            at[k] = at[k - 1];
        }
        at[k] = v;
    }
}

/* In place, bit by bit from the top: what is sorted is random there, and no order can make it slow. */
static void sort_by_bit(uint64_t *at, size_t count, unsigned bit) {
    while (count > SORT_FEW) {
        size_t low = 0, high = count;
        while (low < high) {
            if (at[low] >> bit & 1) {
                uint64_t v = at[low];
                at[low] = at[--high];
                at[high] = v;
            } else {
                low++;
            }
        }
        if (bit == 0) {
            return;
        }
        bit--;
        sort_by_bit(at + low, count - low, bit);
        count = low;
    }
    sort_few(at, count);
}

size_t json_names_twice(struct json_names *n, struct str text, size_t from) {
    uint64_t *at = n->at + from;
    size_t count = n->count - from, again = JSON_NAMES_NONE;
    for (size_t i = 0; i < count; i++) {
        at[i] |= name_hash(text.p + at[i]) << 32;
    }
    sort_by_bit(at, count, 63);
    for (size_t i = 1, first = 0; i < count; i++) { /* first: of those with the same hash, which stand in the order of the text */
        first = at[i] >> 32 == at[first] >> 32 ? first : i;
        for (size_t k = first; k < i; k++) {
            if (names_same(text.p + (uint32_t) at[k], text.p + (uint32_t) at[i])) {
                again = (uint32_t) at[i] < again ? (uint32_t) at[i] : again;
                break;
            }
        }
    }
    return again;
}

void json_names_fini(struct json_names *n) {
    if (n->at != n->few) {
        free(n->at);
    }
}
