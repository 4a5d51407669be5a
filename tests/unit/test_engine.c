/* The engine with the store in memory, step by step: what has to happen in just this order. */
#include "unit.h"

#include "base/mem.h"
#include "engine/channel.h"
#include "engine/clocks.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/queue.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "tests/store/memory.h"

#define LOOPS 1
#define BEGIN_MS 1900000000000

static struct world {
    struct options options;
    struct keyring keys;
    struct store *store;
    struct engine *engine;
    int64_t now_ms, apart_ms; /* the wall clock is ahead by that much */
    uint64_t random;
    unsigned batches, queries; /* handed back */
    bool unreadable;           /* look-ups fail */
    struct cmd *answered;      /* the last that came back */
    struct {
        const struct cmd *cmd;
        bool good;
    } came[8]; /* what came back, in its order */
    unsigned came_count;
    struct buf told;         /* what went to feeds: "NUMBER:state 3, " and so on */
    struct store_query *own; /* the test's, not the engine's */
} w;

static void note_mail(const struct message *m) {
    static const char *const kinds[] = {[FRAME_STATE] = "state", [FRAME_GONE] = "gone", [FRAME_LOG] = "output"};
    static const char *const cuts[] = {
        [DISCONNECT_FINISHED] = "finished", [DISCONNECT_AT_ONCE] = "at once", [DISCONNECT_DEAD] = "dead", [DISCONNECT_AWAY] = "away"};
    unsigned long long channel = m->channel;
    if (m->type == MESSAGE_FRAME) {
        buf_printf(&w.told, "%llu:%s %llu, ", channel, kinds[m->frame->kind], (unsigned long long) m->frame->seq);
    } else if (m->type == MESSAGE_SYNCED) {
        buf_printf(&w.told, "%llu:synced %llu, ", channel, (unsigned long long) m->pos);
    } else if (m->type == MESSAGE_DISCONNECT) {
        buf_printf(&w.told, "%llu:%s, ", channel, cuts[m->disconnect->how]);
    }
}

static void on_mail(void *arg, unsigned loop, struct message m) {
    (void) arg, (void) loop;
    note_mail(&m);
    message_discard(&m);
    if (m.type == MESSAGE_ANSWER) {
        cmd_free(w.answered);
        w.answered = m.cmd;
        w.came[w.came_count % 8].cmd = m.cmd;
        w.came[w.came_count++ % 8].good = m.cmd->answer.type != ANSWER_PROBLEM;
    } else if (m.type == MESSAGE_ABANDONED) {
        cmd_free(m.cmd);
    }
}

static void random_bytes(void *arg, void *out, size_t len) {
    (void) arg;
    for (size_t i = 0; i < len; i++) {
        ((unsigned char *) out)[i] = (unsigned char) (unit_random(&w.random) >> 32);
    }
}

static void batch_done(void *arg, struct store_batch *b) {
    (void) arg;
    w.batches++;
    engine_batch_done(w.engine, b);
}

static void query_done(void *arg, struct store_query *q) {
    (void) arg;
    if (q == w.own) {
        return;
    }
    w.queries++;
    q->result = w.unreadable ? STORE_FAILED : q->result;
    engine_query_done(w.engine, q);
}

static struct moment now(void) {
    return (struct moment){.ms = w.now_ms, .wall_ms = w.now_ms + w.apart_ms};
}

static void run(void) {
    engine_at(w.engine, now());
    engine_run(w.engine, now());
}

static void settle(void) {
    run();
    for (uint32_t dice = 1; memory_store_step(w.store, dice); dice = dice * 1664525 + 1013904223) {
        run();
    }
}

static void engine_begin(void) {
    static struct engine_config config;
    config = (struct engine_config){&w.options, &w.keys, LOOPS, on_mail, NULL, random_bytes, NULL};
    w.engine = engine_create(&config, now());
    engine_start(w.engine, w.store);
    settle();
    assert_true(engine_ready(w.engine));
}

