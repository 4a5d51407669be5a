/* The state machine of a task: every pair of state and event, and what each move promises. */
#include "unit.h"

#include "base/json.h"
#include "domain/task.h"

#define T0 1700000000000ll

static struct moment moment_at(int64_t ms) {
    return (struct moment){.ms = ms, .wall_ms = ms};
}

static struct task make(const char *queue, unsigned max_attempts) {
    struct task t;
    struct task_new n = {.kind = STR("report"),
                         .queue = str_of(queue),
                         .metadata = STR("{\"a\": [1,  2]}"),
                         .lease_ms = 10000,
                         .deadline_ms = 3600000,
                         .backoff_ms = 1000,
                         .ttl_ms = 60000,
                         .cancel_unwatched_ms = -1,
                         .max_attempts = max_attempts};
    task_init(&t, (struct id){{1}}, (struct id){{2}}, &n, moment_at(T0));
    return t;
}

/* A task brought to a state by its own moves. */
static struct task make_in(enum task_state s) {
    struct task t = make("q", 3);
    if (s != TASK_QUEUED) {
        task_start(&t, -1, moment_at(T0));
    }
    switch (s) {
    case TASK_INPUT_REQUIRED: task_ask(&t, STR("Sure?"), STR_NONE, moment_at(T0)); break;
    case TASK_SUCCEEDED: task_succeed(&t, STR("1"), 100, moment_at(T0)); break;
    case TASK_FAILED: task_fail(&t, STR("x"), STR("y"), STR_NONE, moment_at(T0)); break;
    case TASK_CANCELLED: task_cancelled(&t, moment_at(T0)); break;
    default: break;
    }
    return t;
}

static void every_pair_of_state_and_event_is_as_the_contract_says(void **state) {
    (void) state;
    /* written out again here on purpose: a slip in the table must not agree with itself */
    static const char *const want[TASK_STATES] = {
        [TASK_QUEUED] = "running - - - - failed cancelled",
        [TASK_RUNNING] = "- input_required - queued succeeded failed cancelled",
        [TASK_INPUT_REQUIRED] = "- input_required running queued succeeded failed cancelled",
        [TASK_SUCCEEDED] = "- - - - - - -",
        [TASK_FAILED] = "- - - - - - -",
        [TASK_CANCELLED] = "- - - - - - -",
    };
    for (int s = 0; s < TASK_STATES; s++) {
        struct buf got = {0};
        for (int ev = 0; ev < TASK_EVENTS; ev++) {
            int next = task_next_state((enum task_state) s, (enum task_event) ev);
            buf_puts(&got, ev ? " " : "");
            buf_puts(&got, next < 0 ? "-" : task_state_name((enum task_state) next));
        }
        assert_string_equal(buf_z(&got), want[s]);
        buf_fini(&got);
    }
}

static void every_pair_of_state_and_report_is_taken_or_refused(void **state) {
    (void) state;
    for (int s = 0; s < TASK_STATES; s++) {
        for (int type = REPORT_PROGRESS; type <= REPORT_CANCELLED; type++) {
            struct task t = make_in((enum task_state) s);
            struct task_trial trial = task_trial_of(&t);
            struct report r = {.type = (enum report_type) type, .data = STR("x")};
            enum err want = s >= TASK_SUCCEEDED ? ERR_TASK_ENDED : s == TASK_QUEUED ? ERR_ATTEMPT_SUPERSEDED : ERR_NONE;
            assert_int_equal(task_try_report(&trial, &r), want);
            task_fini(&t);
        }
    }
}

static void the_first_report_starts_a_task_without_a_queue(void **state) {
    (void) state;
    struct task t = make(NULL, 1);
    struct task_trial trial = task_trial_of(&t);
    struct report r = {.type = REPORT_HEARTBEAT};
    assert_int_equal(task_try_report(&trial, &r), ERR_NONE);
    assert_int_equal(trial.state, TASK_RUNNING);
    task_fini(&t);
}

