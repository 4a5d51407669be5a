#include "api/via.h"

static const char *const names[VIA_WAYS] = {"sse", "websocket", "poll", "sse-fallback", "websocket-fallback", "poll-fallback"};

int via_parse(struct str name) {
    for (int i = 0; i < VIA_WAYS; i++) {
        if (str_eqz(name, names[i])) {
            return i;
        }
    }
    return -1;
}

int via_usual(bool websocket, bool page) {
    return websocket ? 1 : page ? 2 : 0;
}

void via_metrics(struct via_counts *counts, struct buf *out) {
    buf_puts(out, "# TYPE bowline_watches_opened counter\n# HELP bowline_watches_opened Feeds opened, by the way that the client says it took.\n");
    for (int i = 0; i < VIA_WAYS; i++) {
        buf_printf(out, "bowline_watches_opened_total{via=\"%s\"} %lu\n", names[i], atomic_load_explicit(&counts->opened[i], memory_order_relaxed));
    }
}
