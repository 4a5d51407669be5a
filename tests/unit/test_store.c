/* What every store promises, held against each of them; and what the store for tests promises besides. */
#include "unit.h"

#include "store_harness.h"

#define APPLY(h, ...) harness_apply((h), (struct store_op[]){__VA_ARGS__}, sizeof((struct store_op[]){__VA_ARGS__}) / sizeof(struct store_op))
#define KEY_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void ask(struct harness *h, struct store_query *q) {
    harness_ask(h, q);
    assert_int_equal(q->result, STORE_OK);
}

static void assert_text(struct str s, const char *z) {
    assert_non_null(s.p);
    assert_int_equal(s.len, strlen(z));
    assert_memory_equal(s.p, z, s.len);
}

static void assert_id(struct id id, uint64_t n) {
    assert_true(id_eq(id, nth_id(n)));
}

static bool session_there(struct harness *h, uint64_t n) {
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(n)};
    ask(h, &q);
    arena_fini(&q.arena);
    return q.answer.session.found;
}

static bool task_there(struct harness *h, uint64_t n) {
    struct store_query q = {.type = STORE_FIND_TASK, .ask.task = nth_id(n)};
    ask(h, &q);
    arena_fini(&q.arena);
    return q.answer.task.found;
}

/* ---- behaviours ---- */

static void session_comes_back_as_it_was_put(struct harness *h) {
    struct store_op op = {.type = STORE_PUT_SESSION,
                          .row.session = {.id = nth_id(7),
                                          .state = 1,
                                          .reason = 3,
                                          .gen = 4000000000u,
                                          .seq = 5,
                                          .gone_floor = 6,
                                          .user = STR("u\0v"),
                                          .key_hash = STR(KEY_A),
                                          .metadata = STR("{\"a\":\"\xc3\xa9\"}"),
                                          .created_at = 7,
                                          .ended_at = 8,
                                          .active_at = 9,
                                          .idle_timeout = 10,
                                          .max_age = 11,
                                          .rotated_at = 12,
                                          .merged_into = nth_id(9),
                                          .created_apart = -14,
                                          .ended_apart = 15,
                                          .jwt_from_s = 16,
                                          .due_at = 13}};
    assert_int_equal(APPLY(h, op), STORE_OK);
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(7)};
    ask(h, &q);
    assert_true(q.answer.session.found);
    struct buf put = {0}, got = {0};
    render_session(&put, &op.row.session);
    render_session(&got, &q.answer.session.row);
    assert_string_equal(buf_z(&put), buf_z(&got));
    assert_int_equal(q.answer.session.row.user.len, 3);
    assert_memory_equal(q.answer.session.row.user.p, "u\0v", 3);
    buf_fini(&put);
    buf_fini(&got);
    arena_fini(&q.arena);
    assert_false(session_there(h, 8));
}

static void none_and_empty_are_different(struct harness *h) {
    struct store_op none = op_session(1, NULL, NULL, 0), empty = op_session(2, "", NULL, 0);
    none.row.session.metadata = STR_NONE;
    empty.row.session.metadata = STR("");
    assert_int_equal(APPLY(h, none, empty, op_data(STORE_PUT_RESULT, 3, STR(""))), STORE_OK);
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(1)};
    ask(h, &q);
    assert_null(q.answer.session.row.user.p);
    assert_null(q.answer.session.row.metadata.p);
    q.ask.session = nth_id(2);
    ask(h, &q);
    assert_text(q.answer.session.row.user, "");
    assert_text(q.answer.session.row.metadata, "");
    q.type = STORE_GET_RESULT;
    q.ask.task = nth_id(3);
    ask(h, &q);
    assert_non_null(q.answer.result.p);
    assert_text(q.answer.result, "");
    arena_fini(&q.arena);
}

static void session_comes_with_tasks_by_version_and_gone_by_seq(struct harness *h) {
    struct store_op gone2 = {.type = STORE_PUT_GONE, .row.gone = {.session = nth_id(1), .seq = 9, .task = nth_id(50), .reason = 1, .at = 5}};
    struct store_op gone1 = gone2;
    gone1.row.gone.seq = 4;
    assert_int_equal(APPLY(h, op_session(1, NULL, NULL, 0), op_task(10, 1, 0, 30), op_task(11, 1, 1, 20), op_task(12, 1, 3, 10), op_task(13, 2, 1, 1),
                           gone2, gone1),
                     STORE_OK);
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(1)};
    ask(h, &q);
    assert_int_equal(q.answer.session.tasks.count, 3);
    assert_id(q.answer.session.tasks.list[0].id, 12);
    assert_id(q.answer.session.tasks.list[1].id, 11);
    assert_id(q.answer.session.tasks.list[2].id, 10);
    assert_text(q.answer.session.tasks.list[2].body, "body");
    assert_int_equal(q.answer.session.gone.count, 2);
    assert_int_equal(q.answer.session.gone.list[0].seq, 4);
    assert_int_equal(q.answer.session.gone.list[1].seq, 9);
    arena_fini(&q.arena);
}

static void later_put_replaces(struct harness *h) {
    struct store_op changed = op_task(10, 1, 1, 8);
    changed.row.task.body = STR("other");
    assert_int_equal(APPLY(h, op_session(1, NULL, NULL, 0), op_session(2, NULL, NULL, 0), op_task(10, 1, 1, 7)), STORE_OK);
    assert_int_equal(APPLY(h, changed), STORE_OK);
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(1)};
    ask(h, &q);
    assert_int_equal(q.answer.session.tasks.count, 1);
    assert_int_equal(q.answer.session.tasks.list[0].version, 8);
    assert_text(q.answer.session.tasks.list[0].body, "other");
    changed.row.task.session = nth_id(2); /* it moves */
    changed.row.task.state = 3;
    changed.row.task.due_at = 77;
    assert_int_equal(APPLY(h, changed), STORE_OK);
    ask(h, &q);
    assert_int_equal(q.answer.session.tasks.count, 0);
    q.type = STORE_FIND_TASK;
    q.ask.task = nth_id(10);
    ask(h, &q);
    assert_id(q.answer.task.session, 2);
    arena_fini(&q.arena);
}

static void deleted_task_takes_everything_with_it(struct harness *h) {
    struct store_op tombstone = {
        .type = STORE_PUT_TOMBSTONE,
        .row.tombstone = {
            .task = nth_id(10), .session = nth_id(1), .watch_gen = 2, .attempt = 3, .kind = STR("k"), .state = 3, .ended_at = 4, .gone_at = 5}};
    assert_int_equal(APPLY(h, op_task(10, 1, 3, 1), op_task(11, 1, 3, 2), op_data(STORE_PUT_INPUT, 10, STR("1")),
                           op_data(STORE_PUT_INPUT, 11, STR("2")), op_data(STORE_PUT_RESULT, 10, STR("3")), op_output(10, 0, 1, "x"),
                           op_output(11, 0, 2, "y")),
                     STORE_OK);
    assert_int_equal(APPLY(h, op_number(STORE_DELETE_TASK, 10, 0), tombstone), STORE_OK);
    assert_true(task_there(h, 11));
    struct id ids[] = {nth_id(10), nth_id(11)};
    struct store_query q = {.type = STORE_GET_INPUT, .ask.inputs.list = ids, .ask.inputs.count = 2};
    ask(h, &q);
    assert_int_equal(q.answer.inputs.count, 2);
    assert_null(q.answer.inputs.list[0].p);
    assert_text(q.answer.inputs.list[1], "2");
    q = (struct store_query){.type = STORE_GET_RESULT, .ask.task = nth_id(10), .arena = q.arena};
    ask(h, &q);
    assert_null(q.answer.result.p);
    q = (struct store_query){.type = STORE_GET_OUTPUT, .ask.output.task = nth_id(10), .ask.output.limit = 100, .arena = q.arena};
    ask(h, &q);
    assert_int_equal(q.ask.output.bytes.len, 0);
    buf_fini(&q.ask.output.bytes);
    q = (struct store_query){.type = STORE_FIND_TASK, .ask.task = nth_id(10), .arena = q.arena};
    ask(h, &q);
    assert_false(q.answer.task.found);
    assert_non_null(q.answer.task.tombstone);
    assert_int_equal(q.answer.task.tombstone->attempt, 3);
    assert_text(q.answer.task.tombstone->kind, "k");
    arena_fini(&q.arena);
}

