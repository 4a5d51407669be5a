#include "base/id.h"

static const char id_digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
static const char *const id_prefix[] = {[ID_SESSION] = "ses_", [ID_TASK] = "tsk_"};

struct id id_make(struct id_maker *m, int64_t wall_ms) {
    int64_t last_ms = 0;
    for (int i = 0; i < 6; i++) {
        last_ms = last_ms << 8 | m->last.b[i];
    }
    if (wall_ms > last_ms) {
        for (int i = 0; i < 6; i++) {
            m->last.b[i] = (uint8_t) (wall_ms >> (40 - 8 * i));
        }
        m->random(m->random_arg, m->last.b + 6, 10);
        m->last.b[6] &= 0x7f; /* room to count up within the millisecond */
    } else {
        for (int i = 15; i >= 0 && ++m->last.b[i] == 0; i--) {
        }
    }
    return m->last;
}

static uint64_t half_read(const uint8_t *b) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        v = v << 8 | b[i];
    }
    return v;
}

static void half_write(uint8_t *b, uint64_t v) {
    for (int i = 0; i < 8; i++) {
        b[i] = (uint8_t) (v >> (56 - 8 * i));
    }
}

/* 128 bits as 26 digits of 5, the first of which holds only 3: 13 digits have the upper half but for its last bit, which the 14th begins with. */
void id_format(struct id id, enum id_kind kind, char out[ID_TEXT_LEN + 1]) {
    uint64_t upper = half_read(id.b), lower = half_read(id.b + 8), v = upper >> 1;
    char *digits = out + 4;
    memcpy(out, id_prefix[kind], 4);
    for (int i = 12; i >= 0; i--, v >>= 5) {
        digits[i] = id_digits[v & 31];
    }
    digits[13] = id_digits[(upper & 1) << 4 | lower >> 60];
    v = lower;
    for (int i = 25; i >= 14; i--, v >>= 5) {
        digits[i] = id_digits[v & 31];
    }
    out[ID_TEXT_LEN] = '\0';
}

#define DIGIT 32 /* set in what a digit stands for, so that 0 says that it is none */
static const uint8_t id_values[256] = {
    ['0'] = DIGIT,      ['1'] = DIGIT + 1,  ['2'] = DIGIT + 2,  ['3'] = DIGIT + 3,  ['4'] = DIGIT + 4,  ['5'] = DIGIT + 5,  ['6'] = DIGIT + 6,
    ['7'] = DIGIT + 7,  ['8'] = DIGIT + 8,  ['9'] = DIGIT + 9,  ['A'] = DIGIT + 10, ['B'] = DIGIT + 11, ['C'] = DIGIT + 12, ['D'] = DIGIT + 13,
    ['E'] = DIGIT + 14, ['F'] = DIGIT + 15, ['G'] = DIGIT + 16, ['H'] = DIGIT + 17, ['J'] = DIGIT + 18, ['K'] = DIGIT + 19, ['M'] = DIGIT + 20,
    ['N'] = DIGIT + 21, ['P'] = DIGIT + 22, ['Q'] = DIGIT + 23, ['R'] = DIGIT + 24, ['S'] = DIGIT + 25, ['T'] = DIGIT + 26, ['V'] = DIGIT + 27,
    ['W'] = DIGIT + 28, ['X'] = DIGIT + 29, ['Y'] = DIGIT + 30, ['Z'] = DIGIT + 31,
};

/* The number that these digits make, 12 or 13 of them; clears DIGIT in *all if one of them is none. */
static inline __attribute__((always_inline)) uint64_t digits_read(const unsigned char *digits, int count, unsigned *all) {
    uint64_t v = 0;
    for (int i = 0; i < count; i++) {
        *all &= id_values[digits[i]];
        v = v << 5 | (id_values[digits[i]] & (DIGIT - 1));
    }
    return v;
}

bool id_parse(struct str text, enum id_kind kind, struct id *ret_id) {
    if (text.len != ID_TEXT_LEN || memcmp(text.p, id_prefix[kind], 4) != 0 || text.p[4] < '0' || text.p[4] > '7') {
        return false;
    }
    const unsigned char *digits = (const unsigned char *) text.p + 4;
    unsigned all = DIGIT, between = id_values[digits[13]]; /* a bit of the upper half, four of the lower */
    uint64_t upper = digits_read(digits, 13, &all), lower = digits_read(digits + 14, 12, &all);
    if (!(all & between & DIGIT)) {
        return false;
    }
    half_write(ret_id->b, upper << 1 | (between >> 4 & 1));
    half_write(ret_id->b + 8, (uint64_t) (between & 15) << 60 | lower);
    return true;
}
