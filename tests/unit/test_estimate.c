/* Rate and eta: exact where the pace is even, robust where it is not, null where there is no ground, and never absurd. */
#include "unit.h"

#include "domain/estimate.h"

#include <float.h>
#include <math.h>

#define T0 1700000000000ll

static double eta_of(struct estimate *e, const struct kind_durations *k, int64_t now_ms) {
    double eta = estimate_eta_s(e, k, now_ms);
    assert_true(isfinite(eta) && isfinite(e->rate) && e->rate >= 0);
    assert_true(eta == -1 || (eta >= 0 && eta < 1e9));
    return eta;
}

static void assert_near(double got, double want, double part) {
    if (!(fabs(got - want) <= part * want)) {
        fail_msg("%g is not within %g %% of %g", got, part * 100, want);
    }
}

static void begin(struct estimate *e, double total) {
    estimate_reset(e, T0);
    estimate_set_total(e, total);
}

/* Reports every 100 ms from `from` to `to` (seconds) so that `per_s` more are done each second. */
static double go_on(struct estimate *e, double current, double from, double to, double per_s) {
    for (int64_t ms = (int64_t) (from * 1000) + 100; ms <= (int64_t) (to * 1000); ms += 100) {
        current += per_s / 10;
        estimate_add(e, current, T0 + ms);
    }
    return current;
}

static void an_even_pace_is_told_exactly(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 1000);
    double current = 0;
    for (int s = 0; s < 90; s++) {
        current = go_on(&e, current, s, s + 1, 10);
        assert_near(e.rate, 10, 0.001);
        assert_near(eta_of(&e, NULL, T0 + (s + 1) * 1000), (1000 - current) / 10, 0.001);
    }
    estimate_add(&e, 1000, T0 + 91000);
    assert_true(eta_of(&e, NULL, T0 + 91000) == 0);
    estimate_add(&e, 1200, T0 + 92000);
    assert_true(eta_of(&e, NULL, T0 + 92000) == 0);
}

static void without_ground_there_is_none(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 100);
    assert_true(eta_of(&e, NULL, T0) < 0 && e.rate == 0);
    estimate_add(&e, 5, T0 + 5000);
    assert_true(eta_of(&e, NULL, T0 + 5000) < 0 && e.rate == 0); /* one report may tell where it goes on, not how fast it goes */
    estimate_add(&e, 10, T0 + 10000);
    assert_true(eta_of(&e, NULL, T0 + 10000) > 0 && e.rate > 0);

    begin(&e, 100);
    for (int i = 1; i < 50; i++) {
        estimate_add(&e, i, T0 + i * 10);
        assert_true(eta_of(&e, NULL, T0 + i * 10) < 0 && e.rate == 0); /* half a second says nothing */
    }
    begin(&e, 100);
    for (int i = 1; i < 50; i++) {
        estimate_add(&e, 0, T0 + i * 1000);
        assert_true(eta_of(&e, NULL, T0 + i * 1000) < 0 && e.rate == 0); /* nor do words without progress */
    }
    begin(&e, 0);
    go_on(&e, 0, 0, 20, 10);
    assert_true(eta_of(&e, NULL, T0 + 20000) < 0); /* no total, no end */
    assert_near(e.rate, 10, 0.001);
}

static void a_lasting_change_of_pace_is_followed(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 1000);
    double current = go_on(&e, 0, 0, 20, 20);
    current = go_on(&e, current, 20, 50, 5);
    assert_near(e.rate, 5, 0.1);
    double naive = 50 * (1000 - current) / current, truth = (1000 - current) / 5, eta = eta_of(&e, NULL, T0 + 50000);
    assert_true(eta > naive && eta < truth * 1.05);
    current = go_on(&e, current, 50, 110, 5);
    assert_near(eta_of(&e, NULL, T0 + 110000), (1000 - current) / 5, 0.25);
}

static void bursts_do_not_bend_it(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 2000);
    for (int burst = 1; burst <= 50; burst++) { /* twenty at once every two seconds */
        for (int i = 0; i < 20; i++) {
            estimate_add(&e, (burst - 1) * 20 + i + 1, T0 + burst * 2000 + i / 10);
        }
        if (burst >= 5) {
            assert_near(e.rate, 10, 0.1);
            assert_near(eta_of(&e, NULL, T0 + burst * 2000 + 1), (2000 - burst * 20) / 10.0, 0.1);
        }
    }
    double before = e.rate;
    estimate_add(&e, 1020, T0 + 102000);
    estimate_add(&e, 1120, T0 + 102050); /* a tenth of what was done, in no time: a step, not a speed */
    assert_true(e.rate < 2 * before);
}

