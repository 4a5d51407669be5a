/*
 * message.h: how threads send each other messages. A sender gathers messages of one type and posts them in one go; the receiver takes everything that is
 * there by swapping two runs, so a lock is held for a few instructions only.
 *
 * MESSAGE_TYPE(note, struct note) makes the types and functions of one kind of message:
 *
 *     struct note_run run = note_run_init();       a run of messages; one thread
 *     note_add(&run)->text = ...;                  room for one more, zeroed; good until the next call
 *     note_at(&run, i), note_clear(&run)           clear keeps the memory unless there is a lot of it
 *     struct note_queue queue;                     many senders, one receiver
 *     note_post(&queue, &run)                      moves the run behind what is there. True if the queue was empty: its receiver wants to be woken
 *     note_take(&queue, &run)                      everything, in the order of posting; the run must be empty. False if there was nothing
 */
#ifndef BOWLINE_SERVER_MESSAGE_H
#define BOWLINE_SERVER_MESSAGE_H

#include "base/str.h"

#include <pthread.h>
#include <stdint.h>

struct message_run {
    size_t message_bytes;
    char *items;
    size_t count, cap;
};

struct message_queue {
    pthread_mutex_t lock;
    struct message_run waiting;
};

/* What the typed functions below are made of. */
void *message_run_add(struct message_run *r);
void message_run_clear(struct message_run *r);
void message_run_fini(struct message_run *r);
void message_queue_init(struct message_queue *q, size_t message_bytes);
void message_queue_fini(struct message_queue *q);
bool message_queue_post(struct message_queue *q, struct message_run *from);
bool message_queue_take(struct message_queue *q, struct message_run *to);

#define MESSAGE_TYPE(name, type)                                                      \
    struct name##_run {                                                               \
        struct message_run r;                                                         \
    };                                                                                \
    struct name##_queue {                                                             \
        struct message_queue q;                                                       \
    };                                                                                \
    static inline struct name##_run name##_run_init(void) {                           \
        return (struct name##_run){{.message_bytes = sizeof(type)}};                  \
    }                                                                                 \
    static inline type *name##_add(struct name##_run *r) {                            \
        return (type *) message_run_add(&r->r);                                       \
    }                                                                                 \
    static inline type *name##_at(const struct name##_run *r, size_t i) {             \
        return (type *) (void *) (r->r.items + i * sizeof(type));                     \
    }                                                                                 \
    static inline size_t name##_count(const struct name##_run *r) {                   \
        return r->r.count;                                                            \
    }                                                                                 \
    static inline void name##_clear(struct name##_run *r) {                           \
        message_run_clear(&r->r);                                                     \
    }                                                                                 \
    static inline void name##_run_fini(struct name##_run *r) {                        \
        message_run_fini(&r->r);                                                      \
    }                                                                                 \
    static inline void name##_queue_init(struct name##_queue *q) {                    \
        message_queue_init(&q->q, sizeof(type));                                      \
    }                                                                                 \
    static inline void name##_queue_fini(struct name##_queue *q) {                    \
        message_queue_fini(&q->q);                                                    \
    }                                                                                 \
    static inline bool name##_post(struct name##_queue *q, struct name##_run *from) { \
        return message_queue_post(&q->q, &from->r);                                   \
    }                                                                                 \
    static inline bool name##_take(struct name##_queue *q, struct name##_run *to) {   \
        return message_queue_take(&q->q, &to->r);                                     \
    }                                                                                 \
    struct name##_run /* takes the semicolon */

#endif