static void after_a_final_report_nothing_more_of_the_array_is_taken(void **state) {
    (void) state;
    struct task t = make_in(TASK_RUNNING);
    struct task_trial trial = task_trial_of(&t);
    struct report done = {.type = REPORT_SUCCEED, .result = STR("null")}, more = {.type = REPORT_HEARTBEAT};
    assert_int_equal(task_try_report(&trial, &done), ERR_NONE);
    assert_int_equal(task_try_report(&trial, &more), ERR_TASK_ENDED);
    task_fini(&t);
}

static void output_has_no_holes(void **state) {
    (void) state;
    struct task t = make_in(TASK_RUNNING);
    t.output_bytes = 100;
    t.output_base = 90;
    struct task_trial trial = task_trial_of(&t);
    struct report r = {.type = REPORT_OUTPUT, .data = STR("abc"), .has_offset = true, .offset = 11};
    assert_int_equal(task_try_report(&trial, &r), ERR_OUTPUT_GAP);
    r.offset = 10;
    assert_int_equal(task_try_report(&trial, &r), ERR_NONE);
    assert_int_equal(trial.output_offset, 13);
    r.offset = 8; /* overlaps what is there */
    assert_int_equal(task_try_report(&trial, &r), ERR_NONE);
    assert_int_equal(trial.output_offset, 13);
    task_fini(&t);
}

static void a_failed_attempt_is_tried_again_with_doubling_backoff(void **state) {
    (void) state;
    struct task t = make("q", 4);
    const struct str error[3] = {STR("disk-full"), STR("no room"), STR("[1]")};
    for (int i = 0; i < 3; i++) {
        task_start(&t, -1, moment_at(T0));
        task_heard(&t, T0);
        task_attempt_over(&t, ATTEMPT_FAILED, error, moment_at(T0));
        assert_int_equal(t.state, TASK_QUEUED);
        assert_int_equal(t.ready_at, T0 + (1000 << i));
    }
    task_start(&t, -1, moment_at(T0));
    task_attempt_over(&t, ATTEMPT_FAILED, error, moment_at(T0));
    assert_int_equal(t.state, TASK_FAILED);
    assert_string_equal(t.error_type, "disk-full");
    assert_string_equal(t.error_detail, "[1]");
    assert_int_equal(t.attempt, 4);
    task_fini(&t);
}

static void an_attempt_without_a_word_is_given_back_five_times(void **state) {
    (void) state;
    struct task t = make("q", 1);
    for (int i = 0; i < TASK_GIVEN_BACK_MAX; i++) {
        task_start(&t, -1, moment_at(T0));
        task_attempt_over(&t, ATTEMPT_LOST, NULL, moment_at(T0 + 10000));
        assert_int_equal(t.state, TASK_QUEUED);
        assert_int_equal(t.ready_at, T0); /* its place is kept */
    }
    task_start(&t, -1, moment_at(T0));
    task_attempt_over(&t, ATTEMPT_LOST, NULL, moment_at(T0 + 10000));
    assert_int_equal(t.state, TASK_FAILED);
    assert_string_equal(t.error_type, "worker-lost");
    task_fini(&t);
}

static void a_lost_attempt_ends_cancelled_where_that_was_asked(void **state) {
    (void) state;
    for (int how = ATTEMPT_FAILED; how <= ATTEMPT_RELEASED; how++) {
        const struct str error[3] = {STR("x"), STR("y"), STR_NONE};
        struct task t = make_in(TASK_RUNNING);
        task_cancel_request(&t, STR("stop"), moment_at(T0));
        assert_int_equal(t.state, TASK_RUNNING);
        task_attempt_over(&t, (enum attempt_end) how, error, moment_at(T0));
        assert_int_equal(t.state, TASK_CANCELLED);
        task_fini(&t);
    }
    struct task t = make_in(TASK_QUEUED);
    task_cancel_request(&t, STR_NONE, moment_at(T0));
    assert_int_equal(t.state, TASK_CANCELLED);
    task_fini(&t);
}

static void no_clock_of_the_attempt_runs_while_a_question_is_open(void **state) {
    (void) state;
    struct task t = make("q", 1);
    int64_t at;
    t.timeout_ms = 30000;
    task_start(&t, -1, moment_at(T0));
    task_ask(&t, STR("Sure?"), STR_NONE, moment_at(T0 + 4000));
    assert_int_equal(task_next_clock(&t, 30000, 0, &at), CLOCK_DEADLINE);
    task_answer(&t, STR("true"), moment_at(T0 + 600000));
    assert_int_equal(task_next_clock(&t, 30000, 0, &at), CLOCK_STALLED);
    assert_int_equal(task_lease_until(&t), T0 + 610000);
    assert_int_equal(t.timeout_at, T0 + 626000);
    task_fini(&t);
}