static void a_silence_makes_it_longer(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 1000);
    go_on(&e, 0, 0, 20, 10);
    double last = eta_of(&e, NULL, T0 + 20000);
    for (int s = 25; s < 200; s += 25) {
        double eta = eta_of(&e, NULL, T0 + s * 1000);
        assert_true(eta > last);
        last = eta;
    }
    assert_true(eta_of(&e, NULL, T0 - 5) > 0); /* a time before the newest report counts as its time */
}

static void going_on_where_another_ended_is_no_speed(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 1000);
    estimate_add(&e, 600, T0 + 300);
    go_on(&e, 600, 0.3, 10, 10);
    assert_near(e.rate, 10, 0.02);
    assert_near(eta_of(&e, NULL, T0 + 10000), (1000 - 697) / 10.0, 0.05);
    assert_true(estimate_elapsed_ms(&e, T0 + 10000) < 0); /* and says nothing of how long its kind takes */
}

static void a_first_report_may_begin_the_attempt(void **state) {
    (void) state;
    struct estimate e;
    struct kind_durations k = {0};
    begin(&e, 100);
    for (int i = 0; i < 100; i++) {
        estimate_add(&e, i + 1, T0 + i * 100);
    }
    assert_int_equal(estimate_elapsed_ms(&e, T0 + 9900), 9900);
    assert_near(e.rate, 10, 0.02);
    kind_add_shape(&k, &e, T0 + 9900);
    assert_int_equal(k.shapes, 1);
}

static void after_a_restart_rate_stands_until_there_is_new_ground(void **state) {
    (void) state;
    struct estimate e = {.rate = 10};
    estimate_resume(&e, 500, T0);
    estimate_set_total(&e, 1000);
    assert_near(eta_of(&e, NULL, T0), 50, 0.001);
    estimate_add(&e, 502, T0 + 100);
    assert_true(e.rate == 10);
    assert_near(eta_of(&e, NULL, T0 + 100), 49.8, 0.001);
    go_on(&e, 502, 0.1, 5, 20);
    assert_near(e.rate, 20, 0.01);
    assert_near(eta_of(&e, NULL, T0 + 5000), 20, 0.02);
    assert_true(estimate_elapsed_ms(&e, T0 + 5000) < 0);
}

static void waiting_for_people_is_not_the_tasks_time(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 1000);
    double current = go_on(&e, 0, 0, 20, 10);
    estimate_pause(&e, T0 + 20000);
    estimate_pause(&e, T0 + 50000); /* another question while one is open */
    assert_int_equal(estimate_elapsed_ms(&e, T0 + 3600000), 20000);
    estimate_go(&e, T0 + 3620000);
    estimate_go(&e, T0 + 3630000);
    assert_int_equal(estimate_elapsed_ms(&e, T0 + 3620000), 20000);
    go_on(&e, current, 3620, 3630, 10);
    assert_near(e.rate, 10, 0.001);
    assert_near(eta_of(&e, NULL, T0 + 3630000), 70, 0.001);
}

static void a_small_step_back_is_a_correction_and_a_large_one_a_new_start(void **state) {
    (void) state;
    struct estimate e;
    begin(&e, 1000);
    go_on(&e, 0, 0, 20, 10);
    estimate_add(&e, 195, T0 + 20100);
    assert_near(eta_of(&e, NULL, T0 + 20100), 83, 0.2);
    estimate_add(&e, 10, T0 + 20200);
    assert_true(eta_of(&e, NULL, T0 + 20200) < 0 && e.rate == 0);
    go_on(&e, 10, 20.2, 30, 5);
    assert_near(e.rate, 5, 0.02);
}

/* A kind whose second half takes three times as long as its first. */
static void run_of_two_halves(struct estimate *e, struct kind_durations *k, double first_s, bool to_the_end) {
    begin(e, 200);
    double current = go_on(e, 0, 0, first_s, 100 / first_s);
    if (to_the_end) {
        go_on(e, current, first_s, 4 * first_s + 0.05, 100 / (3 * first_s));
        estimate_add(e, 200, T0 + (int64_t) (4000 * first_s));
        kind_add(k, (int64_t) (4000 * first_s));
        kind_add_shape(k, e, T0 + (int64_t) (4000 * first_s));
    }
}

