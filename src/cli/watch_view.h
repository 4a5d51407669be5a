/*
 * watch_view.h: what `bowline watch` shows. On a terminal one line per unfinished task, redrawn in place, with finished ones left above; elsewhere
 * one line per event. No I/O of its own: it appends what is to be written.
 */
#ifndef BOWLINE_CLI_WATCH_VIEW_H
#define BOWLINE_CLI_WATCH_VIEW_H

#include "base/buf.h"
#include "base/json.h"

#include <stdint.h>

struct watched_task {
    char id[32];
    char state[16];
    char *name, *phase, *message, *unit; /* clean text; name is the title, or the kind */
    double current, total, ratio, eta;   /* NaN: not known */
    int64_t updated_ms;                  /* when eta was so */
    bool stalled, cancelling;
};

struct watch_view {
    bool bars, colour, utf8;
    struct watched_task *tasks; /* the unfinished ones, in the order in which they came */
    size_t count, cap;
    int drawn;        /* lines on the terminal that are drawn over next time */
    struct buf above; /* lines to leave above the bars */
    bool dirty;
};

void watch_view_fini(struct watch_view *v);
/* A task as it is now. Lines to print go to v->above. */
void watch_view_task(struct watch_view *v, const struct json *task, int64_t now_ms);
void watch_view_gone(struct watch_view *v, struct str id, struct str reason, int64_t now_ms);
/* Output of a task, as text. */
void watch_view_output(struct watch_view *v, struct str id, struct str data);
/* A line about the watching itself. */
void watch_view_note(struct watch_view *v, const char *note, int64_t now_ms);
void watch_view_reset(struct watch_view *v);
/* Everything new, ready to be written: the lines, and with bars the bars below them. */
void watch_view_draw(struct watch_view *v, int columns, int rows, int64_t now_ms, struct buf *out);

#endif
