/* feed.h: what happens is sent to the channels that keep up. */
#ifndef BOWLINE_ENGINE_FEED_H
#define BOWLINE_ENGINE_FEED_H

#include "base/frame.h"
#include "base/id.h"
#include "base/str.h"

struct channel;
struct engine;
struct gone_entry;
struct session_entry;
struct task_entry;

void feed_task_changed(struct engine *e, struct task_entry *t, bool output_only);
void feed_output(struct engine *e, struct task_entry *t, uint64_t seq, uint64_t offset, struct str data);
void feed_task_removed(struct engine *e, struct task_entry *t); /* who still reads its own feed ends with what its loop has */
void feed_gone(struct engine *e, struct session_entry *s, const struct gone_entry *g);
/* One frame, which is the receiver's, once batch `needs` is durable. */
void feed_send(struct engine *e, struct channel *ch, uint64_t needs, struct frame *f);

#endif