static void silence_shows_past_half_the_lease_and_ends_the_attempt_at_its_end(void **state) {
    (void) state;
    struct task t = make_in(TASK_RUNNING);
    int64_t at;
    assert_int_equal(task_next_clock(&t, 30000, 0, &at), CLOCK_STALLED);
    assert_int_equal(at, T0 + 5001);
    t.stalled = true;
    assert_int_equal(task_next_clock(&t, 30000, 0, &at), CLOCK_LEASE);
    assert_int_equal(at, T0 + 10000);
    assert_true(task_heard(&t, T0 + 6000));
    assert_false(task_heard(&t, T0 + 6000));
    assert_int_equal(task_lease_until(&t), T0 + 16000);
    task_fini(&t);
}

static void progress_keeps_what_is_left_out_and_clears_what_is_null(void **state) {
    (void) state;
    struct task t = make_in(TASK_RUNNING);
    struct report r = {.has_current = REPORT_SET, .current = 4, .has_total = REPORT_SET, .total = 10, .has_unit = REPORT_SET, .unit = STR("pages")};
    assert_true(task_progress(&t, &r, T0));
    assert_false(task_progress(&t, &r, T0)); /* nothing differs */
    struct report clear = {.has_total = REPORT_CLEAR};
    assert_true(task_progress(&t, &clear, T0));
    assert_true(t.progress.has_current && !t.progress.has_total);
    assert_string_equal(t.progress.unit, "pages");
    task_fini(&t);
}

static struct report phase(struct str name) {
    return (struct report){.has_phase = name.p ? REPORT_SET : REPORT_CLEAR, .phase = name};
}

/* What is shown of progress, but for ratio, rate and eta. */
static void assert_progress(const struct task *t, const char *want) {
    static const char *const members[] = {"phase", "current", "total", "unit", "message", "data"};
    struct buf out = {0}, got = {0};
    struct arena a = {0};
    struct json *root;
    struct json_error err;
    task_write(t, 0, false, &out);
    assert_int_equal(json_parse(&a, buf_view(&out), 16, &root, &err), 0);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        buf_printf(&got, "%s%.*s", i ? " " : "", STR_FMT(json_get(json_get(root, "progress"), members[i])->raw));
    }
    assert_string_equal(buf_z(&got), want);
    arena_fini(&a);
    buf_fini(&got);
    buf_fini(&out);
}

static void a_phase_that_differs_begins_anew(void **state) {
    (void) state;
    struct task t = make_in(TASK_RUNNING);
    struct report all = {.has_current = REPORT_SET,
                         .current = 4,
                         .has_total = REPORT_SET,
                         .total = 10,
                         .has_unit = REPORT_SET,
                         .unit = STR("pages"),
                         .has_message = REPORT_SET,
                         .message = STR("m"),
                         .has_data = REPORT_SET,
                         .progress_data = STR("{\"a\" : 1}")};
    struct report none = phase(STR_NONE), load = phase(STR("load")), save = phase(STR("save"));
    assert_false(task_progress(&t, &none, T0));
    assert_true(task_progress(&t, &all, T0));
    assert_null(task_phase_ending(&t, &load));
    assert_true(task_progress(&t, &load, T0)); /* none before */
    assert_progress(&t, "\"load\" null null null null null");
    assert_false(task_progress(&t, &load, T0));
    assert_true(task_progress(&t, &all, T0));
    assert_false(task_progress(&t, &load, T0)); /* the same again */
    assert_progress(&t, "\"load\" 4 10 \"pages\" \"m\" {\"a\" : 1}");
    assert_string_equal(task_phase_ending(&t, &save), "load");
    save.has_current = REPORT_SET, save.current = 4;
    save.has_data = REPORT_SET, save.progress_data = STR("[]");
    assert_true(task_progress(&t, &save, T0));
    assert_progress(&t, "\"save\" 4 null null null []");
    assert_string_equal(task_phase_ending(&t, &none), "save");
    assert_true(task_progress(&t, &none, T0));
    assert_progress(&t, "null null null null null null");
    assert_false(task_progress(&t, &none, T0));
    assert_null(task_phase_ending(&t, &load));
    task_fini(&t);
}