static int setup(void **state) {
    (void) state;
    struct options_sources from;
    struct buf err = {0};
    char *none[] = {NULL}, why[160];
    memset(&w, 0, sizeof(w));
    w.random = 88172645463325252u;
    w.now_ms = BEGIN_MS;
    assert_int_equal(options_load(&w.options, &from, 0, none, none, &err), 0);
    assert_int_equal(keyring_read(&w.keys, STR("a secret of the tests that is long enough\n"), why), 0);
    w.store = memory_store_create((struct store_sink){batch_done, query_done, NULL});
    engine_begin();
    return 0;
}

static int teardown(void **state) {
    (void) state;
    settle();
    engine_destroy(w.engine);
    store_destroy(w.store);
    cmd_free(w.answered);
    buf_fini(&w.told);
    options_fini(&w.options);
    return 0;
}

static struct cmd *by_key(enum cmd_type type) {
    struct cmd *c = cmd_create(type, 0);
    c->cred.kind = CRED_KEY;
    c->cred.roles = ~0u;
    c->cred.name = STR("key");
    return c;
}

static void submit(struct cmd *c) {
    engine_at(w.engine, now());
    engine_submit(w.engine, c);
}

static struct id task_made(const char *session_key, struct str queue) {
    struct cmd *c = by_key(CMD_TASK_CREATE);
    c->ref.key = str_of(session_key);
    c->task_new = (struct task_new){.kind = STR("k"),
                                    .queue = queue,
                                    .metadata = STR("{}"),
                                    .lease_ms = 60000,
                                    .deadline_ms = 86400000,
                                    .ttl_ms = 3600000,
                                    .cancel_unwatched_ms = -1,
                                    .max_attempts = 1};
    submit(c);
    settle();
    assert_ptr_equal(w.answered, c);
    assert_int_equal(c->answer.status, 202);
    struct id newest = {0};
    for (struct task_entry *t = w.engine->tasks; t; t = t->hh.next) {
        newest = id_cmp(t->t.id, newest) > 0 ? t->t.id : newest;
    }
    return newest;
}

static struct report *succeed(struct cmd *c) {
    struct report *r = arena_alloc(&c->arena, sizeof(*r));
    *r = (struct report){.type = REPORT_SUCCEED, .result = STR("1")};
    return r;
}

static struct cmd *two_lines(struct id task) {
    struct cmd *c = by_key(CMD_REPORT_LINES);
    c->line_cred = c->cred;
    c->lines_of_many = true;
    c->lines = arena_alloc(&c->arena, 2 * sizeof(*c->lines));
    c->line_count = 2;
    c->lines[0] = (struct report_line){.task = task, .report = succeed(c)};
    c->lines[1] = (struct report_line){.task = {{9, 9}}, .report = succeed(c)};
    return c;
}

/* A line is applied, the next has to wait for the store, and meanwhile the batch with the first one fails: nobody may be told that it counts. */
static void test_line_lost_while_next_is_parked(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE);
    struct cmd *c = two_lines(task);
    memory_store_fail_next(w.store, STORE_FAILED);
    submit(c);
    run();
    unsigned batches = w.batches, queries = w.queries;
    while (w.batches == batches) { /* the batch comes back before the look-up of the second line's task */
        assert_true(memory_store_step(w.store, 1));
        assert_int_equal(w.queries, queries);
    }
    settle();
    assert_ptr_equal(w.answered, c);
    struct task_entry *t = task_resident(w.engine, task);
    assert_non_null(t);
    assert_false(task_is_ended(&t->t));
    assert_int_equal(c->answer.type, ANSWER_PROBLEM);
    assert_int_equal(c->answer.problem.err, ERR_UNAVAILABLE);
}

/* What a line has done is durable, the next cannot be looked up: that refuses the next one only. */
static void check_first_counts(struct cmd *c, struct id task) {
    assert_ptr_equal(w.answered, c);
    assert_true(task_is_ended(&task_resident(w.engine, task)->t));
    assert_int_equal(c->answer.type, ANSWER_JSON);
    assert_int_equal(c->line_count, 2);
    assert_non_null(strstr(buf_z(&c->answer.body), "\"succeeded\""));
    assert_non_null(strstr(buf_z(&c->answer.body), "unavailable"));
}