/* ---- progress ---- */

static struct store_query load_first(struct harness *h) {
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(1)};
    ask(h, &q);
    assert_true(q.answer.session.found);
    return q;
}

static void assert_progress(const struct progress_row *got, const struct progress_row *put) {
    struct buf a = {0}, b = {0};
    assert_non_null(got);
    render_progress(&a, put);
    render_progress(&b, got);
    assert_string_equal(buf_z(&a), buf_z(&b));
    buf_fini(&a);
    buf_fini(&b);
}

static void progress_comes_with_its_task(struct harness *h) {
    struct store_op full = op_progress(4, 10, 9), none = {.type = STORE_PUT_PROGRESS};
    none.row.progress = (struct progress_row){.slot = 5, .task = nth_id(11), .version = 1, .stalled = true, .eta = -1};
    assert_int_equal(APPLY(h, op_session(1, NULL, NULL, 0), op_task_slot(10, 1, 1, 7, 4), op_task_slot(11, 1, 2, 8, 5), op_task(12, 1, 1, 9)),
                     STORE_OK);
    assert_int_equal(APPLY(h, full, none), STORE_OK);
    struct store_query q = load_first(h);
    assert_int_equal(q.answer.session.tasks.count, 3);
    assert_id(q.answer.session.tasks.list[0].id, 11);
    assert_progress(q.answer.session.tasks.list[0].progress, &none.row.progress); /* also one that does not count: whoever reads decides */
    assert_id(q.answer.session.tasks.list[1].id, 10);
    assert_progress(q.answer.session.tasks.list[1].progress, &full.row.progress);
    arena_fini(&q.arena);
    full.row.progress.version = 12;
    full.row.progress.has_total = false;
    full.row.progress.total = full.row.progress.rate = 0;
    full.row.progress.message = STR("\xc3\xa9\0x");
    assert_int_equal(APPLY(h, full), STORE_OK);
    q = (struct store_query){.type = STORE_LIST_TASKS, .ask.list_tasks.limit = 10, .ask.list_tasks.state = 1};
    ask(h, &q);
    assert_int_equal(q.answer.list_tasks.count, 2);
    assert_id(q.answer.list_tasks.list[1].id, 10);
    assert_int_equal(q.answer.list_tasks.list[1].version, 7);
    assert_int_equal(q.answer.list_tasks.list[1].slot, 4);
    assert_progress(q.answer.list_tasks.list[1].progress, &full.row.progress);
    assert_null(q.answer.list_tasks.list[0].progress);
    arena_fini(&q.arena);
}

static void progress_that_is_newer_counts_for_the_order(struct harness *h) {
    assert_int_equal(APPLY(h, op_session(1, NULL, NULL, 0), op_task(10, 1, 1, 30), op_task_slot(11, 1, 1, 20, 1), op_progress(1, 11, 40),
                           op_task_slot(12, 1, 1, 32, 2), op_progress(2, 12, 5), op_task(13, 1, 3, 35)),
                     STORE_OK);
    static const uint64_t order[] = {10, 12, 13, 11};
    struct store_query q = load_first(h);
    assert_int_equal(q.answer.session.tasks.count, 4);
    for (int i = 0; i < 4; i++) {
        assert_id(q.answer.session.tasks.list[i].id, order[i]);
    }
    arena_fini(&q.arena);
}

static void assert_no_progress(struct harness *h) {
    struct store_query q = load_first(h);
    assert_int_equal(q.answer.session.tasks.count, 1);
    assert_null(q.answer.session.tasks.list[0].progress);
    arena_fini(&q.arena);
}

static void progress_is_its_tasks_alone_and_goes(struct harness *h) {
    assert_int_equal(APPLY(h, op_session(1, NULL, NULL, 0), op_task_slot(10, 1, 1, 1, 4), op_progress(4, 11, 9)), STORE_OK);
    assert_no_progress(h); /* the slot holds another task's */
    assert_int_equal(APPLY(h, op_progress(4, 10, 9), op_task_slot(10, 1, 1, 2, 0)), STORE_OK);
    assert_no_progress(h); /* it has no slot */
    assert_int_equal(APPLY(h, op_task_slot(10, 1, 3, 3, 4)), STORE_OK);
    assert_no_progress(h); /* it has ended */
    assert_int_equal(APPLY(h, op_task_slot(10, 1, 0, 3, 4)), STORE_OK);
    struct store_query q = load_first(h);
    assert_non_null(q.answer.session.tasks.list[0].progress);
    arena_fini(&q.arena);
    assert_int_equal(APPLY(h, op_number(STORE_DELETE_PROGRESS, 0, 3), op_number(STORE_DELETE_PROGRESS, 0, 4)), STORE_OK);
    assert_no_progress(h);
    assert_int_equal(APPLY(h, op_session(2, NULL, KEY_A, 0), op_progress(4, 10, 9), op_session(3, NULL, KEY_A, 0)), STORE_FAILED);
    assert_no_progress(h); /* of a batch that failed */
}

static struct store_query find_key(struct harness *h, const char *key) {
    struct store_query q = {.type = STORE_FIND_KEY, .ask.key_hash = str_of(key)};
    ask(h, &q);
    return q;
}

static void key_belongs_to_one_active_session(struct harness *h) {
    assert_int_equal(APPLY(h, op_session(1, NULL, KEY_A, 0), op_session(2, NULL, KEY_B, 0)), STORE_OK);
    assert_int_equal(APPLY(h, op_session(3, NULL, NULL, 0), op_session(2, NULL, KEY_A, 0)), STORE_FAILED);
    assert_false(session_there(h, 3)); /* nothing of a failed batch is kept */
    struct store_query q = find_key(h, KEY_B);
    assert_true(q.answer.key.found);
    assert_id(q.answer.key.session, 2);
    arena_fini(&q.arena);
    assert_int_equal(APPLY(h, op_session(1, NULL, KEY_A, 1), op_session(2, NULL, KEY_A, 0)), STORE_OK);
    q = find_key(h, KEY_A);
    assert_id(q.answer.key.session, 2);
    assert_null(q.answer.key.old_key);
    arena_fini(&q.arena);
    q = find_key(h, KEY_B);
    assert_false(q.answer.key.found);
    arena_fini(&q.arena);
}

static struct store_op op_old_key(const char *key, int64_t jwt_from_s, int64_t at, uint64_t session, uint32_t gen) {
    return (struct store_op){
        .type = STORE_PUT_OLD_KEY,
        .row.old_key = {
            .key_hash = str_of(key), .jwt_from_s = jwt_from_s, .at = at, .session = nth_id(session), .gen = gen, .expires_at = at + 1000}};
}

