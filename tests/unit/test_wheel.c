#include "unit.h"

#include "base/wheel.h"

/* The model: an array of deadlines, looked through each time. */
enum { TIMERS = 300 };

struct model {
    struct wheel wheel;
    struct timer timer[TIMERS];
    int64_t at_ms[TIMERS]; /* 0: not pending */
    int64_t now_ms, last_at_ms;
    unsigned fired;
    uint64_t seed;
    bool restless; /* timers arm others, and cancel some, when they fire */
};

static void on_timer(struct timer *t, int64_t now_ms, void *arg);

static int64_t draw_ahead(struct model *m) {
    uint64_t r = unit_random(&m->seed);
    unsigned bits = (unsigned) (r >> 58) % 44;
    return (int64_t) (unit_random(&m->seed) & (((uint64_t) 1 << bits) - 1)) - (r % 11 == 0 ? 5 : 0);
}

static void model_set(struct model *m, unsigned i, int64_t at_ms) {
    wheel_set(&m->wheel, &m->timer[i], at_ms, on_timer);
    m->at_ms[i] = at_ms > m->wheel.now_ms ? at_ms : m->wheel.now_ms + 1;
    assert_true(m->timer[i].at_ms == m->at_ms[i]);
}

static void model_cancel(struct model *m, unsigned i) {
    wheel_cancel(&m->wheel, &m->timer[i]);
    m->at_ms[i] = 0;
    assert_true(m->timer[i].at_ms == 0);
}

static int64_t model_first(const struct model *m) {
    int64_t first = INT64_MAX;
    for (unsigned i = 0; i < TIMERS; i++) {
        first = m->at_ms[i] && m->at_ms[i] < first ? m->at_ms[i] : first;
    }
    return first;
}

static void on_timer(struct timer *t, int64_t now_ms, void *arg) {
    struct model *m = arg;
    unsigned i = (unsigned) (t - m->timer);
    assert_true(m->at_ms[i] > 0 && m->at_ms[i] <= now_ms && now_ms == m->now_ms);
    assert_true(m->at_ms[i] >= m->last_at_ms); /* in order of time */
    assert_true(m->at_ms[i] == model_first(m));
    assert_true(t->at_ms == 0);
    m->last_at_ms = m->at_ms[i];
    m->at_ms[i] = 0;
    m->fired++;
    if (m->restless) {
        model_cancel(m, (unsigned) (unit_random(&m->seed) % TIMERS));
        if (unit_random(&m->seed) % 2) {
            model_set(m, (unsigned) (unit_random(&m->seed) % TIMERS), m->wheel.now_ms + draw_ahead(m));
        }
    }
}

static void model_check(const struct model *m) {
    uint64_t pending = 0;
    for (unsigned i = 0; i < TIMERS; i++) {
        pending += m->at_ms[i] != 0;
    }
    assert_true(m->wheel.pending == pending);
    int64_t first = model_first(m), next = wheel_next(&m->wheel);
    assert_true(next <= first);
    assert_true((first == INT64_MAX) == (next == INT64_MAX));
}

static void model_run(struct model *m, int64_t now_ms) {
    m->now_ms = now_ms;
    m->last_at_ms = 0;
    bool more;
    do {
        unsigned before = m->fired, max = 1 + (unsigned) (unit_random(&m->seed) % 5);
        more = wheel_run(&m->wheel, now_ms, max, m);
        assert_true(m->fired - before <= max);
        model_check(m);
    } while (more);
    assert_true(model_first(m) > now_ms);
    assert_true(m->wheel.now_ms == now_ms);
}

static void play(uint64_t seed, int64_t start_ms, bool restless) {
    struct model *m = calloc(1, sizeof(*m));
    m->seed = seed;
    m->restless = restless;
    wheel_init(&m->wheel, start_ms);
    m->now_ms = start_ms;
    model_check(m);
    for (int step = 0; step < 4000; step++) {
        unsigned i = (unsigned) (unit_random(&m->seed) % TIMERS);
        switch (unit_random(&m->seed) % 8) {
        case 0: model_cancel(m, i); break;
        case 1: {
            int64_t ahead = draw_ahead(m);
            model_run(m, m->now_ms + (ahead > 0 ? ahead >> 3 : 0));
            break;
        }
        case 2: { /* exactly to where the wheel asks for it */
            int64_t next = wheel_next(&m->wheel);
            model_run(m, next == INT64_MAX || next < m->now_ms ? m->now_ms : next);
            break;
        }
        default: model_set(m, i, m->now_ms + draw_ahead(m));
        }
        model_check(m);
    }
    assert_true(m->fired > 100);
    free(m);
}

static void it_fires_as_a_naive_model_does(void **state) {
    (void) state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        play(seed, seed % 3 ? 1767323045678 : 0, seed % 2);
    }
    play(99, ((int64_t) 1 << 41) - 3000, true); /* the top level comes round */
}

static void far_timers_wait_their_full_time(void **state) {
    (void) state;
    struct model *m = calloc(1, sizeof(*m));
    m->seed = 1;
    wheel_init(&m->wheel, 1000);
    int64_t far = (int64_t) 1 << 43;
    model_set(m, 0, far);
    model_set(m, 1, far + 1);
    model_set(m, 2, INT64_MAX - 1);
    model_run(m, far - 1);
    assert_int_equal(m->fired, 0);
    model_run(m, far);
    assert_int_equal(m->fired, 1);
    model_run(m, far + 1);
    assert_int_equal(m->fired, 2);
    free(m);
}

static void asking_for_the_next_costs_few_wakes(void **state) {
    (void) state;
    struct model *m = calloc(1, sizeof(*m));
    m->seed = 1;
    wheel_init(&m->wheel, 1767323045678);
    model_set(m, 0, 1767323045678 + 86400000);
    unsigned wakes = 0;
    while (m->fired == 0) {
        model_run(m, wheel_next(&m->wheel));
        wakes++;
    }
    assert_in_range(wakes, 1, 5);
    for (int i = 0; i < 1000; i++) { /* cancelled timers leave nothing to wake for */
        model_set(m, 1, m->now_ms + i);
        model_cancel(m, 1);
    }
    assert_true(wheel_next(&m->wheel) == INT64_MAX);
    model_set(m, 1, m->now_ms + 200);
    assert_true(wheel_next(&m->wheel) > m->now_ms);
    free(m);
}

static void again(struct timer *t, int64_t now_ms, void *arg) {
    struct model *m = arg;
    m->fired++;
    wheel_set(&m->wheel, t, now_ms, again);
}

static void a_timer_that_rearms_for_now_does_not_hold_the_wheel(void **state) {
    (void) state;
    struct model *m = calloc(1, sizeof(*m));
    wheel_init(&m->wheel, 100);
    wheel_set(&m->wheel, &m->timer[0], 0, again);
    assert_true(m->timer[0].at_ms == 101);
    assert_false(wheel_run(&m->wheel, 500, 1000, m));
    assert_int_equal(m->fired, 2);                    /* at 101, and at 500 */
    assert_false(wheel_run(&m->wheel, 400, 1000, m)); /* a clock that steps back fires nothing */
    assert_int_equal(m->fired, 2);
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_fires_as_a_naive_model_does),
        cmocka_unit_test(far_timers_wait_their_full_time),
        cmocka_unit_test(asking_for_the_next_costs_few_wakes),
        cmocka_unit_test(a_timer_that_rearms_for_now_does_not_hold_the_wheel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
