/*
 * endpoint.h: whoever exchanges messages with the engine: a loop, the threads of the store. Messages are addressed by an endpoint's number, whatever stands behind it.
 *
 * The life of a message to the engine: its sender adds it to `to_engine` and posts once per turn; the engine takes from each endpoint in turn, at most round_max
 * of weight at a time, so that one greedy sender delays nobody. The other way: the engine adds to `gathered`, and posts once per round.
 */
#ifndef BOWLINE_SERVER_ENDPOINT_H
#define BOWLINE_SERVER_ENDPOINT_H

#include "engine/cmd.h"
#include "engine/engine.h"
#include "server/message.h"

enum engine_message_type { ENGINE_SUBMIT, ENGINE_ABANDON, ENGINE_UNWATCH, ENGINE_BATCH_DONE, ENGINE_QUERY_DONE };

struct engine_message {
    enum engine_message_type type;
    uint32_t tag;
    uint64_t channel;
    union {
        struct cmd *cmd;
        struct store_batch *batch;
        struct store_query *query;
    } u;
};

MESSAGE_TYPE(engine_message, struct engine_message);
MESSAGE_TYPE(loop_message, struct message);

struct endpoint {
    unsigned number;
    /* its own thread */
    struct engine_message_run to_engine;
    /* any thread */
    struct engine_message_queue engine_queue;
    struct loop_message_queue queue;
    /* the engine's thread */
    struct engine_message_run taken;
    size_t next, round_max;
    struct loop_message_run gathered;
};

/* round_max: of its messages, by weight, in one of the engine's rounds. */
void endpoint_init(struct endpoint *p, unsigned number, size_t round_max);
void endpoint_fini(struct endpoint *p);

/* Its own thread: posts what it has gathered. True if the engine wants to be woken. */
bool endpoint_post(struct endpoint *p);

/* The engine's thread: gives the engine messages of at most round_max of weight, but at least one. True if more may be waiting. */
bool endpoint_serve(struct endpoint *p, struct engine *e);
/* The engine's thread: posts what the engine has said. True if whoever receives it wants to be woken. */
bool endpoint_deliver(struct endpoint *p);

#endif