/* The session and generation that a JWT of that second is an old token of; 0 if of none. */
static uint64_t old_key_of(struct harness *h, const char *keys, int64_t iat_s, int64_t now, uint32_t *ret_gen) {
    struct store_query q = {.type = STORE_FIND_OLD_KEY, .ask.old_key.hashes = str_of(keys), .ask.old_key.after_s = iat_s, .ask.old_key.now = now};
    uint64_t session = 0;
    ask(h, &q);
    *ret_gen = q.answer.old_key ? q.answer.old_key->gen : 0;
    while (q.answer.old_key && !id_eq(q.answer.old_key->session, nth_id(session))) {
        session++;
    }
    arena_fini(&q.arena);
    return session;
}

static void each_time_a_key_was_lost_is_remembered(struct harness *h) {
    uint32_t gen;
    assert_int_equal(APPLY(h, op_old_key(KEY_A, 11, 10500, 5, 1), op_old_key(KEY_A, 11, 10100, 6, 1), op_old_key(KEY_A, 30, 30100, 5, 2),
                           op_old_key(KEY_B, 20, 20100, 7, 3), op_old_key(KEY_B, 40, 40100, 8, 1), op_old_key(KEY_B, 40, 40100, 8, 2)),
                     STORE_OK);
    struct store_query q = find_key(h, KEY_A);
    assert_false(q.answer.key.found);
    assert_non_null(q.answer.key.old_key);
    assert_int_equal(q.answer.key.old_key->jwt_from_s, 30);
    assert_int_equal(q.answer.key.old_key->at, 30100);
    assert_int_equal(q.answer.key.old_key->gen, 2);
    assert_int_equal(q.answer.key.old_key->expires_at, 31100);
    assert_id(q.answer.key.old_key->session, 5);
    arena_fini(&q.arena);
    assert_true(old_key_of(h, KEY_A, 10, 0, &gen) == 6 && gen == 1); /* of those of one second the first */
    assert_true(old_key_of(h, KEY_A, -5, 0, &gen) == 6);
    assert_true(old_key_of(h, KEY_A, 11, 0, &gen) == 5 && gen == 2);
    assert_true(old_key_of(h, KEY_A, 29, 0, &gen) == 5);
    assert_true(old_key_of(h, KEY_A, 30, 0, &gen) == 0);
    assert_true(old_key_of(h, KEY_A KEY_B, 11, 0, &gen) == 7); /* of several keys the first */
    assert_true(old_key_of(h, KEY_A KEY_B, 30, 0, &gen) == 8 && gen == 1);
    assert_true(old_key_of(h, KEY_B KEY_A, 20, 0, &gen) == 5);
    assert_true(old_key_of(h, KEY_A, 10, 11100, &gen) == 5 && gen == 1); /* what is over is not told */
    assert_true(old_key_of(h, KEY_A, 10, 31100, &gen) == 0);
    struct store_op later = op_old_key(KEY_A, 30, 30100, 5, 2);
    later.row.old_key.expires_at = 99999;
    assert_int_equal(APPLY(h, later), STORE_OK);
    assert_true(old_key_of(h, KEY_A, 10, 99998, &gen) == 5);
}

static void user_has_active_sessions_and_ended_ones_with_tasks(struct harness *h) {
    assert_int_equal(APPLY(h, op_session(1, "u", NULL, 0), op_session(2, "u", NULL, 1), op_session(3, "u", NULL, 1), op_session(4, "v", NULL, 0),
                           op_task(10, 3, 3, 1), op_task(11, 1, 1, 1), op_task(12, 1, 5, 2), op_task(13, 1, 2, 3)),
                     STORE_OK);
    struct store_query q = {.type = STORE_FIND_USER, .ask.user = STR("u")};
    ask(h, &q);
    assert_int_equal(q.answer.user.count, 2);
    assert_id(q.answer.user.list[0].id, 3);
    assert_id(q.answer.user.list[1].id, 1);
    arena_fini(&q.arena);
}

static void idempotency_answer_is_kept_until_it_expires(struct harness *h) {
    struct store_op op = {
        .type = STORE_PUT_IDEMPOTENCY,
        .row.idempotency = {
            .scope = STR(KEY_A), .request = STR("{}"), .status = 202, .location = STR("/v1/x"), .answer = STR("{\"a\":1}"), .expires_at = 100}};
    assert_int_equal(APPLY(h, op), STORE_OK);
    struct store_query q = {.type = STORE_FIND_IDEMPOTENCY, .ask.idempotency.scope = STR(KEY_A), .ask.idempotency.now = 99};
    ask(h, &q);
    assert_non_null(q.answer.idempotency);
    assert_int_equal(q.answer.idempotency->status, 202);
    assert_text(q.answer.idempotency->location, "/v1/x");
    assert_text(q.answer.idempotency->answer, "{\"a\":1}");
    assert_null(q.answer.idempotency->cookie.p);
    q.ask.idempotency.now = 100;
    ask(h, &q);
    assert_null(q.answer.idempotency);
    arena_fini(&q.arena);
}

/* Puts the bytes from offset on behind those that are there. */
static void join_output(struct harness *h, struct store_query *q, uint64_t offset, size_t limit, const char *whole) {
    q->ask.output.offset = offset;
    q->ask.output.limit = limit;
    q->ask.output.kept = q->ask.output.bytes.len;
    ask(h, q);
    assert_text(buf_view(&q->ask.output.bytes), whole);
}

static void output_is_joined_behind_what_is_there(struct harness *h) {
    assert_int_equal(APPLY(h, op_output(5, 0, 1, "abcd"), op_output(5, 4, 2, "efgh"), op_output(5, 8, 3, "ijkl")), STORE_OK);
    struct store_query q = {.type = STORE_GET_OUTPUT, .ask.output.task = nth_id(5)};
    join_output(h, &q, 3, 3, "def");
    assert_int_equal(q.answer.output.offset, 3);
    join_output(h, &q, 6, 4, "defghij");
    assert_int_equal(q.answer.output.offset, 6);
    join_output(h, &q, 10, 1000, "defghijkl");
    join_output(h, &q, 12, 1000, "defghijkl");
    assert_int_equal(APPLY(h, op_number(STORE_TRIM_OUTPUT, 5, 8)), STORE_OK);
    join_output(h, &q, 7, 1000, "defghijkl"); /* what follows would not fit */
    buf_clear(&q.ask.output.bytes);
    join_output(h, &q, 7, 1000, "ijkl");
    assert_int_equal(q.answer.output.offset, 8);
    buf_fini(&q.ask.output.bytes);
    arena_fini(&q.arena);
}

static void joined_output_ends_after_so_many_rows(struct harness *h) {
    struct store_op *ops = calloc(STORE_JOIN_ROWS + 2, sizeof(*ops));
    for (uint64_t i = 0; i < STORE_JOIN_ROWS + 2; i++) {
        ops[i] = op_output(5, i, 1 + i, "x");
    }
    assert_int_equal(harness_apply(h, ops, STORE_JOIN_ROWS + 2), STORE_OK);
    struct store_query q = {.type = STORE_GET_OUTPUT, .ask.output.task = nth_id(5), .ask.output.limit = 100000};
    ask(h, &q);
    assert_int_equal(q.ask.output.bytes.len, STORE_JOIN_ROWS);
    q.ask.output.offset = q.ask.output.kept = q.ask.output.bytes.len;
    ask(h, &q);
    assert_int_equal(q.ask.output.bytes.len, STORE_JOIN_ROWS + 2);
    buf_fini(&q.ask.output.bytes);
    arena_fini(&q.arena);
    free(ops);
}