static void test_line_cannot_be_looked_up(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE);
    struct cmd *c = two_lines(task);
    submit(c);
    run();
    w.unreadable = true;
    settle();
    w.unreadable = false;
    check_first_counts(c, task);
}

static void test_line_waits_when_the_store_dies(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE), other = task_made("b", STR_NONE);
    struct cmd *c = two_lines(task), *d;
    submit(c);
    run();
    unsigned batches = w.batches;
    assert_true(memory_store_step(w.store, 1)); /* the first line is durable */
    assert_int_equal(w.batches, batches + 1);
    memory_store_fail_next(w.store, STORE_DEAD);
    d = by_key(CMD_TASK_REPORT);
    d->task = other;
    d->reports = succeed(d);
    d->report_count = 1;
    submit(d);
    run();
    assert_true(memory_store_step(w.store, 1));
    assert_int_equal(w.batches, batches + 2);
    assert_ptr_equal(w.answered, d);
    assert_int_equal(d->answer.problem.err, ERR_UNAVAILABLE);
    settle();
    assert_ptr_equal(w.answered, c);
    assert_int_equal(c->answer.type, ANSWER_PROBLEM); /* which batch failed is not known any more: the first line counts, and may be said again */
    assert_non_null(strstr(c->answer.problem.detail.p, "the outcome is unknown"));
}

/* ---- change sets ---- */

static struct cmd *ended(struct id task) {
    struct cmd *c = by_key(CMD_TASK_REPORT);
    c->task = task;
    c->reports = succeed(c);
    c->report_count = 1;
    submit(c);
    return c;
}

/* Whether what it was answered with was no problem. */
static bool was_good(const struct cmd *c) {
    for (unsigned i = 0; i < w.came_count && i < 8; i++) {
        if (w.came[i].cmd == c) {
            return w.came[i].good;
        }
    }
    fail_msg("it has not been answered");
    return false;
}

static bool has_ended(struct id task) {
    const struct task_entry *t = task_resident(w.engine, task);
    assert_non_null(t);
    return task_is_ended(&t->t);
}

/*
 * Two sessions change in one batch; while that is with the store both change again, and a third one does. Some sets fail as the dice fall: what was built on one
 * that failed fails with it, all else counts. 1: the first session's failed; 2: the second one's.
 */
static unsigned sessions_in_one_batch(uint32_t dice) {
    struct id a[2] = {task_made("a", STR_NONE), task_made("a", STR_NONE)}, b[2] = {task_made("b", STR_NONE), task_made("b", STR_NONE)};
    struct id other = task_made("c", STR_NONE);
    w.came_count = 0;
    const struct cmd *first[2] = {ended(a[0]), ended(b[0])};
    memory_store_fail_sets(w.store, dice);
    run();
    const struct cmd *second[2] = {ended(a[1]), ended(b[1])}, *third = ended(other);
    settle();
    assert_int_equal(w.came_count, 5);
    assert_int_equal(was_good(second[0]), was_good(first[0]));
    assert_int_equal(was_good(second[1]), was_good(first[1]));
    assert_true(was_good(third) && has_ended(other));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(has_ended(a[i]), was_good(first[0]));
        assert_int_equal(has_ended(b[i]), was_good(first[1]));
    }
    return (was_good(first[0]) ? 0 : 1) + (was_good(first[1]) ? 0 : 2);
}

static void test_a_set_that_fails_takes_what_was_built_on_it_and_nothing_else(void **state) {
    (void) state;
    unsigned outcomes[4] = {0};
    for (uint32_t dice = 1; dice <= 40; dice++) {
        outcomes[sessions_in_one_batch(dice * 40503)]++;
    }
    assert_true(outcomes[0] && outcomes[1] && outcomes[2] && outcomes[3]);
}

static struct cmd *claim(struct str queue) {
    struct cmd *c = by_key(CMD_QUEUE_CLAIM);
    c->queue = queue;
    c->max = 2;
    c->lease_ms = -1;
    c->wait_ms = CMD_NO_WAIT;
    submit(c);
    return c;
}

