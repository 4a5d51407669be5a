#include "engine/cmd.h"

#include "base/mem.h"

#include <stdlib.h>

struct cmd *cmd_create(enum cmd_type type, unsigned loop) {
    struct cmd *c = calloc(1, sizeof(*c));
    if (c) {
        c->type = type;
        c->loop = loop;
        c->wait_ms = CMD_NO_WAIT;
        c->lease_ms = -1;
        c->list.state = -1;
    }
    return c;
}

void cmd_free(struct cmd *c) {
    if (!c) {
        return;
    }
    buf_fini(&c->answer.body);
    arena_fini(&c->arena);
    mem_free(c->body_memory);
    free(c);
}
