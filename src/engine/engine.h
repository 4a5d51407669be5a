/*
 * engine.h: the one thread that thinks. Owns all sessions, tasks, feeds, queues and timers. No I/O, no clock, no locks: commands, completions of the store and
 * the time come in, messages and batches go out; so all of it runs as well on a simulated clock with a simulated store.
 */
#ifndef BOWLINE_ENGINE_ENGINE_H
#define BOWLINE_ENGINE_ENGINE_H

#include "base/clock.h"
#include "base/crypto.h"
#include "base/options.h"
#include "engine/cmd.h"
#include "store/store.h"

struct engine;

struct engine_config {
    const struct options *options; /* outlives the engine */
    const struct keyring *keys;
    unsigned endpoints;
    void (*send)(void *arg, unsigned endpoint, struct message m); /* the receiver owns what it points to */
    void *send_arg;
    void (*random)(void *arg, void *out, size_t len);
    void *random_arg;
};

struct engine *engine_create(const struct engine_config *config, struct moment now);
/* Gives it its store and begins to load what is unfinished. Commands may be given from now on; they wait. */
void engine_start(struct engine *e, struct store *store);
bool engine_ready(const struct engine *e);
/*
 * The time of what is given to it next. To be called before each round of the following, after what is given has come: of two things that others date, the
 * later may not pass for the earlier. The steady time never runs backwards, the wall clock may.
 */
void engine_at(struct engine *e, struct moment now);
/* One command; it comes back by a message. */
void engine_submit(struct engine *e, struct cmd *c);
/* This command will be submitted soon: steps_left runs from ENGINE_PREFETCH_STEPS - 1 down to 0, and other commands are served between the steps. May be left out. */
#define ENGINE_PREFETCH_STEPS 6
void engine_prefetch(const struct engine *e, const struct cmd *c, unsigned steps_left);
/*
 * The peer of a command is gone before its answer was written. To be called once, for a command that has not come back or for a claim whose answer could
 * not be delivered; MESSAGE_ABANDONED gives the command back for good (a MESSAGE_ANSWER that was already on its way may come first and does not). Its effect
 * is done or not; what it had claimed is given back to the queue.
 */
void engine_abandon(struct engine *e, struct cmd *c);
/* A watcher of the channel has left the loop. */
void engine_unwatch(struct engine *e, unsigned endpoint, uint64_t channel, uint32_t tag);
void engine_batch_done(struct engine *e, struct store_batch *b);
void engine_query_done(struct engine *e, struct store_query *q);
/* Timers, and the hand-over of the open batch to the store. To be called after each round of the above, and at engine_next. */
void engine_run(struct engine *e, struct moment now);
int64_t engine_next(const struct engine *e); /* when engine_run wants to be called again at the latest; steady time */
/* Commands that wait for something to happen are answered at this steady time at the latest, as if theirs were up. */
void engine_end_waits(struct engine *e, int64_t at_ms);
/* Begins a clean stop: no more commands are taken (503), everything resident is written with its exact numbers. */
void engine_stop(struct engine *e);
bool engine_stopped(const struct engine *e); /* all of it is durable */
void engine_destroy(struct engine *e);       /* everything is dropped, also what is not durable */
/* OpenMetrics text of what the engine counts. */
void engine_metrics(struct engine *e, struct buf *out);
/* Checks every invariant that spans its structures; aborts on a broken one. For the simulation and tests. */
void engine_check(const struct engine *e);

#endif