/* What one step changes in two sessions is kept or lost together. */
static void test_what_a_claim_takes_from_two_sessions_is_one_set(void **state) {
    (void) state;
    unsigned good = 0, rounds = 40;
    for (uint32_t dice = 1; dice <= rounds; dice++) {
        struct id tasks[] = {task_made("a", STR("q")), task_made("b", STR("q")), task_made("c", STR_NONE)};
        w.came_count = 0;
        const struct cmd *c = claim(STR("q")), *d = ended(tasks[2]);
        memory_store_fail_sets(w.store, dice * 40503);
        settle();
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(task_resident(w.engine, tasks[i])->t.state, was_good(c) ? TASK_RUNNING : TASK_QUEUED);
        }
        assert_int_equal(has_ended(tasks[2]), was_good(d));
        good += was_good(c);
        if (!was_good(c)) {
            claim(STR("q"));
            settle();
        }
    }
    assert_true(good > 0 && good < rounds);
}

static struct session_entry *session_of(struct id task) {
    const struct task_entry *t = task_resident(w.engine, task);
    assert_non_null(t);
    return t->s;
}

/* A session is loaded again while the batch that no longer has a part for it is with the store: what becomes of that is nothing to it. */
static void test_a_session_is_thrown_away_once_for_one_failure(void **state) {
    (void) state;
    struct id a[3] = {task_made("a", STR_NONE), task_made("a", STR_NONE), task_made("a", STR_NONE)}, other = task_made("c", STR_NONE);
    unsigned batches = w.batches;
    ended(a[0]);
    memory_store_fail_next(w.store, STORE_FAILED);
    run();
    ended(a[1]); /* built on it */
    ended(other);
    assert_true(memory_store_step(w.store, 1));
    assert_int_equal(w.batches, batches + 1);
    run(); /* the next batch goes, and the session is asked for */
    memory_store_fail_next(w.store, STORE_FAILED);
    while (!task_resident(w.engine, a[2])) {
        assert_true(memory_store_step(w.store, 0));
        run();
    }
    const struct session_entry *s = session_of(a[2]);
    assert_int_equal(w.batches, batches + 1);
    assert_true(memory_store_step(w.store, 1));
    assert_int_equal(w.batches, batches + 2);
    assert_ptr_equal(session_of(a[2]), s);
    settle();
    assert_false(has_ended(a[0]) || has_ended(a[1]) || has_ended(other));
}

/* Tasks end in it again and again, faster than the sweep's turns come. */
static void test_over_quota_while_tasks_end(void **state) {
    (void) state;
    w.options.max_tasks_per_session = 20;
    unsigned most = 0;
    for (unsigned i = 0; i < 500; i++) {
        struct id task = task_made("a", STR_NONE);
        struct cmd *c = by_key(CMD_TASK_REPORT);
        c->task = task;
        c->reports = succeed(c);
        c->report_count = 1;
        submit(c);
        settle();
        assert_int_equal(c->answer.status, 200);
        w.now_ms += 3;
        struct session_entry *s = w.engine->sessions;
        most = s->ended > most ? s->ended : most;
    }
    assert_in_range(most, 20, 40);
}

/* A worker that has only sent a heartbeat has been heard of, also after a restart: its attempt counts. */
static void test_heartbeat_counts_after_restart(void **state) {
    (void) state;
    struct id task = task_made("a", STR("q"));
    struct cmd *c = by_key(CMD_QUEUE_CLAIM);
    c->queue = STR("q");
    c->max = 1;
    submit(c);
    settle();
    assert_int_equal(c->answer.status, 200);
    w.now_ms += 1000;
    c = by_key(CMD_TASK_REPORT);
    c->cred = (struct cred){.kind = CRED_WORKER, .id = task, .gen = 1};
    c->task = task;
    c->reports = arena_alloc(&c->arena, sizeof(*c->reports));
    *c->reports = (struct report){.type = REPORT_HEARTBEAT};
    c->report_count = 1;
    submit(c);
    settle();
    assert_int_equal(c->answer.status, 200);
    w.now_ms += 1000;
    settle();
    engine_stop(w.engine);
    settle();
    assert_true(engine_stopped(w.engine));
    engine_destroy(w.engine);
    engine_begin();
    w.now_ms += 61000; /* longer than its lease */
    settle();
    struct task_entry *t = task_resident(w.engine, task);
    assert_non_null(t);
    assert_int_equal(t->t.state, TASK_FAILED);
}

