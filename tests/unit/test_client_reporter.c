/* What a reporter makes of the answers to its reports: the lease, cancel requests, and which question an answer belongs to. */
#include "unit.h"

#include "client/reporter.h"

#include <arpa/inet.h>
#include <math.h>
#include <sys/socket.h>
#include <unistd.h>

static void reporter_init(struct bowline_reporter *r) {
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->with_control = true;
}

static void reporter_fini(struct bowline_reporter *r) {
    said_fini(&r->said);
    buf_fini(&r->answer);
    free(r->answer_id);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
}

/* A question is said and its request is under way. */
static void ask(struct bowline_reporter *r) {
    struct buf body = {0};
    buf_puts(&body, "{\"type\":\"input_request\"}");
    said_ask(&r->said, &body);
    r->question_open = r->question_doubt = r->has_answer = false;
    assert_true(said_write(&r->said, &body));
    buf_fini(&body);
}

static void take(struct bowline_reporter *r, const char *request, const char *answer, bool from_control) {
    struct bowline_control c = {.state = BOWLINE_RUNNING, .version = r->version + 1, .answer_request = request, .answer = answer};
    reporter_take(r, &c, from_control, 0);
}

static void no_answer(struct bowline_reporter *r) {
    struct bowline_text text;
    assert_int_equal(bowline_reporter_answer(r, &text), BOWLINE_NOT_YET);
}

static void the_answer(struct bowline_reporter *r, const char *expected) {
    struct bowline_text text;
    assert_int_equal(bowline_reporter_answer(r, &text), BOWLINE_OK);
    assert_string_equal(text.data, expected);
    assert_int_equal(text.len, strlen(expected));
    bowline_text_fini(&text);
}

static void an_answer_is_given_once(void **state) {
    (void) state;
    struct bowline_reporter r;
    reporter_init(&r);
    ask(&r);
    take(&r, NULL, NULL, false);
    no_answer(&r);
    take(&r, "q1", "true", true);
    the_answer(&r, "true");
    take(&r, "q1", "true", false);
    no_answer(&r);
    reporter_fini(&r);
}

static void an_older_answer_is_not_taken_for_the_newer_question(void **state) {
    (void) state;
    struct bowline_reporter r;
    reporter_init(&r);
    take(&r, "q1", "\"of an earlier worker\"", false);
    no_answer(&r);
    ask(&r);
    take(&r, "q1", "\"of an earlier worker\"", false);
    no_answer(&r);
    ask(&r);                             /* replaces the second question... */
    take(&r, "q2", "\"second\"", false); /* ...which was answered meanwhile */
    no_answer(&r);
    take(&r, "q3", "\"third\"", true);
    the_answer(&r, "\"third\"");
    reporter_fini(&r);
}

static void an_answer_that_overtakes_the_acknowledgement_is_not_lost(void **state) {
    (void) state;
    struct bowline_reporter r;
    reporter_init(&r);
    ask(&r);
    uint64_t before = r.version;
    take(&r, "q1", "1", true);
    assert_int_equal(r.version, before); /* so that it is asked for again */
    take(&r, NULL, NULL, false);
    take(&r, "q1", "1", true);
    the_answer(&r, "1");
    reporter_fini(&r);
}

static void a_question_whose_fate_is_unknown_is_not_asked_twice_once_it_is_answered(void **state) {
    (void) state;
    struct bowline_reporter r;
    reporter_init(&r);
    ask(&r);
    said_unsent(&r.said);
    r.question_doubt = true;
    assert_true(said_anything(&r.said));
    take(&r, "q1", "{\"go\":true}", false);
    the_answer(&r, "{\"go\":true}");
    assert_false(said_anything(&r.said));
    reporter_fini(&r);
}

static void a_cancel_request_is_seen_and_stays(void **state) {
    (void) state;
    struct bowline_reporter r;
    struct bowline_control c = {.state = BOWLINE_RUNNING, .cancel_requested = true};
    reporter_init(&r);
    assert_false(bowline_reporter_should_stop(&r));
    reporter_take(&r, &c, true, 0);
    assert_true(bowline_reporter_should_stop(&r));
    assert_true(bowline_reporter_cancel_requested(&r));
    assert_int_equal(bowline_reporter_wait(&r, 0, NULL), BOWLINE_OK);
    assert_int_equal(bowline_reporter_error(&r, NULL), BOWLINE_OK);
    reporter_fini(&r);
}