static void how_a_kind_usually_goes_is_learned(void **state) {
    (void) state;
    struct estimate e;
    struct kind_durations k = {0};
    run_of_two_halves(&e, &k, 10, false);
    assert_near(eta_of(&e, &k, T0 + 10000), 10, 0.01); /* nobody could know */
    for (int i = 0; i < 5; i++) {
        run_of_two_halves(&e, &k, 4 + i, true);
    }
    assert_int_equal(k.shapes, 5);
    assert_true(kind_shape_valid(k.shape) && k.trust > 0.95);
    run_of_two_halves(&e, &k, 10, false);
    assert_near(eta_of(&e, &k, T0 + 10000), 30, 0.1);
    assert_near(e.rate, 10, 0.01); /* the speed is as it is */
}

static void a_kind_without_a_usual_way_changes_nothing(void **state) {
    (void) state;
    struct kind_durations k = {0};
    struct estimate e;
    for (int i = 0; i < 12; i++) { /* as often slow first as fast first */
        double early = i % 2 ? 20 : 100.0 / 15;
        begin(&e, 200);
        double half_s = 100 / early, current = go_on(&e, 0, 0, half_s, early);
        go_on(&e, current, half_s, 20, 100 / (20 - half_s));
        estimate_add(&e, 200, T0 + 20000);
        kind_add_shape(&k, &e, T0 + 20000);
    }
    assert_int_equal(k.shapes, 12);
    assert_true(k.trust < 0.2);
    begin(&e, 200);
    go_on(&e, 0, 0, 10, 10);
    assert_near(eta_of(&e, &k, T0 + 10000), 10, 0.05);
}

static void a_shape_is_learned_only_from_what_was_seen_whole(void **state) {
    (void) state;
    struct kind_durations k = {0};
    struct estimate e;
    begin(&e, 200); /* too few reports */
    estimate_add(&e, 100, T0 + 5000);
    estimate_add(&e, 200, T0 + 10000);
    kind_add_shape(&k, &e, T0 + 10000);
    begin(&e, 200); /* succeeded early */
    go_on(&e, 0, 0, 10, 10);
    kind_add_shape(&k, &e, T0 + 10000);
    begin(&e, 100); /* the total rose on the way */
    go_on(&e, 0, 0, 5, 10);
    estimate_set_total(&e, 200);
    go_on(&e, 50, 5, 20, 10);
    kind_add_shape(&k, &e, T0 + 20000);
    estimate_resume(&e, 0, T0); /* its start was not seen */
    estimate_set_total(&e, 200);
    go_on(&e, 0, 0, 20, 10);
    kind_add_shape(&k, &e, T0 + 20000);
    assert_int_equal(k.shapes, 0);
    begin(&e, 200);
    go_on(&e, 0, 0, 20.05, 10);
    kind_add_shape(&k, &e, T0 + 20000);
    assert_int_equal(k.shapes, 1);
    for (int i = 0; i < ESTIMATE_PARTS - 1; i++) {
        assert_near(k.shape[i], (i + 1) / 8.0, 0.01);
    }
    assert_true(k.trust == 0);
}

static void a_shape_from_storage_is_looked_at(void **state) {
    (void) state;
    const double good[] = {0.1, 0.1, 0.2, 0.3, 0.4, 0.9, 1}, falls[] = {0.1, 0.2, 0.3, 0.2, 0.5, 0.6, 0.7},
                 above[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.1}, none[] = {0, 0, 0, NAN, 1, 1, 1}, below[] = {-0.1, 0, 0, 0, 0, 0, 0};
    assert_true(kind_shape_valid(good));
    assert_false(kind_shape_valid(falls));
    assert_false(kind_shape_valid(above));
    assert_false(kind_shape_valid(none));
    assert_false(kind_shape_valid(below));
}

static void without_reports_the_median_of_those_that_took_longer_counts(void **state) {
    (void) state;
    struct kind_durations k = {0};
    kind_add(&k, 10000);
    kind_add(&k, 20000);
    assert_true(kind_eta_s(&k, 0) == -1); /* two are no ground */
    kind_add(&k, 30000);
    assert_near(kind_eta_s(&k, 0), 20, 0.001);
    assert_near(kind_eta_s(&k, 5000), 15, 0.001);
    assert_true(kind_eta_s(&k, 10000) == -1); /* only two took longer */
    kind_add(&k, 60000);
    assert_near(kind_eta_s(&k, 15000), 15, 0.001);
    for (int i = 0; i < KIND_DURATIONS; i++) { /* what is old is forgotten */
        kind_add(&k, 1000 + i);
    }
    assert_near(kind_eta_s(&k, 0), 1.016, 0.001);
    kind_add(&k, -5);
    kind_add(&k, INT64_MAX);
    assert_true(kind_eta_s(&k, 0) >= 0);
}

