/* WebSockets (RFC 6455): the handshake, frames out, and the little that is heard from the client. */
#include "base/crypto.h"
#include "base/mem.h"
#include "net/http1.h"
#include "net/watch.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define SUBPROTOCOL "bowline.v1"

bool websocket_check(struct http_request *r) {
    static const struct http_header version = {STR("Sec-WebSocket-Version"), STR("13")};
    if (!r->upgrade_websocket) {
        stream_problem(r->stream, ERR_INVALID_REQUEST, "This is not a WebSocket handshake", NULL, false);
        return false;
    }
    if (http_header_count(r, "sec-websocket-version") == 1 && str_eqz(http_header(r, "sec-websocket-version"), "13")) {
        return true;
    }
    stream_problem(r->stream, ERR_UPGRADE_REQUIRED, "The version of the WebSocket protocol spoken here is 13", &version, false);
    return false;
}

static bool offers(struct str list, const char *name) {
    struct str item;
    while (http1_list_next(&list, &item)) {
        if (str_eqz(item, name)) {
            return true;
        }
    }
    return false;
}

static bool offers_subprotocol(const struct http_request *r) {
    for (unsigned i = 0; i < r->header_count; i++) {
        if (str_ieqz(r->headers[i].name, "sec-websocket-protocol") && offers(r->headers[i].value, SUBPROTOCOL)) {
            return true;
        }
    }
    return false;
}

static void add_accept(struct http_request *r) {
    uint8_t digest[SHA1_BYTES];
    struct buf accept = {0};
    crypto_sha1_two(http_header(r, "sec-websocket-key"), STR(GUID), digest);
    buf_base64(&accept, digest, sizeof(digest));
    http_add_copy(r, STR("Sec-WebSocket-Accept"), accept.failed ? STR_NONE : buf_view(&accept));
    buf_fini(&accept);
}

void websocket_add_headers(struct http_request *r) {
    add_accept(r);
    if (offers_subprotocol(r)) {
        http_add(r, STR("Sec-WebSocket-Protocol"), STR(SUBPROTOCOL));
    }
}

unsigned websocket_frame(const struct frame *f, uint8_t header[WS_HEADER_MAX], size_t skip, struct iovec *iov, size_t *ret_len) {
    struct str prefix = frame_json_prefix(f), data = frame_data(f);
    unsigned header_len = ws_header(header, WS_TEXT, prefix.len + data.len + 1);
    const struct str parts[] = {{(const char *) header, header_len}, prefix, data, {"}", 1}};
    unsigned n = 0;
    *ret_len = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct str rest = str_from(parts[i], skip);
        skip -= skip < parts[i].len ? skip : parts[i].len;
        if (rest.len) {
            iov[n++] = (struct iovec){(char *) (uintptr_t) rest.p, rest.len};
            *ret_len += rest.len;
        }
    }
    return n;
}

/* A stream is for reading only; the message is answered and changes nothing. */
static void answer_message(struct watcher *w) {
    struct problem p = {.err = ERR_INVALID_REQUEST, .detail = STR("This connection is for reading only")};
    struct buf data = {0};
    problem_render(&p, &data);
    watcher_put_event(w, &w->control, w->cursor, STR("problem"), buf_view(&data));
    buf_fini(&data);
}

/* False when it was the last thing heard. */
static bool on_event(struct watcher *w, enum ws_event ev) {
    const struct ws_decoder *d = w->ws;
    switch (ev) {
    case WS_GOT_PING: ws_put(&w->control, WS_PONG, str_n((const char *) d->control, d->control_len)); return true;
    case WS_MESSAGE: answer_message(w); return true;
    case WS_GOT_CLOSE:
    case WS_ERROR:
        ws_put_close(&w->control, d->code);
        watcher_end(w);
        return false;
    default: return true;
    }
}

size_t websocket_input(struct watcher *w, const char *data, size_t len) {
    size_t used = 0;
    if (w->ending) {
        return len;
    }
    w->ws = w->ws ? w->ws : mem_alloc(sizeof(*w->ws));
    while (w->control.len < CONTROL_MAX) {
        size_t n;
        enum ws_event ev = ws_decode(w->ws, data + used, len - used, &n);
        used += n;
        if (ev == WS_MORE) {
            break;
        }
        if (!on_event(w, ev)) {
            used = len;
            break;
        }
    }
    if (w->ending || ws_decoder_idle(w->ws)) {
        mem_free(w->ws);
        w->ws = NULL;
    }
    body_wake(&w->body);
    return used;
}
