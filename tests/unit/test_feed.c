/* A feed on a loop: frames in order, the newest of each key, and what it forgets. */
#include "net/loop.h"
#include "net/watch.h"
#include "unit.h"

#include <errno.h>
#include <unistd.h>

static struct http_loop *loop;

static int open_loop(void **state) {
    static const struct http_limits limits = {1 << 20, 16384, 8192, 100, 1000, 1000, 1000, 1000, 100000, 1000, 0};
    static const struct http_handler handler;
    int fd, port;
    (void) state;
    if (http_listen("127.0.0.1", 0, 1, &fd, &port) || !port) {
        return -1;
    }
    loop = http_loop_create(fd, &limits, &handler);
    return loop ? 0 : -1;
}

static int close_loop(void **state) {
    (void) state;
    http_loop_destroy(loop);
    return 0;
}

static struct frame *make(enum frame_kind kind, uint64_t seq, unsigned key) {
    uint8_t bytes[16] = {0};
    memcpy(bytes, &key, sizeof(key));
    return frame_create(kind, seq, bytes, STR("e-f-1"), STR("task"), STR("{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"));
}

/* What a plain model says comes after seq: the least number above it that is the newest of its key. */
static uint64_t model_after(const uint64_t *newest, unsigned keys, uint64_t seq) {
    uint64_t best = 0;
    for (unsigned i = 0; i < keys; i++) {
        if (newest[i] > seq && (!best || newest[i] < best)) {
            best = newest[i];
        }
    }
    return best;
}

static uint64_t feed_next(const struct feed *f, uint64_t seq) {
    for (size_t i = feed_after(f, seq); i < f->count; i++) {
        if (f->entries[i].frame) {
            return f->entries[i].seq;
        }
    }
    return 0;
}

static void holds_the_newest_of_each_key_in_order(void **state) {
    enum { KEYS = 50 };
    uint64_t newest[KEYS] = {0}, seq = 0, seed = 7;
    struct feed *f = feed_create(loop, false, 0, STR("e-f-"), NULL);
    (void) state;
    for (unsigned step = 0; step < 5000; step++) {
        unsigned key = (unsigned) (unit_random(&seed) % KEYS);
        seq += 1 + unit_random(&seed) % 3;
        newest[key] = seq;
        feed_publish(f, make(unit_random(&seed) % 4 ? FRAME_STATE : FRAME_GONE, seq, key));
        feed_flush(f);
        uint64_t from = unit_random(&seed) % (seq + 1);
        assert_int_equal(feed_next(f, from), model_after(newest, KEYS, from));
        assert_int_equal(feed_next(f, seq), 0);
        assert_true(f->count <= 4 * KEYS);
    }
    feed_destroy(f);
}

static void a_last_state_stays_until_it_is_flushed(void **state) {
    enum { SAME = 3 * FEED_OVER_MAX / 2 };
    struct feed *f = feed_create(loop, false, 0, STR("e-f-"), NULL);
    (void) state;
    for (unsigned round = 0; round < 3; round++) { /* what was gone before leaves nothing */
        uint64_t first = f->last_seq;
        for (unsigned i = 0; i < SAME; i++) {
            feed_publish(f, make(FRAME_STATE, first + 1 + i, i));
        }
        for (unsigned i = 0; i < SAME; i++) {
            feed_publish(f, make(FRAME_GONE, first + 1 + SAME + i, i));
        }
        assert_int_equal(f->over_count, FEED_OVER_MAX);
        uint64_t at = first;
        for (unsigned i = 0; i < FEED_OVER_MAX; i++) {
            at = feed_next(f, at);
            assert_int_equal(at, first + 1 + i);
        }
        assert_int_equal(feed_next(f, at), first + 1 + SAME); /* there are only so many */
        feed_flush(f);
        assert_int_equal(feed_next(f, first), first + 1); /* those who keep up read it now */
        feed_publish(f, make(FRAME_STATE, f->last_seq + 1, SAME));
        assert_int_equal(f->over_count, 0);
        assert_int_equal(feed_next(f, first), first + 1 + SAME);
        feed_flush(f);
        feed_publish(f, make(FRAME_GONE, f->last_seq + 1, SAME)); /* its state was flushed */
        assert_int_equal(f->over_count, 0);
        assert_true(f->count <= 4 * SAME);
    }
    feed_destroy(f);
}