static void put_out(struct id task, const char *text) {
    struct cmd *c = by_key(CMD_TASK_REPORT);
    c->task = task;
    c->reports = arena_alloc(&c->arena, sizeof(*c->reports));
    *c->reports = (struct report){.type = REPORT_OUTPUT, .data = str_of(text)};
    c->report_count = 1;
    submit(c);
    settle();
    assert_int_equal(c->answer.status, 200);
}

/* On feeds without output it shows once a second; a stop before that second is over does not keep it from being shown. */
static void test_output_is_shown_after_a_restart(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE);
    put_out(task, "one");
    put_out(task, "two");
    assert_true(task_resident(w.engine, task)->output_unshown);
    engine_stop(w.engine);
    settle();
    assert_true(engine_stopped(w.engine));
    engine_destroy(w.engine);
    engine_begin();
    w.now_ms += 1000;
    settle();
    const struct task_entry *t = task_resident(w.engine, task);
    assert_true(t->t.version > t->t.output_seq);
    assert_false(t->output_unshown);
}

/* ---- feeds ---- */

static struct session_entry *the_session(void) {
    assert_int_equal(HASH_COUNT(w.engine->sessions), 1);
    return w.engine->sessions;
}

static struct cmd *watch_of(struct id session) {
    struct cmd *c = by_key(CMD_WATCH);
    c->watch.target = WATCH_SESSION;
    c->session = session;
    return c;
}

static void watch(void) {
    submit(watch_of(the_session()->s.id));
}

static void delete_task(struct id task) {
    struct cmd *c = by_key(CMD_TASK_DELETE);
    c->task = task;
    submit(c);
}

static void end_session(void) {
    struct cmd *c = by_key(CMD_SESSION_END);
    c->session = the_session()->s.id;
    submit(c);
}

static void end_task(struct id task) {
    struct cmd *c = by_key(CMD_TASK_REPORT);
    c->task = task;
    c->reports = succeed(c);
    c->report_count = 1;
    submit(c);
}

static void expect_told(const char *text) {
    assert_string_equal(buf_z(&w.told), text);
    buf_clear(&w.told);
}

/* Its loop may have a state of what is gone, and will never be told: nobody new may be shown that. */
static void test_what_was_forgotten_is_watched_anew(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE);
    task_made("a", STR_NONE);
    end_task(task);
    settle();
    w.options.max_gone_per_session = 0;
    watch();
    delete_task(task); /* before the channel has been sent anything */
    watch();
    settle();
    expect_told("1:away, 2:state 2, 2:synced 4, ");
    watch();
    settle();
    expect_told("2:synced 4, ");
    end_task(task_made("a", STR_NONE));
    settle();
    expect_told("2:state 5, 2:state 6, ");
}

/* Who has just come is sent all that stood, then the end, and nothing that comes later. */
static void test_end_of_a_session_is_told_behind_its_states(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE);
    watch();
    end_session();
    settle();
    expect_told("1:state 1, 1:synced 1, 1:finished, ");
    end_task(task);
    settle();
    expect_told("");
}

/* The batch with a session's end fails: it goes on, and so do those who watch it, with their cursors. */
static void test_lost_end_of_a_session(void **state) {
    (void) state;
    task_made("a", STR_NONE);
    watch();
    settle();
    expect_told("1:state 1, 1:synced 1, ");
    memory_store_fail_next(w.store, STORE_FAILED);
    end_session();
    settle();
    assert_int_equal(w.answered->answer.problem.err, ERR_UNAVAILABLE);
    expect_told("1:away, ");
    watch();
    settle();
    assert_non_null(strstr(buf_z(&w.told), "2:synced "));
    buf_clear(&w.told);
}

/* ---- phases ---- */

static void reported(struct id task, struct report r) {
    struct cmd *c = by_key(CMD_TASK_REPORT);
    c->task = task;
    c->reports = arena_alloc(&c->arena, sizeof(*c->reports));
    *c->reports = r;
    c->report_count = 1;
    submit(c);
    settle();
    assert_int_equal(c->answer.status, 200);
}

