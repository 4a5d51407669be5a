/* sse.h: reads an event stream as browsers do (HTML, "Server-sent events": interpreting an event stream). Any split of the bytes gives the same events. */
#ifndef BOWLINE_CLI_SSE_H
#define BOWLINE_CLI_SSE_H

#include "base/buf.h"

#include <stdint.h>

struct sse {
    /* An event: its name ("message" if it has none) and data. sse_last_id is already its id. False: stop. */
    bool (*event)(void *arg, struct str event, struct str data);
    void *arg;

    struct buf line, name, data, id, last_id;
    int64_t retry_ms; /* -1 until the stream says so */
    bool after_cr, begun, has_data;
};

void sse_init(struct sse *s, bool (*event)(void *arg, struct str event, struct str data), void *arg);
void sse_fini(struct sse *s);
/* A new connection begins: what was incomplete is dropped, the last id and the retry time are kept. */
void sse_restart(struct sse *s);
/* False once an event's function wanted to stop, or when there is no memory. */
bool sse_read(struct sse *s, struct str piece) __attribute__((warn_unused_result));
const char *sse_last_id(struct sse *s); /* NULL: none yet */

#endif