static void rate_and_eta_speak_of_the_phase(void **state) {
    (void) state;
    struct task t = make_in(TASK_RUNNING);
    struct report r = {.has_current = REPORT_SET, .has_total = REPORT_SET, .total = 100};
    for (int i = 1; i <= 50; i++) {
        r.current = i;
        task_progress(&t, &r, T0 + i * 1000);
    }
    assert_true(t.estimate.rate > 0.9 && t.estimate.rate < 1.1);
    r.has_phase = REPORT_SET, r.phase = STR("next"), r.current = 0;
    task_progress(&t, &r, T0 + 51000);
    assert_true(t.estimate.rate == 0);
    for (int i = 1; i <= 10; i++) {
        r.current = i * 10;
        task_progress(&t, &r, T0 + 51000 + i * 1000);
    }
    assert_true(t.estimate.rate > 9 && t.estimate.rate < 11);
    assert_int_equal(estimate_elapsed_ms(&t.estimate, T0 + 61000), 10000);
    task_ask(&t, STR("Sure?"), STR_NONE, moment_at(T0 + 61000));
    r.phase = STR("asked");
    task_progress(&t, &r, T0 + 62000);
    task_answer(&t, STR("1"), moment_at(T0 + 70000));
    assert_int_equal(estimate_elapsed_ms(&t.estimate, T0 + 71000), 1000); /* without the time that a person took */
    task_fini(&t);
}

static void a_new_attempt_has_neither_phase_nor_data(void **state) {
    (void) state;
    struct task t = make_in(TASK_RUNNING);
    struct report r = phase(STR("load"));
    r.has_data = REPORT_SET, r.progress_data = STR("1");
    task_progress(&t, &r, T0);
    task_heard(&t, T0);
    task_attempt_over(&t, ATTEMPT_LOST, NULL, moment_at(T0));
    assert_progress(&t, "\"load\" null null null null 1");
    task_start(&t, -1, moment_at(T0));
    assert_progress(&t, "null null null null null null");
    task_fini(&t);
}

static void the_final_report_of_an_older_body_is_read(void **state) {
    (void) state;
    struct task t = {0};
    struct str body = STR("{\"v\":1,\"final_hash\":\"00ff0000000000000000000000000000000000000000000000000000000000a1\","
                          "\"final_answer\":\"{}\",\"final_attempt\":7}");
    assert_int_equal(task_read_body(&t, body), 0);
    assert_int_equal(t.final_count, 1);
    assert_string_equal(task_final_of(&t, 7)->answer, "{}");
    assert_int_equal(task_final_of(&t, 7)->hash[1], 0xff);
    assert_int_equal(task_final_of(&t, 7)->hash[31], 0xa1);
    task_fini(&t);
}

static void final_reports_are_remembered_as_far_as_there_is_room(void **state) {
    (void) state;
    struct task t = {0};
    uint8_t hash[32] = {0};
    for (uint32_t i = 1; i <= TASK_FINALS_MAX + 2; i++) {
        task_keep_final(&t, i, hash, STR("{}"));
    }
    assert_int_equal(t.final_count, TASK_FINALS_MAX);
    assert_null(task_final_of(&t, 2));
    assert_non_null(task_final_of(&t, 3));
    char *large = malloc(TASK_FINALS_BYTES + 1);
    memset(large, ' ', TASK_FINALS_BYTES + 1);
    task_keep_final(&t, 200, hash, str_n(large, TASK_FINALS_BYTES - 4));
    assert_int_equal(t.final_count, 3);
    assert_non_null(task_final_of(&t, TASK_FINALS_MAX + 1));
    task_keep_final(&t, 201, hash, str_n(large, TASK_FINALS_BYTES + 1)); /* the newest in any case */
    assert_int_equal(t.final_count, 1);
    assert_non_null(task_final_of(&t, 201));
    free(large);
    task_fini(&t);
}