static void output_of_several_tasks_comes_in_order_of_seq(struct harness *h) {
    assert_int_equal(APPLY(h, op_output(5, 0, 11, "aa"), op_output(6, 0, 12, "bb"), op_output(5, 2, 13, "cc"), op_output(6, 2, 14, "dd"),
                           op_output(7, 0, 12, "no")),
                     STORE_OK);
    struct id ids[] = {nth_id(6), nth_id(5)};
    struct store_query q = {.type = STORE_GET_OUTPUT_AFTER,
                            .ask.output_after.tasks.list = ids,
                            .ask.output_after.tasks.count = 2,
                            .ask.output_after.seq = 11,
                            .ask.output_after.limit = 1000};
    ask(h, &q);
    assert_int_equal(q.answer.output_after.count, 3);
    assert_int_equal(q.answer.output_after.list[0].seq, 12);
    assert_int_equal(q.answer.output_after.list[1].seq, 13);
    assert_int_equal(q.answer.output_after.list[2].seq, 14);
    assert_text(q.answer.output_after.list[1].data, "cc");
    q.ask.output_after.limit = 3;
    ask(h, &q);
    assert_int_equal(q.answer.output_after.count, 2);
    q.ask.output_after.limit = 0;
    ask(h, &q);
    assert_int_equal(q.answer.output_after.count, 1);
    q.ask.output_after.seq = 14;
    ask(h, &q);
    assert_int_equal(q.answer.output_after.count, 0);
    arena_fini(&q.arena);
}

static void what_is_due_comes_earliest_first(struct harness *h) {
    struct store_op ops[] = {op_session(1, NULL, NULL, 0), op_session(2, NULL, NULL, 0), op_session(3, NULL, NULL, 0), op_task(10, 1, 1, 1),
                             op_task(11, 2, 1, 1)};
    ops[0].row.session.due_at = 200;
    ops[1].row.session.due_at = 100;
    ops[3].row.task.due_at = 150;
    ops[4].row.task.due_at = 201;
    assert_int_equal(harness_apply(h, ops, 5), STORE_OK);
    struct store_query q = {.type = STORE_DUE, .ask.due.now = 200, .ask.due.limit = 10};
    ask(h, &q);
    assert_int_equal(q.answer.due.sessions.count, 2);
    assert_id(q.answer.due.sessions.list[0], 2);
    assert_id(q.answer.due.sessions.list[1], 1);
    assert_int_equal(q.answer.due.tasks.count, 1);
    assert_id(q.answer.due.tasks.list[0], 10);
    assert_id(q.answer.due.task_sessions.list[0], 1);
    q.ask.due.limit = 1;
    ask(h, &q);
    assert_int_equal(q.answer.due.sessions.count, 1);
    arena_fini(&q.arena);
}

static struct store_op op_named(enum store_op_type type, struct str name, struct str value) {
    struct store_op op = {.type = type, .name = name, .data = value};
    if (type == STORE_PUT_KIND) {
        op.row.kind = (struct kind_row){name, STR(""), value};
    }
    return op;
}

static struct store_op op_phase(enum store_op_type type, const char *phase, struct str value) {
    return (struct store_op){.type = type, .row.kind = {STR("a"), str_of(phase), value}};
}

static void a_kind_has_a_row_for_each_phase(struct harness *h) {
    assert_int_equal(APPLY(h, op_phase(STORE_PUT_KIND, "", STR("1")), op_phase(STORE_PUT_KIND, "y", STR("2")),
                           op_phase(STORE_PUT_KIND, "x", STR("3")), op_phase(STORE_PUT_KIND, "y", STR("4"))),
                     STORE_OK);
    assert_int_equal(APPLY(h, op_phase(STORE_DELETE_KIND, "x", STR_NONE), op_phase(STORE_DELETE_KIND, "never", STR_NONE)), STORE_OK);
    struct store_query q = {.type = STORE_START};
    ask(h, &q);
    assert_int_equal(q.answer.start.kind_count, 2);
    assert_text(q.answer.start.kinds[0].phase, "");
    assert_text(q.answer.start.kinds[1].phase, "y");
    assert_text(q.answer.start.kinds[1].body, "4");
    arena_fini(&q.arena);
}

static void start_names_sessions_with_unfinished_tasks(struct harness *h) {
    assert_int_equal(APPLY(h, op_task(10, 3, 0, 1), op_task(11, 2, 3, 1), op_task(12, 1, 2, 1), op_task(13, 3, 1, 1), op_task(14, 4, 4, 1),
                           op_named(STORE_PUT_KIND, STR("b"), STR("2")), op_named(STORE_PUT_KIND, STR("a"), STR("1")),
                           op_named(STORE_PUT_META, STR("epoch"), STR("5f2c")), op_named(STORE_PUT_META, STR("clean"), STR("0")),
                           op_named(STORE_PUT_META, STR("slots"), STR("65536"))),
                     STORE_OK);
    assert_int_equal(APPLY(h, op_named(STORE_PUT_META, STR("clean"), STR("1"))), STORE_OK);
    struct store_query q = {.type = STORE_START};
    ask(h, &q);
    assert_int_equal(q.answer.start.sessions.count, 2);
    assert_id(q.answer.start.sessions.list[0], 1);
    assert_id(q.answer.start.sessions.list[1], 3);
    assert_int_equal(q.answer.start.kind_count, 2);
    assert_text(q.answer.start.kinds[0].kind, "a");
    assert_text(q.answer.start.epoch, "5f2c");
    assert_text(q.answer.start.clean, "1");
    assert_text(q.answer.start.slots, "65536");
    arena_fini(&q.arena);
}

static void first_start_finds_nothing(struct harness *h) {
    struct store_query q = {.type = STORE_START};
    ask(h, &q);
    assert_int_equal(q.answer.start.sessions.count, 0);
    assert_null(q.answer.start.epoch.p);
    assert_null(q.answer.start.clean.p);
    assert_null(q.answer.start.slots.p);
    arena_fini(&q.arena);
}

/* Every 100th session is active and has the user; each has a task of that session. */
static void fill_many(struct harness *h, uint64_t count) {
    struct store_op *ops = calloc(count * 2, sizeof(*ops));
    for (uint64_t i = 0; i < count; i++) {
        ops[2 * i] = op_session(i + 1, i % 100 ? NULL : "u", NULL, i % 100 != 0);
        ops[2 * i + 1] = op_task(i + 1, i + 1, i % 100 ? 3 : 1, 1);
        ops[2 * i + 1].row.task.kind = i % 100 ? STR("other") : STR("report");
    }
    assert_int_equal(harness_apply(h, ops, count * 2), STORE_OK);
    free(ops);
}

/* The next page of a list; how many there are on it, each before *last. */
static size_t list_page(struct harness *h, struct store_query *q, uint64_t *last) {
    bool tasks = q->type == STORE_LIST_TASKS;
    ask(h, q);
    size_t count = tasks ? q->answer.list_tasks.count : q->answer.list_sessions.sessions.count;
    for (size_t i = 0; i < count; i++) {
        struct id id = tasks ? q->answer.list_tasks.list[i].id : q->answer.list_sessions.sessions.list[i].id;
        uint64_t n = (uint64_t) id.b[13] << 16 | (uint64_t) id.b[14] << 8 | id.b[15];
        assert_true(n < *last);
        *last = n;
        *(tasks ? &q->ask.list_tasks.after : &q->ask.list_sessions.after) = id;
    }
    arena_fini(&q->arena);
    return count;
}