static void heartbeats_come_at_a_third_of_the_lease_or_sooner(void **state) {
    (void) state;
    struct bowline_reporter r;
    reporter_init(&r);
    for (int64_t lease_ms = 1000; lease_ms <= 120000; lease_ms += 250) {
        for (int64_t past_second_ms = 0; past_second_ms < 1000; past_second_ms += 333) {
            int64_t now_ms = 1700000000000 + past_second_ms;
            struct bowline_control c = {.state = BOWLINE_RUNNING, .lease_until_ms = now_ms + lease_ms};
            reporter_take(&r, &c, false, 1700000000000);
            assert_true(r.lease_beat_ms <= lease_ms / 3 && r.lease_beat_ms >= 100);
            assert_true(lease_ms < 4000 || r.lease_beat_ms >= lease_ms / 5);
        }
    }
    struct bowline_control asked = {.state = BOWLINE_INPUT_REQUIRED}, none = {.state = BOWLINE_RUNNING};
    reporter_take(&r, &asked, false, 1700000000000);
    assert_int_not_equal(r.lease_beat_ms, 0); /* it runs again with the answer */
    reporter_take(&r, &none, false, 1700000000000);
    assert_int_equal(r.lease_beat_ms, 0);
    reporter_fini(&r);
}

static void output_that_the_server_lost_ends_the_attempt(void **state) {
    (void) state;
    struct bowline_reporter r;
    struct bowline_control c = {.state = BOWLINE_RUNNING, .output_offset = 10};
    struct bowline_problem problem;
    reporter_init(&r);
    r.said.out_base = 20;
    reporter_take(&r, &c, false, 0);
    assert_int_equal(bowline_reporter_error(&r, &problem), BOWLINE_OUTPUT_GAP);
    assert_string_equal(problem.code, "output-gap");
    assert_true(bowline_reporter_should_stop(&r));
    assert_false(bowline_reporter_cancel_requested(&r));
    reporter_fini(&r);
}

static void an_unreachable_server_is_no_hindrance_to_the_worker(void **state) {
    (void) state;
    bowline_client *client;
    bowline_reporter *r;
    struct bowline_problem problem;
    assert_int_equal(bowline_client_open(&(struct bowline_client_options){.url = "http://127.0.0.1:1"}, &client), BOWLINE_OK);
    struct bowline_reporter_options options = {.task = "tsk_01J00000000000000000000000", .worker_token = "tsk_x", .buffer_bytes = 100};
    assert_int_equal(bowline_reporter_open(client, &options, &r), BOWLINE_OK);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(bowline_reporter_progress(r, i, 10000), BOWLINE_OK);
    }
    char bytes[101] = {0};
    assert_int_equal(bowline_reporter_output(r, bytes, 100), BOWLINE_OK);
    assert_int_equal(bowline_reporter_output(r, bytes, 1), BOWLINE_FULL);
    assert_int_equal(bowline_reporter_output(r, bytes, 101), BOWLINE_TOO_LARGE); /* it would be full for ever */
    assert_int_equal(bowline_reporter_flush(r, 0, &problem), BOWLINE_TIMED_OUT);
    assert_int_equal(bowline_reporter_succeed(r, "{"), BOWLINE_BAD_ARGUMENT);
    assert_int_equal(bowline_reporter_succeed(r, "{\"a\": 1}"), BOWLINE_OK);
    assert_int_equal(bowline_reporter_progress(r, 1, 1), BOWLINE_TASK_ENDED);
    assert_int_equal(bowline_reporter_flush(r, 0, &problem), BOWLINE_TIMED_OUT);
    bowline_reporter_free(r);
    bowline_client_close(client);
}

/* ---- a server that loses its answers, played by the test's own thread ---- */