static void a_key_that_comes_back_in_the_same_turn_is_found(void **state) {
    struct feed *f = feed_create(loop, false, 0, STR("e-f-"), NULL);
    (void) state;
    feed_publish(f, make(FRAME_STATE, 1, 7));
    feed_publish(f, make(FRAME_GONE, 2, 7));
    for (unsigned i = 0; i < 100; i++) { /* the table and the array are made anew meanwhile */
        feed_publish(f, make(FRAME_STATE, 10 + i, 100 + i % 60));
    }
    feed_publish(f, make(FRAME_STATE, 200, 7));
    assert_int_equal(feed_next(f, 0), 1);
    assert_int_equal(feed_next(f, 1), 50); /* that it was gone is no longer so */
    feed_flush(f);
    feed_publish(f, make(FRAME_STATE, 201, 7));
    assert_int_equal(feed_next(f, 0), 50);
    assert_int_equal(feed_next(f, 109), 201);
    feed_destroy(f);
}

static void keeps_a_window_of_the_log(void **state) {
    struct feed *f = feed_create(loop, true, 5, STR("e-f-"), NULL);
    (void) state;
    assert_int_equal(f->log_floor, 5);
    feed_publish(f, make(FRAME_STATE, 9, 1));
    for (uint64_t seq = 10; seq < 5000; seq++) {
        feed_publish(f, make(FRAME_LOG, seq, 0));
        assert_true(f->log_bytes <= FEED_LOG_BYTES);
        uint64_t first = feed_next(f, f->log_floor < 9 ? 9 : f->log_floor);
        assert_int_equal(first, f->log_floor < 9 ? 10 : f->log_floor + 1);
    }
    assert_true(f->log_floor > 100);
    assert_int_equal(feed_next(f, 0), 9); /* the state stays */
    feed_destroy(f);
}

static void forgets_the_oldest_that_are_gone(void **state) {
    struct feed *f = feed_create(loop, false, 0, STR("e-f-"), NULL);
    (void) state;
    feed_publish(f, make(FRAME_STATE, 1, 0));
    for (unsigned i = 1; i <= FEED_GONE_MAX + 1; i++) {
        feed_publish(f, make(FRAME_GONE, 1 + i, i));
    }
    assert_in_range(f->gone_count, FEED_GONE_MAX / 2, FEED_GONE_MAX / 2 + 1);
    assert_int_equal(feed_next(f, 0), 1);
    assert_int_equal(feed_next(f, 1), f->gone_floor + 1);
    feed_destroy(f);
}

static void synced_never_goes_back(void **state) {
    struct feed *f = feed_create(loop, false, 0, STR("e-f-"), (void *) 1);
    (void) state;
    assert_ptr_equal(feed_user(f), (void *) 1);
    feed_synced(f, 7);
    feed_synced(f, 3);
    assert_int_equal(f->synced, 7);
    feed_publish(f, make(FRAME_STATE, 8, 1));
    feed_publish(f, make(FRAME_STATE, 6, 2)); /* out of order: not taken */
    feed_publish(f, make(FRAME_LOG, 9, 2));   /* this feed has no log */
    assert_int_equal(f->last_seq, 8);
    feed_destroy(f);
    feed_destroy(NULL);
}

static void an_address_in_use_is_found_out(void **state) {
    int fds[3], more, port, other;
    (void) state;
    assert_int_equal(http_listen("127.0.0.1", 0, 3, fds, &port), 0);
    assert_int_equal(http_listen("127.0.0.1", port, 1, &more, &other), -EADDRINUSE);
    for (unsigned i = 0; i < 3; i++) {
        close(fds[i]);
    }
    assert_int_equal(http_listen("[::1]", 0, 1, fds, &port), 0);
    close(fds[0]);
    assert_true(http_listen("no such host.invalid", 0, 1, fds, &port) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_the_newest_of_each_key_in_order),
        cmocka_unit_test(a_last_state_stays_until_it_is_flushed),
        cmocka_unit_test(a_key_that_comes_back_in_the_same_turn_is_found),
        cmocka_unit_test(keeps_a_window_of_the_log),
        cmocka_unit_test(forgets_the_oldest_that_are_gone),
        cmocka_unit_test(synced_never_goes_back),
        cmocka_unit_test(an_address_in_use_is_found_out),
    };
    return cmocka_run_group_tests(tests, open_loop, close_loop);
}
