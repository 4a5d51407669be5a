/*
 * top_view.h: what `bowline top` shows, from the answers of a server: no I/O of its own. On a terminal a screen of exactly the size given, else plain lines.
 */
#ifndef BOWLINE_CLI_TOP_VIEW_H
#define BOWLINE_CLI_TOP_VIEW_H

#include "base/buf.h"
#include "base/json.h"

#include <stdint.h>

/* What was asked last; NULL where it could not be had. */
struct top_state {
    const char *url;
    const char *trouble;                          /* what is wrong now, or NULL */
    const struct json *sessions, *queues;         /* pages */
    const struct json *running, *asking, *queued; /* pages of tasks */
    struct str metrics;
    double reports_per_s, changes_per_s; /* NaN: not known yet */
    int64_t now_ms;                      /* the server's clock */
};

struct top_look {
    bool screen, colour, utf8;
    int columns, rows;
};

/* The value of a metric without labels; NaN if there is none. */
double metric_value(struct str metrics, const char *name);
void top_view_draw(const struct top_state *s, const struct top_look *look, struct buf *out);

#endif