/* Reads one request whole from the next connection or from that one (-1: none yet), which is given back. */
static int request_read(int listener, int fd, struct buf *ret_body) {
    struct buf all = {0};
    for (;;) {
        const char *head = all.len ? strstr(buf_z(&all), "\r\n\r\n") : NULL;
        const char *length = head ? strcasestr(all.data, "Content-Length: ") : NULL;
        if (head && length && all.len >= (size_t) (head + 4 - all.data) + strtoul(length + 16, NULL, 10)) {
            buf_clear(ret_body);
            buf_puts(ret_body, head + 4);
            buf_fini(&all);
            return fd;
        }
        char bytes[4096];
        fd = fd < 0 ? accept(listener, NULL, NULL) : fd;
        assert_true(fd >= 0);
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0) {
            close(fd);
            fd = -1;
            buf_clear(&all);
        }
        buf_put(&all, bytes, n > 0 ? (size_t) n : 0);
    }
}

static void answer_write(int fd, const char *state, unsigned output_offset) {
    char body[200], head[100];
    snprintf(body, sizeof body, "{\"state\":\"%s\",\"version\":2,\"cancel_requested\":false,\"output_offset\":%u}", state, output_offset);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    assert_true(send(fd, head, strlen(head), MSG_NOSIGNAL) > 0 && send(fd, body, strlen(body), MSG_NOSIGNAL) > 0);
}

/* The task has ended as said: that it has ended is no reason to think that somebody else did it. */
static void an_outcome_whose_answer_was_lost_is_said_again(void **state) {
    (void) state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    char url[40];
    struct buf body = {0};
    struct bowline_problem problem;
    bowline_client *client;
    bowline_reporter *r;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
    assert_int_equal(bind(listener, (struct sockaddr *) &a, sizeof a), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *) &a, &len), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(a.sin_port));
    assert_int_equal(bowline_client_open(&(struct bowline_client_options){.url = url}, &client), BOWLINE_OK);
    struct bowline_reporter_options options = {.task = "tsk_1", .worker_token = "tsk_1.w1.x", .no_control = true};
    assert_int_equal(bowline_reporter_open(client, &options, &r), BOWLINE_OK);
    fd = request_read(listener, -1, &body);
    assert_buf(&body, "{\"type\":\"heartbeat\"}");
    assert_int_equal(bowline_reporter_output(r, "abc", 3), BOWLINE_OK);
    assert_int_equal(bowline_reporter_succeed(r, "{\"a\":1}"), BOWLINE_OK);
    answer_write(fd, "running", 0);
    const char *said = "[{\"type\":\"output\",\"data\":\"abc\",\"offset\":0},{\"type\":\"succeed\",\"result\":{\"a\":1}}]";
    for (int lost = 0; lost < 2; lost++) {
        fd = request_read(listener, fd, &body);
        assert_buf(&body, said);
        assert_true(send(fd, "HTTP/1.1 2", 10, MSG_NOSIGNAL) == 10);
        close(fd);
        fd = -1;
    }
    fd = request_read(listener, fd, &body);
    assert_buf(&body, said);
    answer_write(fd, "succeeded", 3);
    assert_int_equal(bowline_reporter_flush(r, -1, &problem), BOWLINE_OK);
    assert_int_equal(bowline_reporter_error(r, &problem), BOWLINE_OK);
    bowline_reporter_free(r);
    bowline_client_close(client);
    buf_fini(&body);
    close(fd);
    close(listener);
}

