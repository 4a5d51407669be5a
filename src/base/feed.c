#include "base/feed.h"

#include "base/mem.h"

#define NUMBER_DIGITS_MAX 16

void cursor_write(struct buf *out, struct str prefix, struct cursor c) {
    buf_str(out, prefix);
    buf_u64(out, c.number);
    if (c.number && c.number < c.gone_from) {
        buf_char(out, '.');
        buf_u64(out, c.gone_from);
    }
}

/* Takes a number without leading zeros off the front of *s. */
static bool take_number(struct str *s, uint64_t *ret) {
    uint64_t number = 0;
    size_t n = 0;
    for (; n < s->len && n <= NUMBER_DIGITS_MAX && s->p[n] >= '0' && s->p[n] <= '9'; n++) {
        number = number * 10 + (uint64_t) (s->p[n] - '0');
    }
    bool good = n > 0 && n <= NUMBER_DIGITS_MAX && !(s->p[0] == '0' && n > 1);
    *s = str_from(*s, n);
    *ret = number;
    return good;
}

bool cursor_read(struct str text, struct cursor *ret) {
    struct cursor read = {0};
    bool good = take_number(&text, &read.number);
    if (good && text.len && text.p[0] == '.') {
        text = str_from(text, 1);
        good = take_number(&text, &read.gone_from) && read.gone_from > read.number;
    }
    if (!good || text.len) {
        return false;
    }
    *ret = read;
    return true;
}

struct disconnect *disconnect_create(uint32_t mask, uint32_t below, enum disconnect_how how, const char *event, struct str data) {
    struct disconnect *d = mem_alloc(sizeof(*d) + data.len);
    *d = (struct disconnect){mask, below, how, event, STR_NONE};
    if (data.p) {
        char *copy = (char *) (d + 1);
        if (data.len) {
            memcpy(copy, data.p, data.len);
        }
        d->data = str_n(copy, data.len);
    }
    return d;
}
