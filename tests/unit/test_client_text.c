/* The library's texts: URLs, bodies, problems, and tasks out of JSON. */
#include "unit.h"

#include <math.h>

#include "alloc_fail.h"
#include "client/internal.h"

static void paths_carry_any_text(void **state) {
    (void) state;
    struct buf path = {0};
    path_of(&path, "tasks", "a/b ?#%\xc3\xa9.~-_", "/cancel");
    query_put(&path, "user", "x&y=z");
    query_put(&path, "state", NULL);
    query_put(&path, "kind", "k");
    assert_buf(&path, "/v1/tasks/a%2Fb%20%3F%23%25%C3%A9.~-_/cancel?user=x%26y%3Dz&kind=k");
    buf_fini(&path);
}

static void bodies_hold_what_was_given(void **state) {
    (void) state;
    struct body b = {0};
    struct bowline_session_ref by_key = {.key = "k\"1", .user = "u"}, by_id = {.id = "ses_1"};
    body_begin(&b);
    body_text(&b, "text", "a\n\"b\"");
    body_text(&b, "none", NULL);
    body_json(&b, "json", " {\"a\" : [1, 2.50]} ");
    body_seconds(&b, "lease", 1.5);
    body_seconds(&b, "never", BOWLINE_ZERO);
    body_seconds(&b, "default", 0);
    body_count(&b, "max", 3);
    body_ref(&b, "session", &by_key);
    body_ref(&b, "other", &by_id);
    body_end(&b);
    assert_int_equal(body_check(&b, NULL), BOWLINE_OK);
    assert_buf(&b.text, "{\"text\":\"a\\n\\\"b\\\"\",\"json\": {\"a\" : [1, 2.50]} ,\"lease\":1.5,\"never\":0,\"max\":3,"
                        "\"session\":{\"key\":\"k\\\"1\",\"user\":\"u\"},\"other\":\"ses_1\"}");
    buf_fini(&b.text);
}

