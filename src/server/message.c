#include "server/message.h"

#include "base/mem.h"

#include <assert.h>

#define RUN_KEPT_BYTES (1024 * 1024)

void *message_run_add(struct message_run *r) {
    if (r->count == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 64;
        r->items = mem_resize(r->items, r->cap * r->message_bytes);
    }
    void *message = r->items + r->count++ * r->message_bytes;
    memset(message, 0, r->message_bytes);
    return message;
}

void message_run_clear(struct message_run *r) {
    r->count = 0;
    if (r->cap * r->message_bytes > RUN_KEPT_BYTES) {
        message_run_fini(r);
    }
}

void message_run_fini(struct message_run *r) {
    mem_free(r->items);
    r->items = NULL;
    r->count = r->cap = 0;
}

void message_queue_init(struct message_queue *q, size_t message_bytes) {
    *q = (struct message_queue){.waiting.message_bytes = message_bytes};
    int failed = pthread_mutex_init(&q->lock, NULL);
    assert(!failed);
    (void) failed;
}

void message_queue_fini(struct message_queue *q) {
    pthread_mutex_destroy(&q->lock);
    message_run_fini(&q->waiting);
}

static void message_run_swap(struct message_run *a, struct message_run *b) {
    struct message_run t = *a;
    *a = *b;
    *b = t;
}

static void message_run_append(struct message_run *to, const struct message_run *from) {
    size_t need = to->count + from->count;
    if (need > to->cap) {
        to->cap = need > to->cap * 2 ? need : to->cap * 2;
        to->items = mem_resize(to->items, to->cap * to->message_bytes);
    }
    memcpy(to->items + to->count * to->message_bytes, from->items, from->count * from->message_bytes);
    to->count = need;
}

bool message_queue_post(struct message_queue *q, struct message_run *from) {
    if (!from->count) {
        return false;
    }
    pthread_mutex_lock(&q->lock);
    assert(from->message_bytes == q->waiting.message_bytes);
    bool was_empty = q->waiting.count == 0;
    if (was_empty) {
        message_run_swap(&q->waiting, from);
    } else {
        message_run_append(&q->waiting, from);
    }
    pthread_mutex_unlock(&q->lock);
    message_run_clear(from);
    return was_empty;
}

bool message_queue_take(struct message_queue *q, struct message_run *to) {
    assert(to->count == 0);
    pthread_mutex_lock(&q->lock);
    assert(to->message_bytes == q->waiting.message_bytes);
    message_run_swap(&q->waiting, to);
    pthread_mutex_unlock(&q->lock);
    return to->count > 0;
}
