/*
 * mailbox.h: how threads send each other mail. Letters of one size are gathered by the sender and posted in one go; the reader takes
 * everything that is there by swapping two vectors, so a lock is held for a few instructions only.
 */
#ifndef BOWLINE_CLI_MAILBOX_H
#define BOWLINE_CLI_MAILBOX_H

#include "base/str.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* A run of letters; one thread. Zero-initialise, then set letter_bytes. */
struct letters {
    size_t letter_bytes;
    char *items;
    size_t count, cap;
};

void *letters_add(struct letters *l); /* room for one more, zeroed; good until the next call */
static inline void *letters_at(const struct letters *l, size_t i) {
    return l->items + i * l->letter_bytes;
}
void letters_clear(struct letters *l); /* empties; keeps the memory unless there is a lot of it */
void letters_fini(struct letters *l);

/* Many senders, one reader. */
struct mailbox {
    pthread_mutex_t lock;
    struct letters letters;
};

void mailbox_init(struct mailbox *m, size_t letter_bytes);
void mailbox_fini(struct mailbox *m);
/* Moves all of `from` into the box, behind what is there, and empties `from`. True if the box was empty: its reader wants to be woken. */
bool mailbox_post(struct mailbox *m, struct letters *from);
/* Takes everything, in the order of posting. `to` must be empty; its memory goes to the box. False if there was nothing. */
bool mailbox_take(struct mailbox *m, struct letters *to);

/* Wakes one sleeper. Ringing is remembered, and costs two atomic operations while the sleeper is busy. */
struct bell {
    pthread_mutex_t lock;
    pthread_cond_t cond; /* on CLOCK_MONOTONIC */
    atomic_bool rung, asleep;
};

void bell_init(struct bell *b);
void bell_fini(struct bell *b);
void bell_ring(struct bell *b); /* any thread */
/* Returns once rung since the last return, or after wait_ms (0 or less: at once). One thread. */
void bell_wait(struct bell *b, int64_t wait_ms);

#endif