/* Follows the pages of a list to its end. */
static size_t list_all(struct harness *h, struct store_query *q) {
    size_t limit = q->type == STORE_LIST_TASKS ? q->ask.list_tasks.limit : q->ask.list_sessions.limit;
    size_t all = 0, count;
    uint64_t last = UINT64_MAX;
    do {
        count = list_page(h, q, &last);
        all += count;
        assert_true(count <= limit);
    } while (count == limit);
    return all;
}

static void lists_are_newest_first_in_pages(struct harness *h) {
    fill_many(h, 2500);
    struct store_query q = {.type = STORE_LIST_SESSIONS, .ask.list_sessions.limit = 999, .ask.list_sessions.state = -1};
    assert_int_equal(list_all(h, &q), 2500);
    q = (struct store_query){.type = STORE_LIST_SESSIONS, .ask.list_sessions.limit = 7, .ask.list_sessions.state = 0};
    assert_int_equal(list_all(h, &q), 25);
    q = (struct store_query){
        .type = STORE_LIST_SESSIONS, .ask.list_sessions.limit = 1000, .ask.list_sessions.state = -1, .ask.list_sessions.user = STR("u")};
    assert_int_equal(list_all(h, &q), 25);
    q = (struct store_query){
        .type = STORE_LIST_SESSIONS, .ask.list_sessions.limit = 1000, .ask.list_sessions.state = 1, .ask.list_sessions.user = STR("u")};
    assert_int_equal(list_all(h, &q), 0);
    q = (struct store_query){.type = STORE_LIST_TASKS, .ask.list_tasks.limit = 100, .ask.list_tasks.state = -1};
    assert_int_equal(list_all(h, &q), 2500);
    q = (struct store_query){.type = STORE_LIST_TASKS,
                             .ask.list_tasks.limit = 26,
                             .ask.list_tasks.state = 1,
                             .ask.list_tasks.kind = STR("report"),
                             .ask.list_tasks.queue = STR("q")};
    assert_int_equal(list_all(h, &q), 25);
    q = (struct store_query){.type = STORE_LIST_TASKS, .ask.list_tasks.limit = 10, .ask.list_tasks.state = -1, .ask.list_tasks.user = STR("u")};
    assert_int_equal(list_all(h, &q), 25);
    q = (struct store_query){.type = STORE_LIST_TASKS, .ask.list_tasks.limit = 10, .ask.list_tasks.state = -1, .ask.list_tasks.session = nth_id(101)};
    assert_int_equal(list_all(h, &q), 1);
    q = (struct store_query){.type = STORE_LIST_TASKS,
                             .ask.list_tasks.limit = 10,
                             .ask.list_tasks.state = -1,
                             .ask.list_tasks.session = nth_id(102),
                             .ask.list_tasks.user = STR("u")};
    assert_int_equal(list_all(h, &q), 0);
}

static void session_list_counts_tasks(struct harness *h) {
    assert_int_equal(
        APPLY(h, op_session(1, NULL, NULL, 0), op_session(2, NULL, NULL, 0), op_task(10, 1, 0, 1), op_task(11, 1, 2, 1), op_task(12, 1, 4, 1)),
        STORE_OK);
    struct store_query q = {.type = STORE_LIST_SESSIONS, .ask.list_sessions.limit = 10, .ask.list_sessions.state = -1};
    ask(h, &q);
    assert_int_equal(q.answer.list_sessions.sessions.count, 2);
    assert_int_equal(q.answer.list_sessions.task_counts[0][0] + q.answer.list_sessions.task_counts[0][1], 0);
    assert_int_equal(q.answer.list_sessions.task_counts[1][0], 2);
    assert_int_equal(q.answer.list_sessions.task_counts[1][1], 1);
    arena_fini(&q.arena);
}

static size_t gone_count(struct harness *h, uint64_t session) {
    struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(session)};
    ask(h, &q);
    arena_fini(&q.arena);
    return q.answer.session.gone.count;
}

static void gone_is_forgotten_up_to_a_seq_and_with_its_session(struct harness *h) {
    struct store_op ops[6] = {op_session(1, NULL, NULL, 0)};
    for (uint64_t i = 1; i < 6; i++) {
        ops[i] = (struct store_op){.type = STORE_PUT_GONE, .row.gone = {.session = nth_id(1), .seq = i, .task = nth_id(i)}};
    }
    assert_int_equal(harness_apply(h, ops, 6), STORE_OK);
    assert_int_equal(gone_count(h, 1), 5);
    assert_int_equal(APPLY(h, op_number(STORE_DELETE_GONE, 1, 3)), STORE_OK);
    assert_int_equal(gone_count(h, 1), 2);
    assert_int_equal(APPLY(h, op_number(STORE_DELETE_SESSION, 1, 0)), STORE_OK);
    assert_false(session_there(h, 1));
    assert_int_equal(APPLY(h, op_session(1, NULL, NULL, 0)), STORE_OK);
    assert_int_equal(gone_count(h, 1), 0);
}

static size_t tombstones_left(struct harness *h, uint64_t count) {
    size_t left = 0;
    for (uint64_t i = 1; i <= count; i++) {
        struct store_query q = {.type = STORE_FIND_TASK, .ask.task = nth_id(i)};
        ask(h, &q);
        left += q.answer.task.tombstone != NULL;
        arena_fini(&q.arena);
    }
    return left;
}

static void forgetting_takes_what_is_over_a_piece_at_a_time(struct harness *h) {
    static struct store_op ops[604];
    for (uint64_t i = 0; i < 601; i++) {
        ops[i] = (struct store_op){.type = STORE_PUT_TOMBSTONE,
                                   .row.tombstone = {.task = nth_id(i + 1), .gone_at = i < 600 ? 100 : 101, .kind = STR("k")}};
    }
    ops[601] = (struct store_op){.type = STORE_PUT_OLD_KEY, .row.old_key = {.key_hash = STR(KEY_A), .jwt_from_s = 9, .expires_at = 600}};
    ops[602] = (struct store_op){.type = STORE_PUT_OLD_KEY, .row.old_key = {.key_hash = STR(KEY_B), .expires_at = 601}};
    ops[603] = (struct store_op){.type = STORE_PUT_OLD_KEY, .row.old_key = {.key_hash = STR(KEY_B), .jwt_from_s = 5, .expires_at = 600}};
    assert_int_equal(harness_apply(h, ops, 604), STORE_OK);
    struct store_op forget = {.type = STORE_FORGET, .number = 600, .number2 = 500};
    assert_int_equal(APPLY(h, forget), STORE_OK);
    assert_int_equal(tombstones_left(h, 601), 101);
    assert_int_equal(APPLY(h, forget), STORE_OK);
    assert_int_equal(tombstones_left(h, 601), 1);
    struct store_query q = find_key(h, KEY_A);
    assert_null(q.answer.key.old_key);
    arena_fini(&q.arena);
    q = find_key(h, KEY_B);
    assert_non_null(q.answer.key.old_key);
    assert_int_equal(q.answer.key.old_key->jwt_from_s, 0);
    arena_fini(&q.arena);
}

static void large_and_binary_texts_come_back_whole(struct harness *h) {
    size_t len = 9u << 20;
    char *big = malloc(len);
    for (size_t i = 0; i < len; i++) {
        big[i] = (char) (i * 7 + i / 251);
    }
    struct store_op op = op_output(1, 0, 1, "");
    op.row.output.data = str_n(big, 65536);
    assert_int_equal(APPLY(h, op_data(STORE_PUT_RESULT, 1, str_n(big, len)), op), STORE_OK);
    struct store_query q = {.type = STORE_GET_RESULT, .ask.task = nth_id(1)};
    ask(h, &q);
    assert_true(str_eq(q.answer.result, str_n(big, len)));
    q = (struct store_query){.type = STORE_GET_OUTPUT, .ask.output.task = nth_id(1), .ask.output.limit = len, .arena = q.arena};
    ask(h, &q);
    assert_true(str_eq(buf_view(&q.ask.output.bytes), str_n(big, 65536)));
    buf_fini(&q.ask.output.bytes);
    arena_fini(&q.arena);
    free(big);
}

