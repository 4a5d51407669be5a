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

void id_format(struct id id, enum id_kind kind, char out[ID_TEXT_LEN + 1]) {
    memcpy(out, id_prefix[kind], 4);
    /* 128 bits as 26 digits of 5: the first digit holds the top 3 bits */
    unsigned acc = 0;
    int bits = 2, at = 4;
    for (int i = 0; i < 16; i++) {
        acc = acc << 8 | id.b[i];
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            out[at++] = id_digits[acc >> bits & 31];
        }
        acc &= (1u << bits) - 1;
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
    struct id id;
    unsigned acc = 0;
    int bits = 0, at = 0;
    for (int i = 4; i < ID_TEXT_LEN; i++) {
        unsigned d = id_values[(unsigned char) text.p[i]];
        if (!d) {
            return false;
        }
        acc = acc << 5 | (d - 1);
        bits += i == 4 ? 3 : 5;
        if (bits >= 8) {
            bits -= 8;
            id.b[at++] = (uint8_t) (acc >> bits);
            acc &= (1u << bits) - 1;
        }
    }
    *ret_id = id;
    return true;
}
