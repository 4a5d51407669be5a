/*
 * Queues: what can be claimed, in order of (ready, id), and the claims that wait for it. ready is engine time. not_before is a date: as long as it has not come, when
 * that will be moves with each step of the wall clock; what becomes ready by a step was not ready before it.
 */
#include "engine/queue.h"

#include "engine/state.h"
#include "engine/task_entry.h"
#include "engine/wait.h"

#include "base/mem.h"

bool queue_before(const struct task_entry *a, const struct task_entry *b) {
    if (a->ready != b->ready) {
        return a->ready < b->ready;
    }
    return a->t.not_before_at != b->t.not_before_at ? a->t.not_before_at < b->t.not_before_at : id_cmp(a->t.id, b->t.id) < 0;
}

static void put(struct queue *q, size_t at, struct task_entry *t) {
    q->heap[at] = t;
    t->queue_at = at + 1;
}

static void sift_up(struct queue *q, size_t at) {
    struct task_entry *t = q->heap[at];
    while (at && queue_before(t, q->heap[(at - 1) / 2])) {
        put(q, at, q->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(q, at, t);
}

static void sift_down(struct queue *q, size_t at) {
    struct task_entry *t = q->heap[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child + 1 < q->count && queue_before(q->heap[child + 1], q->heap[child])) {
            child++;
        }
        if (child >= q->count || !queue_before(q->heap[child], t)) {
            break;
        }
        put(q, at, q->heap[child]);
        at = child;
    }
    put(q, at, t);
}

static void heap_add(struct queue *q, struct task_entry *t) {
    if (q->count == q->cap) {
        q->cap = q->cap ? q->cap * 2 : 16;
        q->heap = mem_resize(q->heap, q->cap * sizeof(struct task_entry *));
    }
    put(q, q->count++, t);
    sift_up(q, q->count - 1);
}

static void heap_remove(struct queue *q, struct task_entry *t) {
    size_t at = t->queue_at - 1;
    struct task_entry *last = q->heap[--q->count];
    t->queue_at = 0;
    if (last != t) {
        put(q, at, last);
        sift_up(q, at);
        sift_down(q, last->queue_at - 1);
    }
}

struct queue *queue_find(struct engine *e, struct str name) {
    struct queue *q;
    HASH_FIND(hh, e->queues, name.p, name.len, q);
    return q;
}

struct queue *queue_of(struct engine *e, struct str name) {
    struct queue *q = queue_find(e, name);
    if (!q) {
        q = mem_alloc(sizeof(*q));
        q->name = mem_strdup(name);
        TAILQ_INIT(&q->waiters);
        HASH_ADD_KEYPTR(hh, e->queues, q->name, name.len, q);
    }
    return q;
}

static void ready_set(const struct engine *e, struct task_entry *t) {
    int64_t date = t->t.not_before_at ? t->t.not_before_at - e->apart : 0;
    int64_t due = date > t->t.ready_at ? date : t->t.ready_at;
    if (due > e->now || !t->ready) {
        t->ready = due > 0 ? due : 1;
    } else if (t->ready > e->now) {
        t->ready = e->now;
    } else if (t->t.ready_at > t->ready) {
        t->ready = t->t.ready_at;
    }
}

static void queue_timer(struct timer *t, int64_t now_ms, void *arg) {
    (void) now_ms;
    queue_serve(arg, (struct queue *) ((char *) t - offsetof(struct queue, timer)));
}

void queue_serve(struct engine *e, struct queue *q) {
    wheel_cancel(&e->wheel, &q->timer);
    if (TAILQ_EMPTY(&q->waiters) || !q->count) {
        return;
    }
    if (q->heap[0]->ready > e->now) {
        wheel_set(&e->wheel, &q->timer, q->heap[0]->ready, queue_timer);
        return;
    }
    struct cmd *c = TAILQ_FIRST(&q->waiters); /* one at a time: when it has taken what it wants, the next is woken */
    cmd_unpark(e, c);
    cmd_park(c, &e->ready);
}

static void count_running(struct task_entry *t, bool running) {
    if (running != t->queue_running) {
        t->queue_running = running;
        t->queue->running += running ? 1u : -1u;
    }
}

void queue_leave(struct engine *e, struct task_entry *t) {
    (void) e;
    if (!t->queue) {
        return;
    }
    count_running(t, false);
    if (t->queue_at) {
        heap_remove(t->queue, t);
    }
    t->queue = NULL;
}

void queue_update(struct engine *e, struct task_entry *t) {
    if (!t->t.queue) {
        return;
    }
    if (task_is_ended(&t->t)) {
        queue_leave(e, t);
        return;
    }
    if (!t->queue) {
        t->queue = queue_of(e, str_of(t->t.queue));
    }
    count_running(t, task_has_worker(&t->t));
    bool waits = t->t.state == TASK_QUEUED;
    if (t->queue_at && !waits) {
        heap_remove(t->queue, t);
    } else if (waits && !t->queue_at) {
        ready_set(e, t);
        heap_add(t->queue, t);
        queue_serve(e, t->queue);
    }
}

struct task_entry *queue_take(struct engine *e, struct queue *q) {
    return q->count && q->heap[0]->ready <= e->now ? q->heap[0] : NULL;
}

void queue_clock_stepped(struct engine *e, struct queue *q) {
    for (size_t i = 0; i < q->count; i++) {
        ready_set(e, q->heap[i]);
    }
    for (size_t i = q->count / 2; i-- > 0;) {
        sift_down(q, i);
    }
    queue_serve(e, q);
}