/* A number as nobody would report it. */
static double odd(uint64_t *seed) {
    static const double odds[] = {0, 1, -1, 1e-9, 0.5, 100, 1e6, 9007199254740991.0, 1e15, 1e300, -1e300, DBL_MAX, 5e-324};
    uint64_t r = unit_random(seed) >> 20;
    return r % 3 ? (double) (r % 1000) : odds[r / 3 % (sizeof(odds) / sizeof(odds[0]))];
}

static void whatever_comes_it_is_null_or_a_number_with_bounds(void **state) {
    (void) state;
    uint64_t seed = 7;
    struct kind_durations k = {0};
    for (int run = 0; run < 3000; run++) {
        struct estimate e;
        int64_t now = T0;
        begin(&e, odd(&seed));
        for (int i = 0; i < 100; i++) {
            uint64_t what = unit_random(&seed) >> 33;
            now += what % 5 ? (int64_t) (what % 2000) : what % 25 ? 0 : (int64_t) (what % 100000000);
            switch (what % 11) {
            case 0: estimate_set_total(&e, odd(&seed)); break;
            case 1: estimate_pause(&e, now); break;
            case 2: estimate_resume(&e, odd(&seed), now); break;
            case 3: estimate_go(&e, now); break;
            case 4: estimate_reset(&e, now); break;
            case 5: estimate_add(&e, odd(&seed), now); break;
            case 6: estimate_add(&e, e.current, now); break;
            default: estimate_add(&e, e.current + (double) (what % 17), now); break;
            }
            eta_of(&e, what % 3 ? &k : NULL, now);
        }
        kind_add(&k, estimate_elapsed_ms(&e, now));
        kind_add_shape(&k, &e, now);
        assert_true(k.shapes <= KIND_SHAPES && k.trust >= 0 && k.trust <= 1 && kind_shape_valid(k.shape));
        double eta = kind_eta_s(&k, (int64_t) (unit_random(&seed) % 1000000));
        assert_true(eta == -1 || (eta >= 0 && eta <= 4294968));
    }
}

static void it_is_never_far_from_what_the_whole_run_says(void **state) {
    (void) state;
    uint64_t seed = 99;
    for (int run = 0; run < 2000; run++) { /* rising by leaps and crawls, from the beginning */
        struct estimate e;
        double current = 0;
        int64_t ms = 0;
        begin(&e, 1e6);
        for (int i = 0; i < 60; i++) {
            uint64_t what = unit_random(&seed) >> 33;
            ms += 1 + (int64_t) (what % (what % 7 ? 300 : 30000));
            current += (double) (what % (what % 5 ? 100 : 20000));
            estimate_add(&e, current, T0 + ms);
            double eta = eta_of(&e, NULL, T0 + ms), naive = (double) ms / 1000 * (1e6 - current) / current;
            if (eta > 0 && e.whole) {
                assert_true(eta >= naive / 51 && eta <= naive * 51);
                assert_true(current > 2e5 || (eta >= naive * 0.99 && eta <= naive * 1.01)); /* early, they are the same */
            }
        }
    }
}

static void it_is_small(void **state) {
    (void) state;
    assert_true(sizeof(struct estimate) <= 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_even_pace_is_told_exactly),
        cmocka_unit_test(without_ground_there_is_none),
        cmocka_unit_test(a_lasting_change_of_pace_is_followed),
        cmocka_unit_test(bursts_do_not_bend_it),
        cmocka_unit_test(a_silence_makes_it_longer),
        cmocka_unit_test(going_on_where_another_ended_is_no_speed),
        cmocka_unit_test(a_first_report_may_begin_the_attempt),
        cmocka_unit_test(after_a_restart_rate_stands_until_there_is_new_ground),
        cmocka_unit_test(waiting_for_people_is_not_the_tasks_time),
        cmocka_unit_test(a_small_step_back_is_a_correction_and_a_large_one_a_new_start),
        cmocka_unit_test(how_a_kind_usually_goes_is_learned),
        cmocka_unit_test(a_kind_without_a_usual_way_changes_nothing),
        cmocka_unit_test(a_shape_is_learned_only_from_what_was_seen_whole),
        cmocka_unit_test(a_shape_from_storage_is_looked_at),
        cmocka_unit_test(without_reports_the_median_of_those_that_took_longer_counts),
        cmocka_unit_test(whatever_comes_it_is_null_or_a_number_with_bounds),
        cmocka_unit_test(it_is_never_far_from_what_the_whole_run_says),
        cmocka_unit_test(it_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