static struct store_op in_set(uint32_t set, struct store_op op) {
    op.set = set;
    return op;
}

static void a_set_that_cannot_be_kept_takes_out_itself_alone(struct harness *h) {
    assert_int_equal(APPLY(h, op_session(1, NULL, KEY_A, 0), op_session(2, NULL, KEY_B, 0)), STORE_OK);
    struct store_op ops[] = {in_set(0, op_session(3, NULL, NULL, 0)),  in_set(1, op_session(4, NULL, NULL, 0)),  in_set(4, op_task(40, 3, 1, 1)),
                             in_set(1, op_session(5, NULL, KEY_A, 0)), in_set(2, op_session(2, NULL, KEY_B, 1)), in_set(0, op_task(30, 3, 1, 1)),
                             in_set(2, op_session(6, NULL, KEY_B, 0)), in_set(4, op_session(7, NULL, KEY_A, 0)), in_set(1, op_task(50, 5, 1, 1))};
    struct store_set sets[5] = {{STORE_DEAD}};
    struct store_batch b = {.number = ++h->number, .ops = ops, .count = sizeof(ops) / sizeof(ops[0]), .sets = sets, .set_count = 5};
    harness_submit(h, &b);
    assert_int_equal(b.result, STORE_FAILED);
    assert_int_equal(sets[0].result, STORE_OK);
    assert_int_equal(sets[1].result, STORE_FAILED);
    assert_int_equal(sets[2].result, STORE_OK); /* the key was free by then, within the set */
    assert_int_equal(sets[3].result, STORE_OK); /* there was nothing to keep */
    assert_int_equal(sets[4].result, STORE_FAILED);
    assert_true(session_there(h, 3) && task_there(h, 30) && session_there(h, 6));
    assert_false(session_there(h, 4) || session_there(h, 5) || session_there(h, 7) || task_there(h, 40) || task_there(h, 50));
    assert_int_equal(APPLY(h, op_session(4, NULL, NULL, 0)), STORE_OK);
}

static void empty_batch_succeeds(struct harness *h) {
    assert_int_equal(harness_apply(h, NULL, 0), STORE_OK);
}

typedef void behaviour(struct harness *h);

static void on_both(behaviour *b) {
    for (int memory = 0; memory < 2; memory++) {
        struct harness h;
        harness_start(&h, memory);
        b(&h);
        harness_stop(&h);
    }
}

/* clang-format off */
#define BEHAVIOURS(X) \
    X(session_comes_back_as_it_was_put) \
    X(none_and_empty_are_different) \
    X(session_comes_with_tasks_by_version_and_gone_by_seq) \
    X(later_put_replaces) \
    X(deleted_task_takes_everything_with_it) \
    X(key_belongs_to_one_active_session) \
    X(each_time_a_key_was_lost_is_remembered) \
    X(user_has_active_sessions_and_ended_ones_with_tasks) \
    X(idempotency_answer_is_kept_until_it_expires) \
    X(output_is_joined_behind_what_is_there) \
    X(joined_output_ends_after_so_many_rows) \
    X(output_of_several_tasks_comes_in_order_of_seq) \
    X(what_is_due_comes_earliest_first) \
    X(a_kind_has_a_row_for_each_phase) \
    X(start_names_sessions_with_unfinished_tasks) \
    X(first_start_finds_nothing) \
    X(lists_are_newest_first_in_pages) \
    X(session_list_counts_tasks) \
    X(gone_is_forgotten_up_to_a_seq_and_with_its_session) \
    X(progress_comes_with_its_task) \
    X(progress_that_is_newer_counts_for_the_order) \
    X(progress_is_its_tasks_alone_and_goes) \
    X(forgetting_takes_what_is_over_a_piece_at_a_time) \
    X(large_and_binary_texts_come_back_whole) \
    X(a_set_that_cannot_be_kept_takes_out_itself_alone) \
    X(empty_batch_succeeds)
/* clang-format on */

#define X(name)                             \
    static void test_##name(void **state) { \
        (void) state;                       \
        on_both(name);                      \
    }
BEHAVIOURS(X)
#undef X

/* ---- both answer alike, whatever happens: random batches and queries from a seed ---- */

static uint64_t dice_state;
static const struct id no_id;

static uint64_t dice(uint64_t sides) {
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (dice_state >> 33) % sides;
}