static void goes_on_to(struct id task, const char *phase) {
    reported(task, (struct report){.type = REPORT_PROGRESS, .has_phase = phase ? REPORT_SET : REPORT_CLEAR, .phase = str_of(phase)});
}

static double eta_of(struct id task) {
    struct task_entry *t = task_resident(w.engine, task);
    task_estimate(w.engine, t);
    return t->t.eta_s;
}

static void start_again(void) {
    engine_stop(w.engine);
    settle();
    assert_true(engine_stopped(w.engine));
    engine_destroy(w.engine);
    engine_begin();
}

/* Three tasks load for 10 s and save for 30 s. */
static void learn_two_phases(void) {
    for (int i = 0; i < 3; i++) {
        struct id task = task_made("a", STR_NONE);
        goes_on_to(task, "load");
        w.now_ms += 10000;
        goes_on_to(task, "save");
        w.now_ms += 30000;
        reported(task, (struct report){.type = REPORT_SUCCEED, .result = STR("1")});
    }
}

static void check_two_phases(void) {
    struct id task = task_made("a", STR_NONE);
    assert_true(eta_of(task) < 0);
    reported(task, (struct report){.type = REPORT_HEARTBEAT});
    assert_true(eta_of(task) == 40); /* none yet: the whole */
    w.now_ms += 1000;
    goes_on_to(task, "load");
    assert_true(eta_of(task) == 10);
    w.now_ms += 4000;
    reported(task, (struct report){.type = REPORT_PROGRESS, .has_message = REPORT_SET, .message = STR("m")});
    assert_true(eta_of(task) == 6);
    goes_on_to(task, "save");
    assert_true(eta_of(task) == 30);
    goes_on_to(task, "never seen");
    assert_true(eta_of(task) < 0);
    goes_on_to(task, NULL); /* what is left of the whole is not known any more */
    assert_true(eta_of(task) < 0);
    reported(task, (struct report){.type = REPORT_FAIL, .error_type = STR("x")});
}

static void test_phases_have_times_of_their_own(void **state) {
    (void) state;
    learn_two_phases();
    check_two_phases();
    start_again();
    check_two_phases();
}

/* A worker that names each of its files a phase fills neither the memory nor the store. */
static void test_few_phases_of_a_kind_are_kept(void **state) {
    (void) state;
    learn_two_phases();
    struct id task = task_made("a", STR_NONE);
    for (int i = 0; i < 1000; i++) {
        char name[20];
        snprintf(name, sizeof(name), "file %d", i);
        goes_on_to(task, name);
        w.now_ms += 1000;
    }
    assert_int_equal(w.engine->kinds->phase_count, ENGINE_PHASES);
    start_again();
    assert_int_equal(w.engine->kinds->phase_count, ENGINE_PHASES);
    assert_string_equal(TAILQ_FIRST(&w.engine->kinds->phases)->phase, "file 998"); /* the last one has not ended */
    assert_string_equal(TAILQ_LAST(&w.engine->kinds->phases, learned_list)->phase, "file 967");
    struct store_query q = {.type = STORE_START};
    w.own = &q;
    store_query(w.store, &q);
    settle();
    assert_int_equal(q.answer.start.kind_count, ENGINE_PHASES + 1);
    arena_fini(&q.arena);
}

/* Phase and data come back with the rest of the progress, from their row and from the task's. */
static void test_phase_and_data_after_restart(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE);
    goes_on_to(task, "load");
    for (int lasting = 0; lasting < 2; lasting++) {
        reported(task, (struct report){.type = REPORT_PROGRESS, .has_data = REPORT_SET, .progress_data = lasting ? STR("[ 1]") : STR("{\"a\": 0}")});
        if (lasting) {
            reported(task, (struct report){.type = REPORT_INPUT_REQUEST, .prompt = STR("?")});
        }
        w.now_ms += 1000;
        settle();
        start_again();
        struct task_entry *t = task_resident(w.engine, task);
        assert_non_null(t);
        assert_string_equal(t->t.progress.phase, "load");
        assert_string_equal(t->t.progress.data, lasting ? "[ 1]" : "{\"a\": 0}");
    }
}

/* ---- clocks ---- */

