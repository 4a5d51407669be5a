/* Server-Sent Events (HTML living standard, section 9.2): how a stream begins. Frames are written as they come. */
#include "net/conn.h"

void sse_open(struct watcher *w, struct exchange *x, const struct watch_start *start) {
    struct buf *out = &w->control, id = {0};
    exchange_write_head(x, 200, out);
    watcher_put_cursor(w, &id, w->cursor, start->from.gone_from);
    event_write_open(out, WATCH_RETRY_MS, buf_view(&id));
    out->failed |= id.failed;
    buf_fini(&id);
    if (start->from.reset) {
        watcher_put_event(w, out, 0, STR("reset"), STR("{}"));
    }
}