static struct str some_text(unsigned variety) {
    static const char texts[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    uint64_t n = dice(variety + 1);
    return n == variety ? STR_NONE : str_n(texts + n % 30, n % 5);
}

static struct str some_hash(void) {
    static char hashes[6][32];
    uint64_t n = dice(6);
    memset(hashes[n], (int) ('A' + n), 32);
    return str_n(hashes[n], 32);
}

static struct store_op some_session(void) {
    return (struct store_op){.type = STORE_PUT_SESSION,
                             .row.session = {.id = nth_id(1 + dice(12)),
                                             .state = dice(3) == 0,
                                             .reason = (uint8_t) dice(4),
                                             .gen = (uint32_t) dice(9),
                                             .seq = dice(1000),
                                             .gone_floor = dice(9),
                                             .user = some_text(3),
                                             .key_hash = dice(6) ? STR_NONE : some_hash(),
                                             .metadata = some_text(9),
                                             .created_at = (int64_t) dice(99),
                                             .ended_at = (int64_t) dice(99),
                                             .active_at = (int64_t) dice(99),
                                             .idle_timeout = (int64_t) dice(99),
                                             .max_age = (int64_t) dice(99),
                                             .rotated_at = (int64_t) dice(2),
                                             .created_apart = (int64_t) dice(9) - 5,
                                             .ended_apart = (int64_t) dice(9) - 5,
                                             .jwt_from_s = (int64_t) dice(50),
                                             .merged_into = dice(4) ? no_id : nth_id(dice(12)),
                                             .due_at = (int64_t) dice(50)}};
}

static struct store_op some_rare_op(void) {
    switch (dice(9)) {
    case 0:
        return (struct store_op){.type = STORE_PUT_TOMBSTONE,
                                 .row.tombstone = {.task = nth_id(1 + dice(40)),
                                                   .session = nth_id(dice(12)),
                                                   .watch_gen = (uint32_t) dice(9),
                                                   .attempt = (uint32_t) dice(9),
                                                   .kind = some_text(5),
                                                   .state = (uint8_t) dice(6),
                                                   .ended_at = (int64_t) dice(90),
                                                   .gone_at = (int64_t) dice(90)}};
    case 1:
        return (struct store_op){.type = STORE_PUT_IDEMPOTENCY,
                                 .row.idempotency = {.scope = some_hash(),
                                                     .request = some_text(20),
                                                     .status = (int) dice(500),
                                                     .location = some_text(3),
                                                     .cookie = some_text(3),
                                                     .answer = some_text(20),
                                                     .expires_at = (int64_t) dice(90)}};
    case 2:
        return (struct store_op){.type = STORE_PUT_OLD_KEY,
                                 .row.old_key = {.key_hash = some_hash(),
                                                 .jwt_from_s = (int64_t) dice(50),
                                                 .at = (int64_t) dice(9),
                                                 .session = nth_id(dice(4)),
                                                 .gen = (uint32_t) dice(3),
                                                 .expires_at = (int64_t) dice(90)}};
    case 3:
        return (struct store_op){.type = dice(3) ? STORE_PUT_KIND : STORE_DELETE_KIND,
                                 .row.kind = {.kind = str_n("kindkind", 1 + dice(7)), .phase = str_n("pp", dice(3)), .body = some_text(20)}};
    case 4: return op_named(STORE_PUT_META, dice(2) ? STR("clean") : dice(2) ? STR("slots") : STR("epoch"), some_text(9));
    case 5: return (struct store_op){.type = STORE_FORGET, .number = dice(100), .number2 = dice(20)};
    case 6: return (struct store_op){.type = STORE_DELETE_PROGRESS, .number = dice(12)};
    case 7: return (struct store_op){.type = STORE_BOUND_JWT_FROM, .number = 20 + dice(30)};
    default: return (struct store_op){.type = STORE_DELETE_SESSION, .id = nth_id(1 + dice(12))};
    }
}

static struct store_op some_progress(void) {
    struct progress_row r = {.slot = dice(12), .task = nth_id(1 + dice(40)), .version = dice(70), .updated_at = (int64_t) dice(90), .heard = dice(2)};
    r.stalled = dice(2);
    r.has_current = dice(2);
    r.current = r.has_current ? (double) dice(1000) / 7 : 0;
    r.has_total = dice(2);
    r.total = r.has_total ? (double) dice(1000) : 0;
    r.rate = dice(2) ? (double) dice(10) / 3 : 0;
    r.eta = dice(2) ? (double) dice(10) / 3 : -1;
    r.unit = some_text(3);
    r.message = some_text(9);
    r.phase = some_text(4);
    r.data = some_text(9);
    return (struct store_op){.type = STORE_PUT_PROGRESS, .row.progress = r};
}

static struct store_op some_op(void) {
    struct id task = nth_id(1 + dice(40)), session = nth_id(1 + dice(12));
    switch (dice(14)) {
    case 0:
    case 1: return some_session();
    case 2:
    case 3:
    case 4:
        return (struct store_op){.type = STORE_PUT_TASK,
                                 .row.task = {.id = task,
                                              .session = session,
                                              .state = (uint8_t) dice(6),
                                              .version = dice(60),
                                              .slot = dice(12),
                                              .due_at = (int64_t) dice(50),
                                              .kind = some_text(4),
                                              .queue = some_text(3),
                                              .body = some_text(25)}};
    case 5: return (struct store_op){.type = STORE_DELETE_TASK, .id = task};
    case 6: return (struct store_op){.type = dice(2) ? STORE_PUT_INPUT : STORE_PUT_RESULT, .id = task, .data = some_text(30)};
    case 7:
    case 8: {
        struct store_op op = {.type = STORE_ADD_OUTPUT, .row.output = {.task = nth_id(1 + dice(6)), .offset = dice(12) * 3, .seq = dice(80)}};
        op.row.output.data = str_n("output", dice(4));
        return op;
    }
    case 9: return (struct store_op){.type = STORE_TRIM_OUTPUT, .id = nth_id(1 + dice(6)), .number = dice(12)};
    case 10:
        return dice(3)
                   ? (struct store_op){.type = STORE_PUT_GONE,
                                       .row.gone =
                                           {.session = session, .seq = dice(30), .task = task, .reason = (uint8_t) dice(3), .at = (int64_t) dice(9)}}
                   : (struct store_op){.type = STORE_DELETE_GONE, .id = session, .number = dice(15)};
    case 11:
    case 12: return some_progress();
    default: return some_rare_op();
    }
}

/* One or two. */
static struct str some_hashes(void) {
    static char both[2 * KEY_HASH_BYTES];
    memcpy(both, some_hash().p, KEY_HASH_BYTES);
    memcpy(both + KEY_HASH_BYTES, some_hash().p, KEY_HASH_BYTES);
    return str_n(both, (1 + dice(2)) * KEY_HASH_BYTES);
}

static struct id_list some_tasks(struct id *ids, uint64_t from, uint64_t step) {
    struct id_list tasks = {ids, 1 + dice(3)};
    for (size_t i = 0; i < tasks.count; i++) {
        ids[i] = nth_id(1 + (from + i * step) % 40);
    }
    return tasks;
}

static struct store_query some_query(struct id *ids) {
    struct store_query q = {.type = (enum store_query_type) dice(STORE_START + 1)};
    struct id task = nth_id(1 + dice(40)), after = dice(2) ? no_id : nth_id(dice(40));
    int64_t now = (int64_t) dice(90);
    size_t limit = dice(30);
    switch (q.type) {
    case STORE_LOAD_SESSION: q.ask.session = nth_id(1 + dice(12)); break;
    case STORE_FIND_TASK:
    case STORE_GET_RESULT: q.ask.task = task; break;
    case STORE_FIND_KEY: q.ask.key_hash = some_hash(); break;
    case STORE_FIND_OLD_KEY:
        q.ask.old_key.hashes = some_hashes();
        q.ask.old_key.after_s = (int64_t) dice(40);
        q.ask.old_key.now = now;
        break;
    case STORE_FIND_USER: q.ask.user = some_text(2); break;
    case STORE_FIND_IDEMPOTENCY:
        q.ask.idempotency.scope = some_hash();
        q.ask.idempotency.now = now;
        break;
    case STORE_GET_INPUT: q.ask.inputs = some_tasks(ids, dice(30), 7); break;
    case STORE_GET_OUTPUT:
        q.ask.output.task = nth_id(1 + dice(6));
        q.ask.output.offset = dice(40);
        q.ask.output.limit = limit;
        break;
    case STORE_GET_OUTPUT_AFTER:
        q.ask.output_after.tasks = some_tasks(ids, 0, 2);
        q.ask.output_after.seq = dice(40);
        q.ask.output_after.limit = limit;
        break;
    case STORE_LIST_SESSIONS:
        q.ask.list_sessions.limit = limit;
        q.ask.list_sessions.after = after;
        q.ask.list_sessions.user = dice(3) ? STR_NONE : some_text(3);
        q.ask.list_sessions.state = (int) dice(4) - 1;
        break;
    case STORE_LIST_TASKS:
        q.ask.list_tasks.limit = limit;
        q.ask.list_tasks.after = after;
        q.ask.list_tasks.session = dice(3) ? no_id : nth_id(1 + dice(12));
        q.ask.list_tasks.user = dice(3) ? STR_NONE : some_text(3);
        q.ask.list_tasks.kind = dice(4) ? STR_NONE : some_text(4);
        q.ask.list_tasks.queue = dice(4) ? STR_NONE : some_text(3);
        q.ask.list_tasks.state = (int) dice(7) - 1;
        break;
    case STORE_DUE:
        q.ask.due.now = now;
        q.ask.due.limit = limit;
        break;
    case STORE_START: break;
    }
    return q;
}

static void render_and_free(struct harness *h, struct store_query q, struct buf *out) {
    harness_ask(h, &q);
    render_answer(out, &q);
    if (q.type == STORE_GET_OUTPUT) {
        buf_fini(&q.ask.output.bytes);
    }
    arena_fini(&q.arena);
}

static void compare_some_query(struct harness *left, struct harness *right, uint64_t seed, int round) {
    struct id ids[4];
    struct store_query q = some_query(ids);
    struct buf a = {0}, b = {0};
    render_and_free(left, q, &a);
    render_and_free(right, q, &b);
    if (!str_eq(buf_view(&a), buf_view(&b))) {
        fail_msg("seed %llu, round %d:\n%s\n-- and --\n%s", (unsigned long long) seed, round, buf_z(&a), buf_z(&b));
    }
    buf_fini(&a);
    buf_fini(&b);
}

#define SOME_SETS 4

/* Whether any of its sets failed: the same ones with both. */
static bool apply_alike(struct harness *left, struct harness *right, struct store_op *ops, size_t count) {
    struct store_set a[SOME_SETS] = {0}, b[SOME_SETS] = {0};
    struct store_batch x = {.number = ++left->number, .ops = ops, .count = count, .sets = a, .set_count = SOME_SETS};
    struct store_batch y = {.number = ++right->number, .ops = ops, .count = count, .sets = b, .set_count = SOME_SETS};
    harness_submit(left, &x);
    harness_submit(right, &y);
    assert_int_equal(x.result, y.result);
    assert_memory_equal(a, b, sizeof(a));
    return x.result != STORE_OK;
}

static void compare_both(uint64_t seed) {
    struct harness left, right;
    harness_start(&left, false);
    harness_start(&right, true);
    dice_state = seed;
    unsigned failed = 0;
    for (int round = 0; round < 150; round++) {
        struct store_op ops[24];
        size_t count = dice(24) + 1;
        for (size_t i = 0; i < count; i++) {
            ops[i] = some_op();
            ops[i].set = (uint32_t) dice(SOME_SETS);
        }
        failed += apply_alike(&left, &right, ops, count);
        for (int i = 0; i < 40; i++) {
            compare_some_query(&left, &right, seed, round);
        }
    }
    assert_true(failed > 0 && failed < 100);
    harness_stop(&left);
    harness_stop(&right);
}

static void test_both_stores_answer_alike(void **state) {
    (void) state;
    const char *given = getenv("SEED");
    uint64_t first = given ? strtoull(given, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + (given ? 1 : 4); seed++) {
        compare_both(seed);
    }
}

/* ---- the store for tests: nasty on demand ---- */

static void test_memory_fails_one_batch_on_demand(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, true);
    memory_store_fail_next(h.store, STORE_FAILED);
    assert_int_equal(APPLY(&h, op_session(1, NULL, NULL, 0)), STORE_FAILED);
    assert_false(session_there(&h, 1));
    assert_int_equal(APPLY(&h, op_session(1, NULL, NULL, 0)), STORE_OK);
    assert_true(session_there(&h, 1));
    harness_stop(&h);
}

