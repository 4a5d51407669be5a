#include "engine/cmd.h"

#include "base/mem.h"

#include <stdlib.h>

#define BODY_KEPT 4096
#define ARENA_KEPT 4096

static void cmd_init(struct cmd *c, enum cmd_type type, unsigned endpoint) {
    c->type = type;
    c->endpoint = endpoint;
    c->wait_ms = CMD_NO_WAIT;
    c->lease_ms = -1;
    c->list.state = -1;
}

struct cmd *cmd_create(enum cmd_type type, unsigned endpoint) {
    struct cmd *c = calloc(1, sizeof(*c));
    if (c) {
        cmd_init(c, type, endpoint);
    }
    return c;
}

struct cmd *cmd_create_in(struct cmd_pool *pool, enum cmd_type type, unsigned endpoint) {
    struct cmd *c = pool->count ? pool->spare[--pool->count] : calloc(1, sizeof(*c));
    if (c) {
        cmd_init(c, type, endpoint);
        c->pool = pool;
    }
    return c;
}

static void cmd_destroy(struct cmd *c) {
    buf_fini(&c->answer.body);
    arena_fini(&c->arena);
    free(c);
}

/* As new, but for the memory it has. */
static void cmd_recycle(struct cmd *c) {
    struct cmd_pool *pool = c->pool;
    struct arena arena = c->arena;
    struct buf body = c->answer.body;
    arena_rewind(&arena, ARENA_KEPT);
    buf_clear(&body);
    if (body.cap > BODY_KEPT) {
        buf_fini(&body);
    }
    *c = (struct cmd){.arena = arena, .answer.body = body};
    pool->spare[pool->count++] = c;
}

void cmd_free(struct cmd *c) {
    if (!c) {
        return;
    }
    buf_fini(&c->e.lines_text);
    mem_free(c->body_memory);
    if (c->pool && c->pool->count < sizeof(c->pool->spare) / sizeof(c->pool->spare[0])) {
        cmd_recycle(c);
    } else {
        cmd_destroy(c);
    }
}

void cmd_pool_fini(struct cmd_pool *pool) {
    while (pool->count) {
        cmd_destroy(pool->spare[--pool->count]);
    }
}

void message_discard(struct message *m) {
    if (m->type == MESSAGE_FRAME) {
        frame_unref(m->frame);
    } else if (m->type == MESSAGE_DISCONNECT) {
        mem_free(m->disconnect);
    }
}
