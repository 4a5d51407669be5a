/* Reads of the store. */
#include "engine/query.h"

#include "engine/state.h"

#include "base/mem.h"

enum step cmd_query(struct engine *e, struct cmd *c, struct store_query *q) {
    q->owner = c;
    q->purpose = QUERY_CMD;
    query_free(c->e.query);
    c->e.query = NULL;
    c->e.asking = q;
    query_send(e, q);
    return WAITS;
}

struct store_query *query_create(enum store_query_type type, int purpose, void *owner) {
    struct store_query *q = mem_alloc(sizeof(*q));
    q->type = type;
    q->purpose = purpose;
    q->owner = owner;
    return q;
}

void query_free(struct store_query *q) {
    if (q) {
        if (q->type == STORE_GET_OUTPUT) {
            buf_fini(&q->ask.output.bytes);
        }
        arena_fini(&q->arena);
        mem_free(q);
    }
}

void query_send(struct engine *e, struct store_query *q) {
    e->queries++;
    store_query(e->store, q);
}
