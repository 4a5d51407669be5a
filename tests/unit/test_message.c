/* Messages between threads: nothing is lost, nothing is given twice, each sender's order is kept, and a sleeper is always woken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/message.h"
#include "server/waker.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define SENDERS 4
#define MESSAGES_EACH 20000

struct note {
    unsigned sender;
    unsigned number;
};

MESSAGE_TYPE(note, struct note);

static void add_note(struct note_run *l, unsigned sender, unsigned number) {
    *note_add(l) = (struct note){sender, number};
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void messages_are_kept_in_order(void **state) {
    (void) state;
    struct note_queue box;
    struct note_run from = note_run_init(), to = note_run_init();
    note_queue_init(&box);
    assert_false(note_take(&box, &to));
    assert_false(note_post(&box, &from));
    for (unsigned i = 0; i < 1000; i++) {
        add_note(&from, 0, i);
        if (i % 7 == 0) {
            assert_int_equal(note_post(&box, &from), i == 0); /* only the first finds it empty */
            assert_int_equal(note_count(&from), 0);
        }
    }
    note_post(&box, &from);
    assert_true(note_take(&box, &to));
    assert_int_equal(note_count(&to), 1000);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(note_at(&to, i)->number, i);
    }
    note_clear(&to);
    assert_false(note_take(&box, &to));
    note_run_fini(&from);
    note_run_fini(&to);
    note_queue_fini(&box);
}

static void a_large_vector_is_given_back(void **state) {
    (void) state;
    struct note_run l = note_run_init();
    for (unsigned i = 0; i < 200000; i++) {
        add_note(&l, 0, i);
    }
    note_clear(&l);
    assert_int_equal(l.r.cap, 0);
    add_note(&l, 0, 1);
    note_clear(&l);
    assert_true(l.r.cap > 0);
    note_run_fini(&l);
}

static void a_wake_up_is_remembered_once(void **state) {
    (void) state;
    struct waker waker;
    waker_init(&waker);
    waker_wake(&waker);
    waker_wake(&waker);
    int64_t begin = now_ms();
    waker_sleep(&waker, 20000);
    assert_true(now_ms() - begin < 15000);
    begin = now_ms();
    waker_sleep(&waker, 60);
    assert_true(now_ms() - begin >= 50);
    begin = now_ms();
    waker_sleep(&waker, 0);
    waker_sleep(&waker, -5);
    assert_true(now_ms() - begin < 15000);
    waker_fini(&waker);
}

struct desk {
    struct note_queue box;
    struct waker waker;
};

struct sender {
    struct desk *desk;
    unsigned number;
};

static void *sender_main(void *arg) {
    struct sender *s = arg;
    struct note_run from = note_run_init();
    for (unsigned i = 0; i < MESSAGES_EACH; i++) {
        add_note(&from, s->number, i);
        if (i % (s->number + 1) == 0 || i + 1 == MESSAGES_EACH) {
            if (note_post(&s->desk->box, &from)) {
                waker_wake(&s->desk->waker);
            }
        }
        if (i % 500 == 0) {
            sched_yield();
        }
    }
    note_run_fini(&from);
    return NULL;
}

/* The receiver is woken only when the box was empty: were one lost, the reader would sleep for its whole time. */
static void many_senders_one_reader(void **state) {
    (void) state;
    struct desk desk;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    unsigned next[SENDERS] = {0};
    struct note_run to = note_run_init();
    note_queue_init(&desk.box);
    waker_init(&desk.waker);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&desk, i};
        assert_int_equal(pthread_create(&threads[i], NULL, sender_main, &senders[i]), 0);
    }
    size_t got = 0;
    while (got < SENDERS * MESSAGES_EACH) {
        int64_t begin = now_ms();
        waker_sleep(&desk.waker, 20000);
        assert_true(now_ms() - begin < 15000);
        while (note_take(&desk.box, &to)) {
            for (size_t i = 0; i < note_count(&to); i++) {
                const struct note *n = note_at(&to, i);
                assert_true(n->sender < SENDERS);
                assert_int_equal(n->number, next[n->sender]++);
            }
            got += note_count(&to);
            note_clear(&to);
        }
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(next[i], MESSAGES_EACH);
    }
    note_run_fini(&to);
    waker_fini(&desk.waker);
    note_queue_fini(&desk.box);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_kept_in_order),
        cmocka_unit_test(a_large_vector_is_given_back),
        cmocka_unit_test(a_wake_up_is_remembered_once),
        cmocka_unit_test(many_senders_one_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