static void a_task_reads_back_as_it_was_written(void **state) {
    (void) state;
    for (int s = 0; s < TASK_STATES; s++) {
        struct task t = make_in((enum task_state) s), back = {0};
        struct report r = {.has_current = REPORT_SET,
                           .current = 1.5,
                           .has_total = REPORT_SET,
                           .total = 3,
                           .has_message = REPORT_SET,
                           .message = STR("a \"b\" \xc3\xa4\n"),
                           .has_phase = s % 3 ? REPORT_SET : REPORT_CLEAR,
                           .phase = STR("\"p\""),
                           .has_data = REPORT_SET,
                           .progress_data = STR("{\"a\\n\" :\t[1, 2.50]}")};
        struct report before = phase(STR("before"));
        task_progress(&t, &before, T0);
        task_progress(&t, &r, T0);
        t.version = 77;
        uint8_t hash[32];
        memset(hash, 0xa7, sizeof(hash));
        task_keep_final(&t, 1, hash, STR("{\"first\":1}"));
        memset(hash, 0x3c, sizeof(hash));
        task_keep_final(&t, 3, hash, STR("{\"third\":3}"));
        struct buf body = {0}, one = {0}, two = {0};
        task_write_body(&t, &body);
        back.id = t.id;
        back.session = t.session;
        back.state = t.state;
        back.version = t.version;
        assert_int_equal(task_read_body(&back, buf_view(&body)), 0);
        back.kind = strdup(t.kind);
        back.queue = strdup(t.queue);
        task_write(&t, 0, false, &one);
        task_write(&back, 0, false, &two);
        assert_string_equal(buf_z(&one), buf_z(&two));
        assert_int_equal(back.final_count, 2);
        assert_string_equal(task_final_of(&back, 1)->answer, "{\"first\":1}");
        assert_memory_equal(task_final_of(&back, 3)->hash, hash, 32);
        assert_null(task_final_of(&back, 2));
        assert_int_equal(t.output_base, back.output_base);
        assert_string_equal(t.progress.phase, back.progress.phase);
        buf_fini(&body);
        buf_fini(&one);
        buf_fini(&two);
        task_fini(&t);
        task_fini(&back);
    }
}

static void what_people_see_is_json_with_every_member(void **state) {
    (void) state;
    static const char *const members[] = {
        "id",      "session",    "kind",         "title",          "state",  "version",      "progress",   "cancel_requested", "cancel_reason",
        "stalled", "attempt",    "max_attempts", "on_session_end", "queue",  "created_at",   "started_at", "updated_at",       "ended_at",
        "seen_at", "expires_at", "output_bytes", "input_request",  "result", "result_bytes", "error",      "metadata"};
    struct task t = make_in(TASK_INPUT_REQUIRED);
    struct buf out = {0};
    struct arena a = {0};
    struct json *root;
    struct json_error err;
    task_write(&t, 0, false, &out);
    assert_int_equal(json_parse(&a, buf_view(&out), 16, &root, &err), 0);
    assert_int_equal(root->count, sizeof(members) / sizeof(members[0]));
    for (size_t i = 0; i < root->count; i++) {
        assert_non_null(json_get(root, members[i]));
    }
    assert_str(json_get(root, "metadata")->raw, "{\"a\": [1,  2]}"); /* exactly as received */
    assert_str(json_get(json_get(root, "input_request"), "id")->string, "q1");
    arena_fini(&a);
    buf_fini(&out);
    task_fini(&t);
}

#define AHEAD 3600000ll

static void dates_that_lie_ahead_are_put_back_and_durations_stay(void **state) {
    (void) state;
    struct task t = make("q", 3);
    task_start(&t, -1, (struct moment){.ms = T0, .wall_ms = T0 + AHEAD});
    task_succeed(&t, STR("1"), 100, (struct moment){.ms = T0 + 5, .wall_ms = T0 + 5 + AHEAD});
    assert_int_equal(t.expires_at, T0 + 5 + 60000);
    assert_true(task_put_back(&t, T0 + 10));
    assert_int_equal(t.created_at, T0);
    assert_int_equal(t.started_at, T0 + 10);
    assert_int_equal(t.started_at - t.started_apart, T0);
    assert_int_equal(t.ended_at, T0 + 10);
    assert_int_equal(t.expires_at, T0 + 5 + 60000);
    assert_false(task_put_back(&t, T0 + 10));
    task_fini(&t);
}

