/* Server-Sent Events (HTML living standard, section 9.2): the head of the stream. Frames are written as they come. */
#include "net/conn.h"

void sse_open(struct watcher *w, const struct watch_start *start) {
    struct buf *out = &w->control;
    (void) buf_reserve(out, HEAD_ROOM);
    buf_puts(out, "HTTP/1.1 200 OK\r\n");
    buf_puts(out, loop_date(w->conn->loop));
    buf_puts(out, "Content-Type: text/event-stream\r\nCache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n"
                  "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n");
    buf_str(out, start->headers);
    buf_puts(out, "\r\n");
    struct buf id = {0};
    watcher_put_cursor(w, &id, w->cursor, start->from.gone_from);
    event_write_open(out, WATCH_RETRY_MS, buf_view(&id));
    out->failed |= id.failed;
    buf_fini(&id);
    if (start->from.reset) {
        watcher_put_event(w, out, 0, STR("reset"), STR("{}"));
    }
}
