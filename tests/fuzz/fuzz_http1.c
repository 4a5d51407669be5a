/* Any bytes, cut anywhere: the parser reads nothing behind what it is shown, and the same bytes always give the same requests or the same refusal. */
#include "base/mem.h"
#include "net/http1.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_limits limits = {1000, 400};

static bool within(struct str inner, struct str outer) {
    return inner.p >= outer.p && inner.p + inner.len <= outer.p + outer.len;
}

static void note(struct buf *out, struct str s) {
    buf_u64(out, s.len);
    buf_char(out, ':');
    buf_str(out, s);
}

static void note_head(struct buf *out, const struct http1_head *h, struct str block) {
    note(out, h->method_text);
    note(out, h->path);
    note(out, h->query);
    note(out, h->host);
    assert(h->method_text.len && h->path.len && (within(h->method_text, block)));
    assert(!(h->chunked && (h->content_length || h->http10)));
    for (unsigned i = 0; i < h->header_count; i++) {
        assert(h->headers[i].name.len && within(h->headers[i].name, block));
        assert(h->headers[i].value.len == 0 || within(h->headers[i].value, block));
        note(out, h->headers[i].name);
        note(out, h->headers[i].value);
    }
    buf_printf(out, "%llu %d%d%d%d%d\n", (unsigned long long) h->content_length, h->chunked, h->http10, h->keep_alive, h->expects_continue,
               h->websocket);
}

static void take_head(struct http1 *p, struct str block, struct buf *out) {
    char *copy = mem_dup(block.p, block.len);
    struct http_header *headers = malloc(http1_head_lines(p) ? http1_head_lines(p) * sizeof(*headers) : 1);
    struct http1_head h;
    if (http1_head_parse(p, &limits, str_n(copy, block.len), headers, &h)) {
        note_head(out, &h, str_n(copy, block.len));
    }
    free(headers);
    mem_free(copy);
}

/* False after a refusal. */
static bool run(struct http1 *p, struct buf *in, struct buf *out) {
    for (;;) {
        size_t used;
        struct str piece;
        char *copy = mem_dup(in->data ? in->data : "", in->len);
        enum http1_event ev = http1_next(p, &limits, copy, in->len, &used, &piece);
        assert(used <= in->len);
        if (ev == HTTP1_HEAD) {
            take_head(p, piece, out);
        } else if (ev == HTTP1_BODY) {
            assert(piece.len);
            buf_str(out, piece);
        } else if (ev == HTTP1_END) {
            buf_puts(out, "\nend\n");
        }
        mem_free(copy);
        buf_drop_front(in, used);
        if (p->phase == HTTP1_BROKEN) {
            buf_printf(out, "refused %u %s", p->err, p->detail);
            return false;
        }
        if (ev == HTTP1_MORE) {
            assert(in->len <= limits.max_head);
            return true;
        }
    }
}

/* Shows the bytes in pieces whose lengths a small generator draws; seed 0: all at once, 1: one by one. */
static void parse(struct str text, uint32_t seed, struct buf *out) {
    struct http1 p = {0};
    struct buf in = {0};
    for (size_t at = 0; at < text.len;) {
        seed = seed > 1 ? seed * 1664525u + 1013904223u : seed;
        size_t len = seed == 0 ? text.len : seed == 1 ? 1 : 1 + (seed >> 16) % 40;
        len = len < text.len - at ? len : text.len - at;
        buf_put(&in, text.p + at, len);
        at += len;
        if (!run(&p, &in, out)) {
            break;
        }
    }
    buf_fini(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_n((const char *) data, size);
    struct buf whole = {0};
    if (size > 16384) {
        return 0;
    }
    parse(text, 0, &whole);
    for (uint32_t seed = 1; seed < 4; seed++) {
        struct buf cut = {0};
        parse(text, seed, &cut);
        assert(str_eq(buf_view(&whole), buf_view(&cut)));
        buf_fini(&cut);
    }
    buf_fini(&whole);
    return 0;
}
