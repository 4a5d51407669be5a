#include "cli/mailbox.h"

#include "base/mem.h"

#include <assert.h>
#include <time.h>

#define LETTERS_KEPT_BYTES (1024 * 1024)
#define BELL_LONGEST_MS (60 * 1000)

void *letters_add(struct letters *l) {
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->items = mem_resize(l->items, l->cap * l->letter_bytes);
    }
    void *letter = letters_at(l, l->count++);
    memset(letter, 0, l->letter_bytes);
    return letter;
}

void letters_clear(struct letters *l) {
    l->count = 0;
    if (l->cap * l->letter_bytes > LETTERS_KEPT_BYTES) {
        letters_fini(l);
    }
}

void letters_fini(struct letters *l) {
    mem_free(l->items);
    l->items = NULL;
    l->count = l->cap = 0;
}

void mailbox_init(struct mailbox *m, size_t letter_bytes) {
    *m = (struct mailbox){.letters.letter_bytes = letter_bytes};
    int failed = pthread_mutex_init(&m->lock, NULL);
    assert(!failed);
    (void) failed;
}

void mailbox_fini(struct mailbox *m) {
    pthread_mutex_destroy(&m->lock);
    letters_fini(&m->letters);
}

static void letters_swap(struct letters *a, struct letters *b) {
    struct letters t = *a;
    *a = *b;
    *b = t;
}

static void letters_append(struct letters *to, const struct letters *from) {
    size_t need = to->count + from->count;
    if (need > to->cap) {
        to->cap = need > to->cap * 2 ? need : to->cap * 2;
        to->items = mem_resize(to->items, to->cap * to->letter_bytes);
    }
    memcpy(letters_at(to, to->count), from->items, from->count * from->letter_bytes);
    to->count = need;
}

bool mailbox_post(struct mailbox *m, struct letters *from) {
    if (!from->count) {
        return false;
    }
    pthread_mutex_lock(&m->lock);
    assert(from->letter_bytes == m->letters.letter_bytes);
    bool was_empty = m->letters.count == 0;
    if (was_empty) {
        letters_swap(&m->letters, from);
    } else {
        letters_append(&m->letters, from);
    }
    pthread_mutex_unlock(&m->lock);
    letters_clear(from);
    return was_empty;
}

bool mailbox_take(struct mailbox *m, struct letters *to) {
    assert(to->count == 0);
    pthread_mutex_lock(&m->lock);
    assert(to->letter_bytes == m->letters.letter_bytes);
    letters_swap(&m->letters, to);
    pthread_mutex_unlock(&m->lock);
    return to->count > 0;
}

void bell_init(struct bell *b) {
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr) | pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    failed |= pthread_mutex_init(&b->lock, NULL) | pthread_cond_init(&b->cond, &attr);
    assert(!failed);
    (void) failed;
    pthread_condattr_destroy(&attr);
    atomic_init(&b->rung, false);
    atomic_init(&b->asleep, false);
}

void bell_fini(struct bell *b) {
    pthread_cond_destroy(&b->cond);
    pthread_mutex_destroy(&b->lock);
}

/* `rung` is set before `asleep` is read, and read after `asleep` was set: one of the two sides sees the other. */
void bell_ring(struct bell *b) {
    if (atomic_exchange(&b->rung, true) || !atomic_load(&b->asleep)) {
        return;
    }
    pthread_mutex_lock(&b->lock);
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

static struct timespec monotonic_after(int64_t wait_ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t) (wait_ms / 1000);
    t.tv_nsec += (long) (wait_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

void bell_wait(struct bell *b, int64_t wait_ms) {
    if (wait_ms > 0 && !atomic_load(&b->rung)) {
        struct timespec until = monotonic_after(wait_ms < BELL_LONGEST_MS ? wait_ms : BELL_LONGEST_MS);
        pthread_mutex_lock(&b->lock);
        atomic_store(&b->asleep, true);
        int result = 0;
        while (!atomic_load(&b->rung) && result == 0) {
            result = pthread_cond_timedwait(&b->cond, &b->lock, &until);
        }
        atomic_store(&b->asleep, false);
        pthread_mutex_unlock(&b->lock);
    }
    atomic_store(&b->rung, false);
}
