/* outbox.h: what leaves the engine: at once, or in order with the batch of what must be durable before. */
#ifndef BOWLINE_ENGINE_OUTBOX_H
#define BOWLINE_ENGINE_OUTBOX_H

#include "engine/cmd.h"
#include "engine/found.h"

#include <sys/queue.h>

struct engine;

struct effect {
    TAILQ_ENTRY(effect) link;
    unsigned endpoint;
    bool failed;            /* what it waits for has */
    uint64_t needs;         /* the set that it waits for */
    struct message message; /* or */
    struct cmd *resume;     /* a command that goes on once that is durable */
};
TAILQ_HEAD(effect_list, effect);

/* Sends m once the set `needs` is durable; at once if it is. What m points to is the receiver's, or let go of if the set fails. */
void engine_post(struct engine *e, uint64_t needs, unsigned endpoint, struct message m);
/* GO_ON when what it has read and changed is durable (needs.h) or the command has waited before, which it does once at most; else WAITS until it is. */
enum step cmd_until_durable(struct engine *e, struct cmd *c) MUST_CHECK;
/* Some sets have failed: notes which of the effects wait for one of them. */
void effects_judge(struct engine *e, struct effect_list *effects);
/* The batch they wait for is through: lets all of them go in their order, and those fail that wait for what failed. */
void effects_release(struct engine *e, struct effect_list *effects);
/* Only those fail: commands are told that the outcome is unknown, frames are dropped and their channels fall behind. */
void effects_fail(struct engine *e, struct effect_list *effects);
/* The engine is going: all of it is freed, commands too. */
void effects_free(struct effect_list *effects);

#endif
