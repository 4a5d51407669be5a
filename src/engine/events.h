/* events.h: what feeds say, as text, and their cursors. */
#ifndef BOWLINE_ENGINE_EVENTS_H
#define BOWLINE_ENGINE_EVENTS_H

#include "base/feed.h"
#include "base/frame.h"
#include "engine/channel.h"

/* "epoch-feed-", which a cursor of this feed begins with; added to out. */
void cursor_prefix(const struct engine *e, enum id_kind kind, struct id id, struct buf *out);
/* NONE: there is no text. USELESS: it is not a cursor of this feed. *ret is zero unless it is GOOD. */
enum cursor_is { CURSOR_NONE, CURSOR_GOOD, CURSOR_USELESS };
enum cursor_is cursor_parse(const struct engine *e, enum id_kind kind, struct id id, struct str text, struct cursor *ret);
/* Each adds one event's data, on one line. */
void task_event(struct engine *e, struct task_entry *t, uint64_t seq, struct buf *out);
void gone_event(const struct gone_entry *g, struct buf *out);
void output_event(struct id task, uint64_t seq, uint64_t offset, struct str data, struct buf *out);
void task_entry_write(struct engine *e, struct task_entry *t, bool open, struct buf *out); /* as task_write, with what is estimated */
/* The caller's. NULL: there is no memory, or there was none for the data. */
struct frame *feed_frame(struct engine *e, enum frame_kind kind, const struct channel *ch, uint64_t seq, struct id key, const char *event,
                         const struct buf *data) MUST_CHECK;

#endif
