/*
 * relay.h: bytes from one descriptor to another, never blocking on either and never more than a piece ahead: a reader who is slow slows the writer down as if
 * nobody stood between them.
 */
#ifndef BOWLINE_CLI_RELAY_H
#define BOWLINE_CLI_RELAY_H

#include "base/buf.h"

#include <poll.h>

#define RELAY_FDS 2

struct relay {
    int from; /* owned and non-blocking unless `borrowed`; -1 once it has ended */
    int to;   /* not owned; -1: nobody reads any more. Only written to when poll says so, or non-blocking */
    bool borrowed;
    /* Sees each piece as it is read. */
    void (*saw)(void *arg, struct str piece);
    void *arg;
    struct buf pending;
    size_t owed; /* so many bytes at most are still to be read that were there at relay_owe */
};

/* Sets the descriptors to wait for, -1 where there is nothing to wait for. */
void relay_watch(const struct relay *r, struct pollfd fds[RELAY_FDS]);
void relay_turn(struct relay *r, const struct pollfd fds[RELAY_FDS]);
/* What is there now will be read whether it can be written on or not. */
void relay_owe(struct relay *r);
/* Nothing more will come. */
bool relay_is_read(const struct relay *r);
void relay_fini(struct relay *r);

#endif