static void a_deadline_is_put_back_with_the_creation_that_it_counts_from(void **state) {
    (void) state;
    struct task t;
    int64_t at;
    struct task_new n = {.kind = STR("k"), .deadline_ms = 1000, .max_attempts = 1};
    task_init(&t, (struct id){{1}}, (struct id){{2}}, &n, (struct moment){.ms = T0, .wall_ms = T0 + AHEAD});
    assert_int_equal(task_next_clock(&t, 0, AHEAD, &at), CLOCK_DEADLINE);
    assert_int_equal(at, T0 + 1000);
    assert_true(task_put_back(&t, T0 + 10));
    assert_int_equal(task_next_clock(&t, 0, 0, &at), CLOCK_DEADLINE);
    assert_int_equal(at, T0 + 10 + 1000);
    task_fini(&t);
}

static void no_duration_begins_in_the_future(void **state) {
    (void) state;
    static const struct str error[3] = {{"x", 1}, {"y", 1}, STR_NONE};
    struct task t = make("q", 3);
    task_start(&t, -1, moment_at(T0));
    t.heard = true;
    task_attempt_over(&t, ATTEMPT_FAILED, error, moment_at(T0));
    task_bound(&t, T0 - AHEAD);
    assert_int_equal(t.ready_at, T0 - AHEAD + 1000); /* its backoff */
    assert_int_equal(t.created_at - t.created_apart, T0 - AHEAD);
    task_fini(&t);
}

static void not_before_of_an_older_body_is_read(void **state) {
    (void) state;
    struct task t = {0};
    assert_int_equal(task_read_body(&t, STR("{\"v\":1,\"created_at\":5,\"ready_at\":9}")), 0);
    assert_int_equal(t.ready_at, 5);
    assert_int_equal(t.not_before_at, 9);
    task_fini(&t);
    assert_int_equal(task_read_body(&t, STR("{\"v\":1,\"created_at\":5,\"ready_at\":9,\"attempts_used\":1}")), 0);
    assert_int_equal(t.ready_at, 9);
    assert_int_equal(t.not_before_at, 0);
    task_fini(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_state_and_event_is_as_the_contract_says),
        cmocka_unit_test(every_pair_of_state_and_report_is_taken_or_refused),
        cmocka_unit_test(the_first_report_starts_a_task_without_a_queue),
        cmocka_unit_test(after_a_final_report_nothing_more_of_the_array_is_taken),
        cmocka_unit_test(output_has_no_holes),
        cmocka_unit_test(a_failed_attempt_is_tried_again_with_doubling_backoff),
        cmocka_unit_test(an_attempt_without_a_word_is_given_back_five_times),
        cmocka_unit_test(a_lost_attempt_ends_cancelled_where_that_was_asked),
        cmocka_unit_test(no_clock_of_the_attempt_runs_while_a_question_is_open),
        cmocka_unit_test(silence_shows_past_half_the_lease_and_ends_the_attempt_at_its_end),
        cmocka_unit_test(progress_keeps_what_is_left_out_and_clears_what_is_null),
        cmocka_unit_test(a_phase_that_differs_begins_anew),
        cmocka_unit_test(rate_and_eta_speak_of_the_phase),
        cmocka_unit_test(a_new_attempt_has_neither_phase_nor_data),
        cmocka_unit_test(a_task_reads_back_as_it_was_written),
        cmocka_unit_test(the_final_report_of_an_older_body_is_read),
        cmocka_unit_test(final_reports_are_remembered_as_far_as_there_is_room),
        cmocka_unit_test(what_people_see_is_json_with_every_member),
        cmocka_unit_test(dates_that_lie_ahead_are_put_back_and_durations_stay),
        cmocka_unit_test(a_deadline_is_put_back_with_the_creation_that_it_counts_from),
        cmocka_unit_test(no_duration_begins_in_the_future),
        cmocka_unit_test(not_before_of_an_older_body_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
