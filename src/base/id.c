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

/* What a digit stands for, plus one; 0: it is none. */
static const uint8_t id_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['A'] = 11,
    ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16, ['G'] = 17, ['H'] = 18, ['J'] = 19, ['K'] = 20, ['M'] = 21, ['N'] = 22,
    ['P'] = 23, ['Q'] = 24, ['R'] = 25, ['S'] = 26, ['T'] = 27, ['V'] = 28, ['W'] = 29, ['X'] = 30, ['Y'] = 31, ['Z'] = 32,
};

bool id_parse(struct str text, enum id_kind kind, struct id *ret_id) {
    if (text.len != ID_TEXT_LEN || memcmp(text.p, id_prefix[kind], 4) != 0 || text.p[4] < '0' || text.p[4] > '7') {
        return false;
    }
    const unsigned char *digits = (const unsigned char *) text.p + 4;
    uint64_t d[26], upper = 0, lower;
    bool good = true;
    for (int i = 0; i < 26; i++) {
        unsigned v = id_values[digits[i]];
        good &= v != 0;
        d[i] = v - 1;
    }
    if (!good) {
        return false;
    }
    for (int i = 0; i < 13; i++) {
        upper = upper << 5 | d[i];
    }
    lower = d[13] & 15;
    for (int i = 14; i < 26; i++) {
        lower = lower << 5 | d[i];
    }
    half_write(ret_id->b, upper << 1 | d[13] >> 4);
    half_write(ret_id->b + 8, lower);
    return true;
}
