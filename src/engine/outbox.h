/* outbox.h: what leaves the engine: at once, or in order with the batch that must be durable before. */
#ifndef BOWLINE_ENGINE_OUTBOX_H
#define BOWLINE_ENGINE_OUTBOX_H

#include "engine/cmd.h"
#include "engine/found.h"

#include <sys/queue.h>

struct engine;

struct effect {
    TAILQ_ENTRY(effect) link;
    unsigned endpoint;
    struct message message; /* or */
    struct cmd *resume;     /* a command that goes on once the batch is durable */
};
TAILQ_HEAD(effect_list, effect);

/* Sends m once batch `needs` is durable; at once if it is. What m points to is the receiver's, or let go of if the batch fails. */
void engine_post(struct engine *e, uint64_t needs, unsigned endpoint, struct message m);
/* GO_ON when the batch is durable or the command has waited before, which it does once at most; else WAITS until it is. */
enum step cmd_until_durable(struct engine *e, struct cmd *c, uint64_t needs) MUST_CHECK;
/* The batch they wait for is durable. */
void effects_release(struct engine *e, struct effect_list *effects);
/* It has failed: commands are told that the outcome is unknown, frames are dropped and their channels fall behind. */
void effects_fail(struct engine *e, struct effect_list *effects);
/* The engine is going: all of it is freed, commands too. */
void effects_free(struct effect_list *effects);

#endif
