/* load.h: look-ups that the store is asked: one for each thing at a time, however many commands wait for it. */
#ifndef BOWLINE_ENGINE_LOAD_H
#define BOWLINE_ENGINE_LOAD_H

#include "base/hash.h"
#include "engine/cmd.h"
#include "engine/lists.h"

struct engine;
struct store_query;
struct task;

enum look_up { LOOK_SESSION, LOOK_TASK, LOOK_KEY, LOOK_USER, LOOK_IDEMPOTENCY };

struct load {
    struct load_key {
        int what;
        uint8_t key[32];
    } key;
    struct cmd_list waiters;
    uint64_t stamp; /* engine.look_clock when it was asked */
    int64_t asked_at;
    bool reload; /* of a session that was thrown away */
    bool first;  /* the start waits for it: engine.loads_left */
    bool due;    /* counted in engine.due_loads */
    struct {
        struct store_query *query; /* a session of many tasks: they are made of their rows a piece at a time */
        struct task *tasks;
        size_t count, at;       /* tasks made, rows used */
        TAILQ_ENTRY(load) link; /* engine.pieces */
    } piece;
    UT_hash_handle hh;
};

struct load_key load_key_of(int what, const void *key, size_t len);
/* The look-up of it that is under way, or a new one. low_priority: the store takes others first. */
struct load *load_begin(struct engine *e, enum look_up what, const void *key, size_t len, bool low_priority);
void load_free(struct load *l);
/* Loads a session for nobody. reload: it was thrown away, and its numbers go on above the reservation. */
void session_load(struct engine *e, struct id id, bool reload);
void session_load_first(struct engine *e, struct id id); /* and nothing is served before it is there */
/* It was thrown away and is not back yet: the command is parked until it is. */
bool session_reloading(struct engine *e, struct cmd *c, struct id id) MUST_CHECK;
/* A look-up has come back. False: it keeps the query and goes on with it in the next passes. */
bool engine_loaded(struct engine *e, struct store_query *q);
/* Goes on with the first of those; true: it is done. */
bool engine_load_piece(struct engine *e);

#endif
