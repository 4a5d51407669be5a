/* query.h: reads of the store. */
#ifndef BOWLINE_ENGINE_QUERY_H
#define BOWLINE_ENGINE_QUERY_H

#include "engine/cmd.h"
#include "engine/found.h"
#include "store/store.h"

struct engine;

/* Whose a query is when it comes back, by store_query.purpose; its owner is a load, a command, or nobody. */
enum query_purpose { QUERY_LOAD, QUERY_CMD, QUERY_DUE, QUERY_START };

/* The caller's until it is sent. */
struct store_query *query_create(enum store_query_type type, int purpose, void *owner);
void query_free(struct store_query *q); /* accepts NULL */
/* The store's, until engine_query_done brings it back. */
void query_send(struct engine *e, struct store_query *q);
/* Sends it for a command, which runs again with c->e.query set once it is back; what it had there before is freed. Always WAITS. */
enum step cmd_query(struct engine *e, struct cmd *c, struct store_query *q);

#endif
