#include "server/waker.h"

#include <assert.h>
#include <time.h>

#define SLEEP_LONGEST_MS (60 * 1000)

void waker_init(struct waker *w) {
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr) | pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    failed |= pthread_mutex_init(&w->lock, NULL) | pthread_cond_init(&w->cond, &attr);
    assert(!failed);
    (void) failed;
    pthread_condattr_destroy(&attr);
    atomic_init(&w->woken, false);
    atomic_init(&w->asleep, false);
}

void waker_fini(struct waker *w) {
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->lock);
}

/* `woken` is set before `asleep` is read, and read after `asleep` was set: one of the two sides sees the other. */
void waker_wake(struct waker *w) {
    if (atomic_exchange(&w->woken, true) || !atomic_load(&w->asleep)) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
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

void waker_sleep(struct waker *w, int64_t wait_ms) {
    if (wait_ms > 0 && !atomic_load(&w->woken)) {
        struct timespec until = monotonic_after(wait_ms < SLEEP_LONGEST_MS ? wait_ms : SLEEP_LONGEST_MS);
        pthread_mutex_lock(&w->lock);
        atomic_store(&w->asleep, true);
        int result = 0;
        while (!atomic_load(&w->woken) && result == 0) {
            result = pthread_cond_timedwait(&w->cond, &w->lock, &until);
        }
        atomic_store(&w->asleep, false);
        pthread_mutex_unlock(&w->lock);
    }
    atomic_store(&w->woken, false);
}
