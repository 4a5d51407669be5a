/* waker.h: wakes one thread that sleeps. A wake-up is remembered, and costs two atomic operations while that thread is busy. */
#ifndef BOWLINE_SERVER_WAKER_H
#define BOWLINE_SERVER_WAKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct waker {
    pthread_mutex_t lock;
    pthread_cond_t cond; /* on CLOCK_MONOTONIC */
    atomic_bool woken, asleep;
};

void waker_init(struct waker *w);
void waker_fini(struct waker *w);
void waker_wake(struct waker *w); /* any thread */
/* Returns once woken since the last return, or after wait_ms (0 or less: at once). One thread. */
void waker_sleep(struct waker *w, int64_t wait_ms);

#endif