static void test_memory_fails_single_sets_on_demand(void **state) {
    (void) state;
    struct harness h;
    harness_start(&h, true);
    uint64_t kept = 0, failed = 0;
    for (uint32_t round = 1; round <= 30; round++) {
        struct store_op ops[3];
        struct store_set sets[3] = {0};
        for (uint32_t i = 0; i < 3; i++) {
            ops[i] = in_set(i, op_session(round * 3 + i, NULL, NULL, 0));
        }
        struct store_batch b = {.number = round, .ops = ops, .count = 3, .sets = sets, .set_count = 3};
        memory_store_fail_sets(h.store, round * 7919);
        harness_submit(&h, &b);
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(session_there(&h, round * 3 + i), sets[i].result == STORE_OK);
            failed += sets[i].result == STORE_FAILED;
            kept += sets[i].result == STORE_OK;
        }
    }
    assert_true(failed > 10 && kept > 30);
    harness_stop(&h);
}

static void no_batch(struct store_batch *b) {
    (void) b;
    fail_msg("no batch was under way");
}

static void no_query(struct store_query *q) {
    (void) q;
    fail_msg("no query was under way");
}

static void test_memory_dies_until_a_restart(void **state) {
    (void) state;
    for (uint32_t there = 0; there < 2; there++) {
        struct harness h;
        harness_start(&h, true);
        assert_int_equal(APPLY(&h, op_session(1, NULL, NULL, 0)), STORE_OK);
        memory_store_fail_next(h.store, STORE_DEAD);
        assert_int_equal(APPLY(&h, op_session(2, NULL, NULL, 0)), STORE_DEAD);
        assert_int_equal(APPLY(&h, op_session(3, NULL, NULL, 0)), STORE_DEAD);
        assert_true(session_there(&h, 1));
        assert_false(session_there(&h, 2));
        memory_store_crash(h.store, there << 1, no_batch, no_query);
        memory_store_set_sink(h.store, harness_sink(&h));
        assert_int_equal(session_there(&h, 2), there); /* nobody knew; now it shows */
        assert_false(session_there(&h, 3));
        assert_int_equal(APPLY(&h, op_session(3, NULL, NULL, 0)), STORE_OK);
        harness_stop(&h);
    }
}

static int dropped_batches, dropped_queries;

static void drop_batch(struct store_batch *b) {
    (void) b;
    dropped_batches++;
}

static void drop_query(struct store_query *q) {
    arena_fini(&q->arena);
    dropped_queries++;
}

static void test_memory_crash_keeps_a_batch_under_way_whole_or_not_at_all(void **state) {
    (void) state;
    for (uint32_t kept = 0; kept < 2; kept++) {
        struct harness h;
        harness_start(&h, true);
        assert_int_equal(APPLY(&h, op_session(1, NULL, NULL, 0)), STORE_OK);
        struct store_op ops[] = {op_session(2, NULL, NULL, 0), op_session(3, NULL, NULL, 0)};
        struct store_batch b = {.number = 9, .ops = ops, .count = 2, .sets = &(struct store_set){0}, .set_count = 1};
        struct store_query q = {.type = STORE_START};
        h.batch_back = NULL;
        store_submit(h.store, &b);
        store_query(h.store, &q);
        dropped_batches = dropped_queries = 0;
        memory_store_crash(h.store, kept, drop_batch, drop_query);
        assert_int_equal(dropped_batches, 1);
        assert_int_equal(dropped_queries, 1);
        assert_null(h.batch_back);
        assert_false(memory_store_step(h.store, 0));
        memory_store_set_sink(h.store, harness_sink(&h));
        assert_true(session_there(&h, 1));
        assert_int_equal(session_there(&h, 2), kept);
        assert_int_equal(session_there(&h, 3), kept);
        harness_stop(&h);
    }
}

static void test_memory_may_answer_from_before_the_batch(void **state) {
    (void) state;
    for (uint32_t stale = 0; stale < 2; stale++) {
        struct harness h;
        harness_start(&h, true);
        struct store_op op = op_session(1, NULL, NULL, 0);
        struct store_batch b = {.number = 1, .ops = &op, .count = 1, .sets = &(struct store_set){0}, .set_count = 1};
        bool back = false;
        struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = nth_id(1), .owner = &back};
        store_submit(h.store, &b);
        store_query(h.store, &q);
        assert_true(memory_store_step(h.store, 1 | stale << 1));
        assert_ptr_equal(h.batch_back, &b);
        assert_false(back);
        assert_true(memory_store_step(h.store, 0));
        assert_true(back);
        assert_int_equal(q.answer.session.found, !stale);
        assert_false(memory_store_step(h.store, 0));
        arena_fini(&q.arena);
        harness_stop(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define X(name) cmocka_unit_test(test_##name),
        BEHAVIOURS(X)
#undef X
            cmocka_unit_test(test_both_stores_answer_alike),
        cmocka_unit_test(test_memory_fails_one_batch_on_demand),
        cmocka_unit_test(test_memory_fails_single_sets_on_demand),
        cmocka_unit_test(test_memory_dies_until_a_restart),
        cmocka_unit_test(test_memory_crash_keeps_a_batch_under_way_whole_or_not_at_all),
        cmocka_unit_test(test_memory_may_answer_from_before_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