#define HOURS 3600000ll

static struct cmd *with_jwt(enum cmd_type type, int64_t iat_s) {
    struct cmd *c = cmd_create(type, 0);
    c->cred = (struct cred){.kind = CRED_JWT, .sid = STR("sid"), .iat_s = iat_s};
    c->wait_ms = CMD_NO_WAIT;
    submit(c);
    settle();
    assert_ptr_equal(w.answered, c);
    return c;
}

/* The clock was ahead when the session was logged out of. It is put right, and the first batch that says so to the store is lost. */
static void test_log_out_is_put_back_though_a_batch_fails(void **state) {
    (void) state;
    w.apart_ms = 3 * HOURS;
    run();
    int64_t ahead_s = now().wall_ms / 1000;
    assert_int_equal(with_jwt(CMD_SESSION_GET, ahead_s)->answer.status, 200);
    assert_int_equal(with_jwt(CMD_SESSION_END, ahead_s)->answer.status, 200);
    assert_int_equal(with_jwt(CMD_SESSION_GET, ahead_s)->answer.problem.err, ERR_SESSION_ENDED);
    w.apart_ms = 0;
    memory_store_fail_next(w.store, STORE_FAILED);
    settle();
    w.now_ms += 3000;
    assert_int_equal(with_jwt(CMD_SESSION_GET, now().wall_ms / 1000 - 60)->answer.problem.err, ERR_SESSION_ENDED);
    assert_int_equal(with_jwt(CMD_SESSION_GET, now().wall_ms / 1000)->answer.status, 200);
}

/* It began when the clock was three hours ahead, and goes on where it was, in engine time, when it is started with the right one. */
static void test_engine_time_never_goes_back(void **state) {
    (void) state;
    w.apart_ms = 3 * HOURS;
    settle();
    int64_t last = w.engine->now;
    struct id first = task_made("a", STR("q"));
    engine_stop(w.engine);
    settle();
    assert_true(engine_stopped(w.engine));
    engine_destroy(w.engine);
    w.apart_ms = -3 * HOURS;
    engine_begin();
    assert_true(w.engine->now >= last);
    assert_int_equal(wall_of(w.engine, w.engine->now), now().wall_ms);
    assert_true(id_cmp(task_made("b", STR("q")), first) > 0);
    const struct task_entry *t = task_resident(w.engine, first);
    assert_non_null(t);
    assert_true(t->t.created_at <= now().wall_ms && t->ready <= w.engine->now);
}

/* ---- what an answer waits for ---- */

/* What the store is asked is answered; the batch that it has is not handed back. */
static void queries_answered(void) {
    run();
    while (w.engine->queries) {
        memory_store_step(w.store, 0);
        run();
    }
}

static bool has_come(const struct cmd *c) {
    for (unsigned i = 0; i < w.came_count && i < 8; i++) {
        if (w.came[i].cmd == c) {
            return true;
        }
    }
    return false;
}

/* A session with two tasks, one of which has just ended; the store has that, and has not said that it is durable. */
static struct id one_ends(struct str queue) {
    struct id first = task_made("a", queue), other = task_made("a", STR_NONE);
    ended(other);
    run();
    w.came_count = 0;
    return first;
}

static void check_waits(struct cmd *c) {
    submit(c);
    queries_answered();
    assert_false(has_come(c));
    settle();
    assert_true(has_come(c));
}

static struct cmd *of_task(enum cmd_type type, struct id task) {
    struct cmd *c = by_key(type);
    c->task = task;
    c->wait_ms = CMD_NO_WAIT;
    return c;
}

static struct cmd *of_session(enum cmd_type type, struct id session) {
    struct cmd *c = by_key(type);
    c->session = session;
    return c;
}

static struct cmd *list_of(enum cmd_type type) {
    struct cmd *c = by_key(type);
    c->list.limit = 10;
    c->list.state = -1;
    return c;
}

