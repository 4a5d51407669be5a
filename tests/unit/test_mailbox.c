/* Letters between threads: nothing is lost, nothing is given twice, each sender's order is kept, and a sleeper is always woken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define SENDERS 4
#define LETTERS_EACH 20000

struct note {
    unsigned sender;
    unsigned number;
};

static void note_add(struct letters *l, unsigned sender, unsigned number) {
    *(struct note *) letters_add(l) = (struct note){sender, number};
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void letters_are_kept_in_order(void **state) {
    (void) state;
    struct mailbox box;
    struct letters from = {.letter_bytes = sizeof(struct note)}, to = {.letter_bytes = sizeof(struct note)};
    mailbox_init(&box, sizeof(struct note));
    assert_false(mailbox_take(&box, &to));
    assert_false(mailbox_post(&box, &from));
    for (unsigned i = 0; i < 1000; i++) {
        note_add(&from, 0, i);
        if (i % 7 == 0) {
            assert_int_equal(mailbox_post(&box, &from), i == 0); /* only the first finds it empty */
            assert_int_equal(from.count, 0);
        }
    }
    mailbox_post(&box, &from);
    assert_true(mailbox_take(&box, &to));
    assert_int_equal(to.count, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(((struct note *) letters_at(&to, i))->number, i);
    }
    letters_clear(&to);
    assert_false(mailbox_take(&box, &to));
    letters_fini(&from);
    letters_fini(&to);
    mailbox_fini(&box);
}

static void a_large_vector_is_given_back(void **state) {
    (void) state;
    struct letters l = {.letter_bytes = sizeof(struct note)};
    for (unsigned i = 0; i < 200000; i++) {
        note_add(&l, 0, i);
    }
    letters_clear(&l);
    assert_int_equal(l.cap, 0);
    note_add(&l, 0, 1);
    letters_clear(&l);
    assert_true(l.cap > 0);
    letters_fini(&l);
}

static void a_bell_is_remembered_once(void **state) {
    (void) state;
    struct bell bell;
    bell_init(&bell);
    bell_ring(&bell);
    bell_ring(&bell);
    int64_t begin = now_ms();
    bell_wait(&bell, 20000);
    assert_true(now_ms() - begin < 15000);
    begin = now_ms();
    bell_wait(&bell, 60);
    assert_true(now_ms() - begin >= 50);
    begin = now_ms();
    bell_wait(&bell, 0);
    bell_wait(&bell, -5);
    assert_true(now_ms() - begin < 15000);
    bell_fini(&bell);
}

struct desk {
    struct mailbox box;
    struct bell bell;
};

struct sender {
    struct desk *desk;
    unsigned number;
};

static void *sender_main(void *arg) {
    struct sender *s = arg;
    struct letters from = {.letter_bytes = sizeof(struct note)};
    for (unsigned i = 0; i < LETTERS_EACH; i++) {
        note_add(&from, s->number, i);
        if (i % (s->number + 1) == 0 || i + 1 == LETTERS_EACH) {
            if (mailbox_post(&s->desk->box, &from)) {
                bell_ring(&s->desk->bell);
            }
        }
        if (i % 500 == 0) {
            sched_yield();
        }
    }
    letters_fini(&from);
    return NULL;
}

/* Wakes are rung only when the box was empty: were one lost, the reader would sleep for its whole time. */
static void many_senders_one_reader(void **state) {
    (void) state;
    struct desk desk;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    unsigned next[SENDERS] = {0};
    struct letters to = {.letter_bytes = sizeof(struct note)};
    mailbox_init(&desk.box, sizeof(struct note));
    bell_init(&desk.bell);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&desk, i};
        assert_int_equal(pthread_create(&threads[i], NULL, sender_main, &senders[i]), 0);
    }
    size_t got = 0;
    while (got < SENDERS * LETTERS_EACH) {
        int64_t begin = now_ms();
        bell_wait(&desk.bell, 20000);
        assert_true(now_ms() - begin < 15000);
        while (mailbox_take(&desk.box, &to)) {
            for (size_t i = 0; i < to.count; i++) {
                const struct note *n = letters_at(&to, i);
                assert_true(n->sender < SENDERS);
                assert_int_equal(n->number, next[n->sender]++);
            }
            got += to.count;
            letters_clear(&to);
        }
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(next[i], LETTERS_EACH);
    }
    letters_fini(&to);
    bell_fini(&desk.bell);
    mailbox_fini(&desk.box);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_are_kept_in_order),
        cmocka_unit_test(a_large_vector_is_given_back),
        cmocka_unit_test(a_bell_is_remembered_once),
        cmocka_unit_test(many_senders_one_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