static void json_cannot_reach_out_of_its_member(void **state) {
    (void) state;
    static const char *const bad[] = {"1,\"queue\":\"x\"", "",         " ",           "{",   "[1,]",   "{\"a\":1,}", "nul", "01",        "1.",   "1e",
                                      "\"\\x\"",           "\"\xff\"", "\"\\ud800\"", "\"a", "\"\n\"", "[1] 2",      "-",   "{\"a\" 1}", "{1:2}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct body b = {0};
        struct bowline_problem p;
        body_begin(&b);
        body_json(&b, "input", bad[i]);
        body_end(&b);
        assert_int_equal(body_check(&b, &p), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(p.error, BOWLINE_BAD_ARGUMENT);
        assert_non_null(strstr(p.detail, "input"));
        buf_fini(&b.text);
    }
    assert_true(json_is_valid(STR(" {\"a\":[true,false,null,-0.5e+10,\"\\ud83d\\ude00\"],\"b\":{}} ")));
    char deep[400];
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    assert_false(json_is_valid(str_n(deep, 130)));
    assert_true(json_is_valid(str_n(deep + 1, 128)));
}

static void every_code_of_the_contract_has_an_error_and_a_text(void **state) {
    (void) state;
    for (int e = BOWLINE_INVALID_REQUEST; e <= BOWLINE_UNAVAILABLE; e++) {
        struct bowline_problem p;
        struct buf body = {0};
        buf_printf(&body, "{\"code\":\"%s\",\"detail\":\"why\",\"errors\":[{\"pointer\":\"/a/b\"}]}", bowline_error_code(e));
        assert_int_equal(problem_answer(&p, 409, buf_view(&body), 2), e);
        assert_string_equal(p.code, bowline_error_code(e));
        assert_string_equal(p.detail, "why");
        assert_string_equal(p.pointer, "/a/b");
        assert_true(p.retry_after_s == 2 && p.status == 409 && p.error == e);
        assert_true(strlen(bowline_strerror(e)) > 5);
        buf_fini(&body);
    }
    assert_string_equal(bowline_error_code(BOWLINE_TASK_ENDED), "task-ended");
    assert_string_equal(bowline_error_code(BOWLINE_UNAVAILABLE), "unavailable");
    assert_string_equal(bowline_error_code(BOWLINE_SYSTEM), "system");
    assert_string_equal(bowline_error_code(-1), "unknown");
    assert_string_equal(bowline_error_code(99), "unknown");
    assert_int_equal(problem_answer(NULL, 502, STR("<html>"), 0), BOWLINE_UNAVAILABLE);
    assert_int_equal(problem_answer(NULL, 418, STR("{\"code\":\"new-code\"}"), 0), BOWLINE_BAD_ANSWER);
}

static void long_details_are_cut_between_characters(void **state) {
    (void) state;
    struct buf body = {0};
    struct bowline_problem p;
    buf_puts(&body, "{\"code\":\"conflict\",\"detail\":\"x");
    for (int i = 0; i < 400; i++) {
        buf_puts(&body, "\xc3\xa9");
    }
    buf_puts(&body, "\"}");
    problem_answer(&p, 409, buf_view(&body), 0);
    assert_true(utf8_valid(str_of(p.detail)));
    assert_int_equal(strlen(p.detail), sizeof p.detail - 1);
    buf_fini(&body);
}

static const char task_json[] =
    "{\"id\":\"tsk_1\",\"session\":\"ses_1\",\"kind\":\"report\",\"title\":\"Q3 \\u20ac\",\"state\":\"input_required\",\"version\":7,"
    "\"progress\":{\"current\":40,\"total\":100.5,\"unit\":\"pages\",\"message\":null,\"ratio\":0.4,\"rate\":3.1,\"eta\":null,"
    "\"phase\":\"drawing\",\"data\":{\"a\" : [1]}},"
    "\"cancel_requested\":true,\"cancel_reason\":\"enough\",\"stalled\":false,\"attempt\":1,\"max_attempts\":3,\"on_session_end\":\"keep\",\"queue\":"
    "\"q\","
    "\"created_at\":\"2026-01-02T03:04:05.678Z\",\"started_at\":\"2026-01-02T03:04:06.000Z\",\"updated_at\":\"2026-01-02T03:04:07.000Z\",\"ended_"
    "at\":null,"
    "\"seen_at\":null,\"expires_at\":null,\"output_bytes\":12,\"input_request\":{\"id\":\"q1\",\"prompt\":\"Go?\",\"schema\":{\"type\": "
    "\"boolean\"}},"
    "\"result\":null,\"result_bytes\":0,\"error\":null,\"metadata\":{ \"a\" : 1.0 },\"a new member\":[1,{}]}";

static void a_task_is_read_member_by_member(void **state) {
    (void) state;
    struct bowline_task *t;
    assert_int_equal(bowline_task_parse(task_json, strlen(task_json), &t), BOWLINE_OK);
    assert_string_equal(t->id, "tsk_1");
    assert_string_equal(t->title, "Q3 \xe2\x82\xac");
    assert_int_equal(t->state, BOWLINE_INPUT_REQUIRED);
    assert_false(t->finished);
    assert_int_equal(t->version, 7);
    assert_true(t->progress.current == 40 && t->progress.total == 100.5 && t->progress.rate == 3.1);
    assert_true(isnan(t->progress.eta_s));
    assert_null(t->progress.message);
    assert_string_equal(t->progress.phase, "drawing");
    assert_string_equal(t->progress.data, "{\"a\" : [1]}");
    assert_true(t->cancel_requested && !t->stalled);
    assert_int_equal(t->created_at_ms, 1767323045678);
    assert_int_equal(t->ended_at_ms, 0);
    assert_string_equal(t->question.schema, "{\"type\": \"boolean\"}");
    assert_null(t->result);
    assert_null(t->error.type);
    assert_null(t->token);
    assert_string_equal(t->metadata, "{ \"a\" : 1.0 }");
    assert_string_equal(t->json, task_json);
    bowline_task_free(t);
    assert_int_equal(bowline_task_parse("{}", 2, &t), BOWLINE_BAD_ANSWER);
    assert_int_equal(bowline_task_parse("{\"id\":\"x\",\"state\":\"new\"}", 24, &t), BOWLINE_BAD_ANSWER);
    assert_int_equal(bowline_task_parse("<", 1, &t), BOWLINE_BAD_ANSWER);
}

static void a_null_result_is_told_from_none(void **state) {
    (void) state;
    struct bowline_task *t;
    static const char with[] = "{\"id\":\"t\",\"state\":\"succeeded\",\"result\":null,\"result_bytes\":4}";
    static const char large[] = "{\"id\":\"t\",\"state\":\"succeeded\",\"result\":null,\"result_bytes\":20000}";
    assert_int_equal(bowline_task_parse(with, strlen(with), &t), BOWLINE_OK);
    assert_string_equal(t->result, "null");
    bowline_task_free(t);
    assert_int_equal(bowline_task_parse(large, strlen(large), &t), BOWLINE_OK);
    assert_null(t->result);
    assert_int_equal(t->result_bytes, 20000);
    bowline_task_free(t);
}

static void without_memory_there_is_an_error_and_no_leak(void **state) {
    (void) state;
    static const char page[] =
        "{\"items\":[{\"id\":\"a\",\"state\":\"queued\"},{\"id\":\"b\",\"state\":\"failed\",\"error\":{\"type\":\"x\"}}],\"next\":\"c\"}";
    for (unsigned skip = 0;; skip++) {
        struct bowline_task *t = NULL;
        struct bowline_task_page *p = NULL;
        alloc_fail_after(skip, 0);
        int one = bowline_task_parse(task_json, strlen(task_json), &t);
        int many = object_task_page(str_of(page), "items", &p);
        unsigned refused = alloc_fail_stop();
        assert_int_equal(one == BOWLINE_OK && many == BOWLINE_OK, !refused);
        assert_true(one == BOWLINE_OK || one == BOWLINE_NO_MEMORY);
        assert_true(many == BOWLINE_OK || many == BOWLINE_NO_MEMORY);
        bowline_task_free(one ? NULL : t);
        bowline_task_page_free(many ? NULL : p);
        if (!refused) {
            break;
        }
    }
}

static void numbers_are_read_as_the_server_means_them(void **state) {
    (void) state;
    static const struct {
        const char *text;
        double value;
    } cases[] = {{"0", 0},
                 {"-0.5", -0.5},
                 {"19.4", 19.4},
                 {"3.1", 3.1},
                 {"0.333", 0.333},
                 {"1e3", 1000},
                 {"1.5E-3", 0.0015},
                 {"1000000000000000", 1e15},
                 {"123456.789", 123456.789}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena a = {0};
        struct json *root;
        struct json_error error;
        assert_int_equal(json_parse(&a, str_of(cases[i].text), 1, &root, &error), 0);
        assert_true(root->num == cases[i].value);
        arena_fini(&a);
    }
}

static void bad_options_are_refused_before_anything_is_sent(void **state) {
    (void) state;
    bowline_client *client;
    struct bowline_problem p;
    struct bowline_task *t;
    static const char *const urls[] = {NULL,           "",           "example.com",    "ftp://x",     "http://x?y",      "http://a b",
                                       "http://",      "http:///v2", "http://:8",      "http://x/v1", "https://x/v1///", "http://x/p/v1/tasks",
                                       "http://u:p@x", "http://u@x", "http://x:99999", "http://x:a"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        assert_int_equal(bowline_client_open(&(struct bowline_client_options){.url = urls[i]}, &client), BOWLINE_BAD_ARGUMENT);
    }
    assert_int_equal(bowline_client_open(&(struct bowline_client_options){.url = "http://x", .credential = "a\r\nB: c"}, &client),
                     BOWLINE_BAD_ARGUMENT);
    static const char *const prefixes[] = {"HTTP://x/bowline", "http://[::1]:8787/v1x/v12/xv1", "https://x"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        assert_int_equal(bowline_client_open(&(struct bowline_client_options){.url = prefixes[i]}, &client), BOWLINE_OK);
        bowline_client_close(client);
    }
    assert_int_equal(bowline_client_open(&(struct bowline_client_options){.url = "http://127.0.0.1:1//"}, &client), BOWLINE_OK);
    struct bowline_task_options none = {.kind = "k"}, header = {.kind = "k", .session = {.id = "s"}, .idempotency_key = "a\nb"};
    assert_int_equal(bowline_task_create(client, &none, &t, &p), BOWLINE_BAD_ARGUMENT);
    assert_non_null(strstr(p.detail, "session"));
    assert_int_equal(bowline_task_create(client, &header, &t, &p), BOWLINE_BAD_ARGUMENT);
    static const double not_finite[] = {NAN, INFINITY, -INFINITY, -2};
    for (size_t i = 0; i < sizeof not_finite / sizeof not_finite[0]; i++) {
        struct bowline_task_options o = {.kind = "k", .session = {.id = "s"}, .lease_s = not_finite[i]};
        struct bowline_claim_options claim = {.queue = "q", .lease_s = not_finite[i]};
        struct bowline_session_options session = {.max_age_s = not_finite[i]};
        struct bowline_reporter_options about = {.task = "t", .interval_s = not_finite[i]}, beats = {.task = "t", .heartbeat_s = not_finite[i]};
        struct bowline_task_page *page;
        struct bowline_session *made;
        bowline_reporter *r;
        assert_int_equal(bowline_task_create(client, &o, &t, &p), BOWLINE_BAD_ARGUMENT);
        assert_non_null(strstr(p.detail, "lease"));
        assert_int_equal(bowline_claim(client, &claim, &page, &p), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_session_create(client, &session, &made, &p), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_reporter_open(client, &about, &r), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_reporter_open(client, &beats, &r), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_client_open(&(struct bowline_client_options){.url = "http://x", .timeout_s = not_finite[i]}, &client),
                         BOWLINE_BAD_ARGUMENT);
    }
    struct bowline_task_options bad_kind = {.kind = "caf\xe9", .session = {.id = "s"}},
                                bad_title = {.kind = "k", .session = {.id = "s"}, .title = "caf\xe9"};
    assert_int_equal(bowline_task_create(client, &bad_kind, &t, &p), BOWLINE_BAD_ARGUMENT);
    assert_non_null(strstr(p.detail, "kind"));
    assert_int_equal(bowline_task_create(client, &bad_title, &t, &p), BOWLINE_UNREACHABLE); /* for people: mended */
    assert_int_equal(bowline_task_cancel(client, "tsk_1", "caf\xe9", NULL, &p), BOWLINE_UNREACHABLE);
    static const char *const split[] = {"a\r\nB: c", "a b", "caf\xc3\xa9"};
    for (size_t i = 0; i < sizeof split / sizeof split[0]; i++) {
        char path[40];
        struct bowline_reporter_options about = {.task = "t", .worker_token = split[i]};
        bowline_reporter *r;
        snprintf(path, sizeof path, "/v1/%s", split[i]);
        assert_int_equal(bowline_call(client, "GET", path, NULL, NULL, &p), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_call(client, split[i], "/v1/info", NULL, NULL, &p), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_task_report(client, "t", split[i], "{}", NULL, &p), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_reporter_open(client, &about, &r), BOWLINE_BAD_ARGUMENT);
    }
    assert_int_equal(bowline_task_get(client, "", &t, &p), BOWLINE_BAD_ARGUMENT);
    assert_int_equal(bowline_task_get(client, "tsk_1", &t, &p), BOWLINE_UNREACHABLE);
    assert_string_equal(p.code, "unreachable");
    assert_int_equal(p.status, 0);
    bowline_client_interrupt(client);
    assert_int_equal(bowline_task_wait(client, "tsk_1", -1, &t, &p), BOWLINE_INTERRUPTED);
    bowline_client_close(client);
    bowline_client_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_carry_any_text),
        cmocka_unit_test(bodies_hold_what_was_given),
        cmocka_unit_test(json_cannot_reach_out_of_its_member),
        cmocka_unit_test(every_code_of_the_contract_has_an_error_and_a_text),
        cmocka_unit_test(long_details_are_cut_between_characters),
        cmocka_unit_test(a_task_is_read_member_by_member),
        cmocka_unit_test(a_null_result_is_told_from_none),
        cmocka_unit_test(without_memory_there_is_an_error_and_no_leak),
        cmocka_unit_test(numbers_are_read_as_the_server_means_them),
        cmocka_unit_test(bad_options_are_refused_before_anything_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