/* What is wrong with an argument stays with the reporter until it is asked for, and the next thing said counts. */
static void what_cannot_be_sent_is_told_where_it_was_said(void **state) {
    (void) state;
    static char large[70000];
    struct bowline_reporter r;
    struct bowline_problem p;
    reporter_init(&r);
    r.report.busy = true; /* so that nobody is woken */
    assert_int_equal(bowline_reporter_problem(&r, &p), BOWLINE_OK);
    assert_int_equal(bowline_reporter_progress(&r, 1, -INFINITY), BOWLINE_BAD_ARGUMENT);
    assert_int_equal(bowline_reporter_problem(&r, &p), BOWLINE_BAD_ARGUMENT);
    assert_non_null(strstr(p.detail, "total"));
    assert_int_equal(bowline_reporter_problem(&r, &p), BOWLINE_OK);
    static const char *const no_json[] = {"", "NaN", "{\"a\":Infinity}", "[1", "'x'", "\"\xff\"", "1 2"};
    for (size_t i = 0; i < sizeof no_json / sizeof no_json[0]; i++) {
        assert_int_equal(bowline_reporter_data(&r, no_json[i]), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_reporter_problem(&r, &p), BOWLINE_BAD_ARGUMENT);
        assert_non_null(strstr(p.detail, "data"));
        assert_int_equal(bowline_reporter_succeed(&r, no_json[i]), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_reporter_problem(&r, &p), BOWLINE_BAD_ARGUMENT);
        assert_non_null(strstr(p.detail, "result"));
        assert_int_equal(bowline_reporter_ask(&r, "Go?", no_json[i]), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_reporter_fail(&r, "x", "m", no_json[i], false), BOWLINE_BAD_ARGUMENT);
    }
    assert_int_equal(bowline_reporter_ask(&r, "Go?", "[]"), BOWLINE_BAD_ARGUMENT);
    assert_int_equal(bowline_reporter_ask(&r, "", NULL), BOWLINE_BAD_ARGUMENT);
    static const char *const no_type[] = {"", "Disk full", "caf\xe9", "-x", "x/y"};
    for (size_t i = 0; i < sizeof no_type / sizeof no_type[0]; i++) {
        assert_int_equal(bowline_reporter_fail(&r, no_type[i], "m", NULL, false), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_reporter_problem(&r, &p), BOWLINE_BAD_ARGUMENT);
        assert_non_null(strstr(p.detail, "type"));
    }
    memset(large, '1', sizeof large - 1);
    assert_int_equal(bowline_reporter_data(&r, large), BOWLINE_BAD_ARGUMENT);
    assert_int_equal(bowline_reporter_fail(&r, "x", "m", large, false), BOWLINE_BAD_ARGUMENT);
    assert_false(said_anything(&r.said));
    assert_int_equal(bowline_reporter_fail(&r, "x", "caf\xe9", NULL, false), BOWLINE_OK);
    struct buf body = {0};
    assert_true(said_write(&r.said, &body));
    assert_buf(&body, "[{\"type\":\"fail\",\"error\":{\"type\":\"x\",\"message\":\"caf\xef\xbf\xbd\"}}]");
    buf_fini(&body);
    reporter_fini(&r);
}

/* The end of a task is told, however long what is said of it. */
static void a_long_end_is_cut(void **state) {
    (void) state;
    static char large[3001];
    struct bowline_reporter r;
    reporter_init(&r);
    r.report.busy = true;
    memset(large, 'x', 3000);
    assert_int_equal(bowline_reporter_fail(&r, "x", large, NULL, false), BOWLINE_OK);
    struct buf body = {0};
    assert_true(said_write(&r.said, &body));
    assert_int_equal(body.len, 2000 + strlen("[{\"type\":\"fail\",\"error\":{\"type\":\"x\",\"message\":\"\"}}]"));
    buf_fini(&body);
    reporter_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_given_once),
        cmocka_unit_test(an_older_answer_is_not_taken_for_the_newer_question),
        cmocka_unit_test(an_answer_that_overtakes_the_acknowledgement_is_not_lost),
        cmocka_unit_test(a_question_whose_fate_is_unknown_is_not_asked_twice_once_it_is_answered),
        cmocka_unit_test(a_cancel_request_is_seen_and_stays),
        cmocka_unit_test(heartbeats_come_at_a_third_of_the_lease_or_sooner),
        cmocka_unit_test(output_that_the_server_lost_ends_the_attempt),
        cmocka_unit_test(an_outcome_whose_answer_was_lost_is_said_again),
        cmocka_unit_test(an_unreachable_server_is_no_hindrance_to_the_worker),
        cmocka_unit_test(what_cannot_be_sent_is_told_where_it_was_said),
        cmocka_unit_test(a_long_end_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
