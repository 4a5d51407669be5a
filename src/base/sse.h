/*
 * sse.h: an event stream (HTML living standard, section 9.2.6) cut into events. Any split of the bytes gives the same events. What is incomplete when
 * a connection ends is dropped by sse_restart. One thread.
 */
#ifndef BOWLINE_BASE_SSE_H
#define BOWLINE_BASE_SSE_H

#include "base/buf.h"

#include <stdint.h>

#define SSE_EVENT_MAX ((size_t) 32 << 20) /* bytes of one line or event: far above what a server sends */

enum sse_result { SSE_OK, SSE_STOPPED, SSE_NO_MEMORY, SSE_TOO_LARGE };

struct sse {
    /* An event with data; its cursor is already in `cursor`. False: stop reading. */
    bool (*event)(void *arg, struct str name, struct str data);
    void *arg;
    struct buf line, name, data;
    struct buf id;     /* of the event being read */
    struct buf cursor; /* the last id of a whole event, or of a block without data */
    int64_t retry_ms;  /* -1: the stream has not said */
    bool skip_newline, begun, has_data;
};

void sse_fini(struct sse *s);
void sse_restart(struct sse *s);
/* Sets where the stream goes on from. */
void sse_set_cursor(struct sse *s, struct str cursor);
enum sse_result sse_feed(struct sse *s, struct str piece) MUST_CHECK;

#endif
