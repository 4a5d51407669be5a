#include "base/feed.h"
#include "base/frame.h"

#include <stdlib.h>

#define SSE_ID "id: "
#define SSE_EVENT "\nevent: "
#define SSE_DATA "\ndata: "
#define SSE_END "\n\n"
#define SSE_FIXED (sizeof(SSE_ID SSE_EVENT SSE_DATA SSE_END) - 1)
#define JSON_ID "{\"id\":\""
#define JSON_EVENT "\",\"event\":\""
#define JSON_DATA "\",\"data\":"
#define JSON_FIXED (sizeof(JSON_ID JSON_EVENT JSON_DATA) - 1)

static char *put(char *at, const char *p, size_t len) {
    if (len) {
        memcpy(at, p, len);
    }
    return at + len;
}

struct frame *frame_create(enum frame_kind kind, uint64_t seq, const uint8_t key[16], struct str id, struct str event, struct str data) {
    struct frame *f = malloc(sizeof(*f) + SSE_FIXED + JSON_FIXED + 2 * (id.len + event.len) + data.len);
    if (!f) {
        return NULL;
    }
    atomic_init(&f->refs, 1);
    f->kind = kind;
    f->seq = seq;
    memset(f->key, 0, sizeof(f->key));
    if (key) {
        memcpy(f->key, key, sizeof(f->key));
    }
    f->id_len = (uint32_t) id.len;
    f->event_len = (uint32_t) event.len;
    f->data_len = (uint32_t) data.len;
    char *at = f->bytes;
    at = put(at, SSE_ID, sizeof(SSE_ID) - 1);
    at = put(at, id.p, id.len);
    at = put(at, SSE_EVENT, sizeof(SSE_EVENT) - 1);
    at = put(at, event.p, event.len);
    at = put(at, SSE_DATA, sizeof(SSE_DATA) - 1);
    at = put(at, data.p, data.len);
    at = put(at, SSE_END, sizeof(SSE_END) - 1);
    at = put(at, JSON_ID, sizeof(JSON_ID) - 1);
    at = put(at, id.p, id.len);
    at = put(at, JSON_EVENT, sizeof(JSON_EVENT) - 1);
    at = put(at, event.p, event.len);
    put(at, JSON_DATA, sizeof(JSON_DATA) - 1);
    return f;
}

struct frame *frame_ref(struct frame *f) {
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void frame_unref(struct frame *f) {
    if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) {
        free(f);
    }
}

struct str frame_sse(const struct frame *f) {
    return str_n(f->bytes, SSE_FIXED + f->id_len + f->event_len + f->data_len);
}

struct str frame_json_prefix(const struct frame *f) {
    return str_n(f->bytes + frame_sse(f).len, JSON_FIXED + f->id_len + f->event_len);
}

struct str frame_id(const struct frame *f) {
    return str_n(f->bytes + sizeof(SSE_ID) - 1, f->id_len);
}

struct str frame_event(const struct frame *f) {
    return str_n(f->bytes + sizeof(SSE_ID SSE_EVENT) - 1 + f->id_len, f->event_len);
}

struct str frame_data(const struct frame *f) {
    return str_n(f->bytes + sizeof(SSE_ID SSE_EVENT SSE_DATA) - 1 + f->id_len + f->event_len, f->data_len);
}

/* ---- the same for an event of a moment ---- */

void event_write_sse(struct buf *out, struct str id, struct str event, struct str data) {
    if (id.p) {
        buf_puts(out, SSE_ID);
        buf_str(out, id);
        buf_char(out, '\n');
    }
    buf_puts(out, &SSE_EVENT[1]);
    buf_str(out, event);
    buf_puts(out, SSE_DATA);
    buf_str(out, data);
    buf_puts(out, SSE_END);
}

void event_write_json(struct buf *out, struct str id, struct str event, struct str data) {
    buf_puts(out, JSON_ID);
    buf_str(out, id);
    buf_puts(out, JSON_EVENT);
    buf_str(out, event);
    buf_puts(out, JSON_DATA);
    buf_str(out, data);
    buf_char(out, '}');
}

void event_write_open(struct buf *out, unsigned retry_ms, struct str id) {
    buf_printf(out, "retry: %u\n", retry_ms);
    if (id.p) {
        buf_puts(out, SSE_ID);
        buf_str(out, id);
        buf_char(out, '\n');
    }
    buf_char(out, '\n');
}

void event_write_comment(struct buf *out) {
    buf_puts(out, ":\n\n");
}

void event_write_retry(struct buf *out, unsigned retry_ms) {
    buf_printf(out, "retry: %u\n\n", retry_ms);
}
