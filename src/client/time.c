#include "client/internal.h"

#include <time.h>

#define WITHIN_SLACK_MS 50
#define SLEEP_SLICE_MS 50 /* an interrupt is noticed within that time */

int64_t mono_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t deadline_of(int64_t timeout_ms) {
    int64_t now_ms = mono_ms();
    return timeout_ms < 0 || timeout_ms > DEADLINE_NEVER - now_ms ? DEADLINE_NEVER : now_ms + timeout_ms;
}

int64_t backoff_next(int64_t *pause_ms, int64_t most_ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    *pause_ms = *pause_ms ? *pause_ms * 2 : BACKOFF_FIRST_MS;
    *pause_ms = *pause_ms > most_ms ? most_ms : *pause_ms;
    /* Clients that lost the same server at the same moment must not come back at the same moment: the nanoseconds tell them apart. */
    uint64_t noise = (uint64_t) t.tv_nsec * 0x9e3779b97f4a7c15ull >> 32;
    return *pause_ms - *pause_ms / 8 + (int64_t) (noise % (uint64_t) (*pause_ms / 4 + 1));
}

int wait_of(int64_t deadline_ms) {
    int64_t left_ms = deadline_ms == DEADLINE_NEVER ? DEADLINE_NEVER : deadline_ms - mono_ms();
    return left_ms <= 0 ? 0 : left_ms >= ANSWER_WAIT_MAX_S * 1000 ? ANSWER_WAIT_MAX_S : (int) ((left_ms + 999) / 1000);
}

int wait_within(int64_t deadline_ms) {
    int64_t left_ms = deadline_ms == DEADLINE_NEVER ? DEADLINE_NEVER : deadline_ms - mono_ms();
    return left_ms <= 0 ? 0 : left_ms >= ANSWER_WAIT_MAX_S * 1000 ? ANSWER_WAIT_MAX_S : (int) ((left_ms + WITHIN_SLACK_MS) / 1000);
}

void client_sleep(const bowline_client *c, int64_t until_ms) {
    for (int64_t left_ms; (left_ms = until_ms - mono_ms()) > 0 && !atomic_load(&c->interrupted);) {
        left_ms = left_ms > SLEEP_SLICE_MS ? SLEEP_SLICE_MS : left_ms;
        struct timespec t = {.tv_sec = 0, .tv_nsec = left_ms * 1000000};
        nanosleep(&t, NULL);
    }
}