static void test_answers_wait_for_what_was_found(void **state) {
    (void) state;
    check_waits(of_task(CMD_TASK_GET, one_ends(STR_NONE)));
    one_ends(STR_NONE);
    check_waits(of_session(CMD_SESSION_GET, the_session()->s.id));
    one_ends(STR_NONE);
    struct cmd *by_name = by_key(CMD_SESSION_CREATE);
    by_name->session_new.key = STR("a");
    check_waits(by_name);
    one_ends(STR_NONE);
    struct cmd *own = cmd_create(CMD_AUTH, 0);
    own->cred = (struct cred){.kind = CRED_SESSION, .id = the_session()->s.id, .gen = the_session()->s.gen};
    check_waits(own);
    one_ends(STR_NONE);
    check_waits(watch_of(the_session()->s.id));
}

static void test_answers_wait_for_what_a_list_shows(void **state) {
    (void) state;
    one_ends(STR_NONE);
    check_waits(list_of(CMD_SESSION_LIST));
    one_ends(STR_NONE);
    check_waits(list_of(CMD_TASK_LIST));
    one_ends(STR("q"));
    check_waits(list_of(CMD_QUEUE_LIST));
}

static void test_refusals_wait_for_what_may_be_why(void **state) {
    (void) state;
    struct id nowhere = {{1, 2, 3}}, gone = task_made("a", STR_NONE);
    one_ends(STR_NONE);
    check_waits(of_task(CMD_TASK_GET, nowhere));
    one_ends(STR_NONE);
    check_waits(of_session(CMD_SESSION_GET, nowhere));
    end_task(gone);
    settle();
    delete_task(gone);
    run();
    w.came_count = 0;
    check_waits(of_task(CMD_TASK_GET, gone));
    assert_int_equal(w.answered->answer.problem.err, ERR_GONE);
    one_ends(STR_NONE);
    struct cmd *dead = cmd_create(CMD_AUTH, 0);
    dead->cred = (struct cred){.kind = CRED_SESSION, .id = the_session()->s.id, .gen = the_session()->s.gen + 1};
    check_waits(dead);
}

static struct cmd *cancel_once(struct id task) {
    struct cmd *c = of_task(CMD_TASK_CANCEL, task);
    c->idempotency_key = STR("once");
    c->method = STR("POST");
    c->path = STR("/cancel");
    return c;
}

static void test_answers_wait_for_what_they_changed(void **state) {
    (void) state;
    struct id task = task_made("a", STR_NONE);
    check_waits(of_task(CMD_TASK_CANCEL, task));
    struct id other = task_made("b", STR_NONE);
    submit(cancel_once(other));
    queries_answered();
    assert_true(task_resident(w.engine, other)->t.cancel_requested);
    check_waits(cancel_once(other));
    struct id queued = task_made("c", STR("q"));
    claim(STR("q"));
    run();
    w.came_count = 0;
    check_waits(of_task(CMD_TASK_GET, queued));
}

/* Nothing that it reads or changes must be durable. */
static void test_progress_waits_for_nothing(void **state) {
    (void) state;
    struct id quiet = task_made("b", STR_NONE);
    struct report progress[] = {{.type = REPORT_PROGRESS, .has_current = REPORT_SET, .current = 1},
                                {.type = REPORT_PROGRESS, .has_current = REPORT_SET, .current = 2}};
    reported(quiet, progress[0]);
    settle();
    one_ends(STR_NONE);
    struct cmd *c = of_task(CMD_TASK_REPORT, quiet);
    c->reports = &progress[1];
    c->report_count = 1;
    submit(c);
    assert_true(has_come(c));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line_lost_while_next_is_parked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_line_cannot_be_looked_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_line_waits_when_the_store_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_set_that_fails_takes_what_was_built_on_it_and_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_claim_takes_from_two_sessions_is_one_set, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_session_is_thrown_away_once_for_one_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_wait_for_what_was_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_wait_for_what_a_list_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_wait_for_what_may_be_why, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_wait_for_what_they_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_progress_waits_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_over_quota_while_tasks_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heartbeat_counts_after_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_output_is_shown_after_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_forgotten_is_watched_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_of_a_session_is_told_behind_its_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_end_of_a_session, setup, teardown),
        cmocka_unit_test_setup_teardown(test_phases_have_times_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_few_phases_of_a_kind_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_phase_and_data_after_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_out_is_put_back_though_a_batch_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_engine_time_never_goes_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
