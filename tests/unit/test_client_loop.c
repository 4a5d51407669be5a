/* Requests side by side in a loop, against a server that this test plays itself, in the same thread. */
#include "unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc_fail.h"
#include "bowline.h"

#define TURNS_MAX 20000
#define PEERS 4

struct rig {
    bowline_client *client;
    bowline_loop *loop;
    int listener, peer[PEERS];
    unsigned peers;
    struct buf heard[PEERS];
};

/* What became of a request. */
struct told {
    unsigned done;
    int status, error;
    char detail[480], etag[48];
    double retry_after_s;
    int64_t date_ms;
    uint64_t output_offset;
    bool has_output_offset, output_complete;
    struct buf body, pieces;
    int stop_at; /* the piece that is the last one; 0: none */
    int piece;
    bowline_op *to_cancel;
    struct told *to_start;
    bowline_loop *loop;
};

static void on_done(void *arg, const struct bowline_response *response, const struct bowline_problem *problem) {
    struct told *t = arg;
    t->done++;
    t->status = response->status;
    t->error = problem ? problem->error : BOWLINE_OK;
    snprintf(t->detail, sizeof t->detail, "%s", problem ? problem->detail : "");
    snprintf(t->etag, sizeof t->etag, "%s", response->etag);
    t->retry_after_s = response->retry_after_s;
    t->date_ms = response->date_ms;
    t->has_output_offset = response->has_output_offset;
    t->output_offset = response->output_offset;
    t->output_complete = response->output_complete;
    buf_put(&t->body, response->body.data, response->body.len);
}

static int on_piece(void *arg, const void *data, size_t len) {
    struct told *t = arg;
    buf_put(&t->pieces, data, len);
    bowline_op_cancel(t->to_cancel);
    t->to_cancel = NULL;
    if (t->to_start) {
        struct bowline_request q = {.path = "/v1/started"};
        struct bowline_op_events on = {.done = on_done, .arg = t->to_start};
        assert_int_equal(bowline_request_start(t->loop, &q, &on, NULL, NULL), BOWLINE_OK);
        t->to_start = NULL;
    }
    return ++t->piece == t->stop_at;
}

static void told_fini(struct told *t) {
    buf_fini(&t->body);
    buf_fini(&t->pieces);
}

static void rig_open(struct rig *g) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    char url[40];
    *g = (struct rig){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    assert_true(g->listener >= 0);
    assert_int_equal(bind(g->listener, (struct sockaddr *) &a, sizeof a), 0);
    assert_int_equal(listen(g->listener, 16), 0);
    assert_int_equal(getsockname(g->listener, (struct sockaddr *) &a, &len), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(a.sin_port));
    struct bowline_client_options options = {.url = url, .credential = "blk_1"};
    assert_int_equal(bowline_client_open(&options, &g->client), BOWLINE_OK);
    assert_int_equal(bowline_loop_open(g->client, &g->loop, NULL), BOWLINE_OK);
}

static void rig_close(struct rig *g) {
    bowline_loop_close(g->loop);
    bowline_client_close(g->client);
    for (unsigned i = 0; i < g->peers; i++) {
        close(g->peer[i]);
        buf_fini(&g->heard[i]);
    }
    close(g->listener);
}

/* One turn of both sides. */
static void turn(struct rig *g) {
    struct pollfd fds[2 + PEERS] = {{.fd = bowline_loop_fd(g->loop), .events = POLLIN}, {.fd = g->listener, .events = POLLIN}};
    for (unsigned i = 0; i < PEERS; i++) {
        fds[2 + i] = (struct pollfd){.fd = i < g->peers ? g->peer[i] : -1, .events = POLLIN};
    }
    poll(fds, 2, 20);
    if (fds[0].revents) {
        assert_int_equal(bowline_loop_dispatch(g->loop), BOWLINE_OK);
    }
    int fd = g->peers < PEERS ? accept4(g->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (fd >= 0) {
        g->peer[g->peers++] = fd;
    }
    for (unsigned i = 0; i < g->peers; i++) {
        char bytes[4096];
        ssize_t n = recv(g->peer[i], bytes, sizeof bytes, 0);
        buf_put(&g->heard[i], bytes, n > 0 ? (size_t) n : 0);
    }
}

#define turn_until(g, condition)                       \
    do {                                               \
        int turns_ = 0;                                \
        while (!(condition) && turns_++ < TURNS_MAX) { \
            turn(g);                                   \
        }                                              \
        assert_true(condition);                        \
    } while (0)

static int peer_of(struct rig *g, const char *path) {
    for (unsigned i = 0; i < g->peers; i++) {
        if (g->heard[i].len && strstr(buf_z(&g->heard[i]), path) && strstr(buf_z(&g->heard[i]), "\r\n\r\n")) {
            return (int) i;
        }
    }
    return -1;
}

static int peer_await(struct rig *g, const char *path) {
    turn_until(g, peer_of(g, path) >= 0);
    return peer_of(g, path);
}

static void say(struct rig *g, int peer, const char *text) {
    assert_int_equal(send(g->peer[peer], text, strlen(text), MSG_NOSIGNAL), (ssize_t) strlen(text));
}

static bowline_op *start(struct rig *g, const char *path, bool pieces, struct told *t) {
    bowline_op *op;
    struct bowline_request q = {.path = path};
    struct bowline_op_events on = {.data = pieces ? on_piece : NULL, .done = on_done, .arg = t};
    t->loop = g->loop;
    assert_int_equal(bowline_request_start(g->loop, &q, &on, &op, NULL), BOWLINE_OK);
    return op;
}

static void a_request_goes_out_as_it_was_made_and_any_answer_comes_back_whole(void **state) {
    (void) state;
    struct rig g;
    struct told t = {0};
    rig_open(&g);
    const char *headers[] = {"If-None-Match: \"7\"", "User-Agent: mine/1", NULL};
    char body[] = "{\"a\":1}";
    struct bowline_request q = {.method = "POST", .path = "/v1/x?y=%20", .body = body, .body_len = 7, .headers = headers, .credential = "tsk_1.w1.a"};
    struct bowline_op_events on = {.done = on_done, .arg = &t};
    assert_int_equal(bowline_request_start(g.loop, &q, &on, NULL, NULL), BOWLINE_OK);
    memset(body, '?', 7); /* arguments are copied */
    int peer = peer_await(&g, "{\"a\":1}");
    const char *heard = buf_z(&g.heard[peer]);
    assert_ptr_equal(strstr(heard, "POST /v1/x?y=%20 HTTP/1.1\r\n"), heard);
    assert_non_null(strstr(heard, "Authorization: Bearer tsk_1.w1.a\r\n"));
    assert_non_null(strstr(heard, "If-None-Match: \"7\"\r\n"));
    assert_non_null(strstr(heard, "User-Agent: mine/1\r\n"));
    assert_null(strstr(heard, "libbowline"));
    assert_non_null(strstr(heard, "Content-Type: application/json\r\n"));
    say(&g, peer,
        "HTTP/1.1 404 Not Found\r\nETag: \"9\"\r\nRetry-After: 3\r\nDate: Thu, 01 Jan 1970 00:00:07 GMT\r\n"
        "Bowline-Output-Offset: 12\r\nBowline-Output-Complete: true\r\nContent-Length: 4\r\n\r\ngone");
    turn_until(&g, t.done);
    assert_int_equal(t.error, BOWLINE_OK);
    assert_int_equal(t.status, 404);
    assert_buf(&t.body, "gone");
    assert_string_equal(t.etag, "\"9\"");
    assert_true(t.retry_after_s == 3 && t.date_ms == 7000);
    assert_true(t.has_output_offset && t.output_offset == 12 && t.output_complete);
    told_fini(&t);
    rig_close(&g);
}

static void a_stream_comes_in_pieces_and_its_callback_may_stop_it(void **state) {
    (void) state;
    struct rig g;
    struct told t = {.stop_at = 2}, refused = {0};
    rig_open(&g);
    start(&g, "/v1/stream", true, &t);
    start(&g, "/v1/refused", true, &refused);
    int peer = peer_await(&g, "/v1/stream");
    say(&g, peer, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\none ");
    turn_until(&g, t.piece == 1);
    say(&g, peer, "two");
    turn_until(&g, t.done);
    assert_int_equal(t.error, BOWLINE_OVER);
    assert_int_equal(t.status, 200);
    assert_buf(&t.pieces, "one two");
    assert_int_equal(t.body.len, 0);
    say(&g, peer_await(&g, "/v1/refused"), "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nwhy");
    turn_until(&g, refused.done);
    assert_int_equal(refused.error, BOWLINE_OK);
    assert_int_equal(refused.piece, 0);
    assert_buf(&refused.body, "why");
    told_fini(&t);
    told_fini(&refused);
    rig_close(&g);
}

static void a_callback_may_cancel_and_start_others(void **state) {
    (void) state;
    struct rig g;
    struct told t = {0}, other = {0}, later = {0};
    rig_open(&g);
    start(&g, "/v1/stream", true, &t);
    t.to_cancel = start(&g, "/v1/other", true, &other);
    t.to_start = &later;
    peer_await(&g, "/v1/other");
    say(&g, peer_await(&g, "/v1/stream"), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    turn_until(&g, t.done);
    say(&g, peer_await(&g, "/v1/started"), "HTTP/1.1 204 No Content\r\n\r\n");
    turn_until(&g, later.done);
    assert_int_equal(later.status, 204);
    assert_int_equal(other.done, 0);
    assert_int_equal(bowline_loop_dispatch(g.loop), BOWLINE_OK);
    told_fini(&t);
    rig_close(&g);
}

static void silence_gives_a_connection_up(void **state) {
    (void) state;
    struct rig g;
    struct told t = {0};
    rig_open(&g);
    struct bowline_request q = {.path = "/v1/stream", .silence_ms = 100};
    struct bowline_op_events on = {.data = on_piece, .done = on_done, .arg = &t};
    assert_int_equal(bowline_request_start(g.loop, &q, &on, NULL, NULL), BOWLINE_OK);
    turn_until(&g, t.done);
    assert_int_equal(t.error, BOWLINE_UNREACHABLE);
    assert_non_null(strstr(t.detail, "nothing was heard for 0.1 s"));
    told_fini(&t);
    rig_close(&g);
}

static void a_broken_answer_is_told_from_a_whole_one(void **state) {
    (void) state;
    struct rig g;
    struct told t = {0};
    rig_open(&g);
    start(&g, "/v1/cut", false, &t);
    int peer = peer_await(&g, "/v1/cut");
    say(&g, peer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    shutdown(g.peer[peer], SHUT_WR);
    turn_until(&g, t.done);
    assert_int_equal(t.error, BOWLINE_UNREACHABLE);
    assert_int_equal(t.status, 200);
    told_fini(&t);
    rig_close(&g);
}

static void hanging_up_lets_an_answer_on_its_way_arrive(void **state) {
    (void) state;
    struct rig g;
    struct told t = {0};
    char byte;
    rig_open(&g);
    bowline_op *op = start(&g, "/v1/claim", false, &t);
    bowline_op_hang_up(op); /* nothing is there yet: without effect */
    int peer = peer_await(&g, "/v1/claim");
    bowline_op_hang_up(op);
    turn_until(&g, recv(g.peer[peer], &byte, 1, MSG_PEEK) == 0);
    say(&g, peer, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntask");
    turn_until(&g, t.done);
    assert_string_equal(t.detail, "");
    assert_buf(&t.body, "task");
    told_fini(&t);
    rig_close(&g);
}

static void connections_are_closed_where_another_program_begins(void **state) {
    (void) state;
    struct rig g;
    struct told t = {0};
    unsigned sockets = 0;
    rig_open(&g);
    start(&g, "/v1/x", false, &t);
    peer_await(&g, "/v1/x");
    for (int fd = 0; fd < 256; fd++) {
        struct sockaddr_in a;
        socklen_t len = sizeof a;
        if (fd != g.peer[0] && getpeername(fd, (struct sockaddr *) &a, &len) == 0 && a.sin_family == AF_INET) {
            assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
            sockets++;
        }
    }
    assert_int_equal(sockets, 1);
    assert_true(fcntl(bowline_loop_fd(g.loop), F_GETFD) & FD_CLOEXEC);
    rig_close(&g);
    assert_int_equal(t.done, 0); /* cancelled by the end of the loop */
}

static void what_cannot_be_sent_is_refused_at_once(void **state) {
    (void) state;
    struct rig g;
    struct told t = {0};
    struct bowline_response response;
    struct bowline_problem p;
    static const char *const split[] = {"X: a\r\nB: c", NULL}, *const nameless[] = {": a", NULL}, *const colonless[] = {"abc", NULL};
    const struct bowline_request bad[] = {
        {.path = NULL},
        {.path = "v1"},
        {.path = "/v1/a\r\nb"},
        {.path = "/v1/a b"},
        {.path = "/", .method = ""},
        {.path = "/", .method = "GET /\r\n"},
        {.path = "/", .headers = split},
        {.path = "/", .headers = nameless},
        {.path = "/", .headers = colonless},
        {.path = "/", .credential = "a\nb"},
        {.path = "/", .body_len = 1},
        {.path = "/", .timeout_ms = -2},
        {.path = "/", .silence_ms = -1},
    };
    struct bowline_op_events on = {.done = on_done, .arg = &t}, deaf = {.arg = &t};
    rig_open(&g);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(bowline_request_start(g.loop, &bad[i], &on, NULL, &p), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(bowline_request_perform(g.client, &bad[i], &response, &p), BOWLINE_BAD_ARGUMENT);
        assert_true(p.detail[0]);
    }
    assert_int_equal(bowline_request_start(g.loop, &(struct bowline_request){.path = "/"}, &deaf, NULL, &p), BOWLINE_BAD_ARGUMENT);
    assert_int_equal(t.done, 0);
    rig_close(&g);
}

static void without_memory_a_request_is_not_begun_or_says_so(void **state) {
    (void) state;
    for (unsigned skip = 0, refused = 1; refused; skip++) {
        struct rig g;
        struct told t = {0};
        struct bowline_request q = {.method = "POST", .path = "/v1/x", .body = "{}", .body_len = 2};
        struct bowline_op_events on = {.done = on_done, .arg = &t};
        rig_open(&g);
        alloc_fail_after(skip, 0);
        int error = bowline_request_start(g.loop, &q, &on, NULL, NULL);
        refused = alloc_fail_stop();
        assert_true(error == BOWLINE_OK || error == BOWLINE_NO_MEMORY);
        rig_close(&g);
    }
}

static void opening_a_client_tells_why_it_did_not(void **state) {
    (void) state;
    static const struct {
        const char *url, *credential;
        double retry_s;
        const char *word;
    } cases[] = {
        {"http://", NULL, 0, "url"},       {"http:///x", NULL, 0, "url"},
        {"ftp://h", NULL, 0, "url"},       {NULL, NULL, 0, "url"},
        {"http://h/v1", NULL, 0, "url"},   {"http://h", "blk_1\n", 0, "credential"},
        {"http://h", NULL, -1, "retry_s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bowline_problem p = {0};
        bowline_client *client;
        struct bowline_client_options o = {.url = cases[i].url, .credential = cases[i].credential, .retry_s = cases[i].retry_s, .problem = &p};
        assert_int_equal(bowline_client_open(&o, &client), BOWLINE_BAD_ARGUMENT);
        assert_int_equal(p.error, BOWLINE_BAD_ARGUMENT);
        assert_non_null(strstr(p.detail, cases[i].word));
        assert_null(strstr(p.detail, "blk_1")); /* no secret in what may be logged */
    }
}

static void opening_a_reporter_and_a_watch_tells_why_it_did_not(void **state) {
    (void) state;
    struct rig g;
    struct bowline_problem p = {0};
    bowline_reporter *r;
    bowline_watch *w;
    rig_open(&g);
    struct bowline_reporter_options untasked = {.problem = &p}, split = {.task = "t", .worker_token = "tsk_1.w1.x\n", .problem = &p};
    assert_int_equal(bowline_reporter_open(g.client, &untasked, &r), BOWLINE_BAD_ARGUMENT);
    assert_non_null(strstr(p.detail, "task"));
    assert_int_equal(bowline_reporter_open(g.client, &split, &r), BOWLINE_BAD_ARGUMENT);
    assert_non_null(strstr(p.detail, "worker_token"));
    assert_null(strstr(p.detail, "tsk_1.w1.x"));
    struct bowline_watch_options both = {.session = "s", .task = "t", .problem = &p};
    assert_int_equal(bowline_watch_open(g.client, &both, NULL, NULL, &w), BOWLINE_BAD_ARGUMENT);
    assert_non_null(strstr(p.detail, "on_event"));
    rig_close(&g);
}

/* What waits with a server that accepts and never answers, or is not there at all, ends by its own time limit and not by the client's. */
static void a_wait_ends_when_it_says_and_not_by_other_limits(void **state) {
    (void) state;
    struct rig g;
    struct bowline_task *t;
    struct bowline_output output;
    struct bowline_problem p;
    rig_open(&g);
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    char url[40];
    assert_int_equal(getsockname(g.listener, (struct sockaddr *) &a, &len), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(a.sin_port));
    for (int away = 0; away < 2; away++) {
        bowline_client *patient;
        /* Each of these limits would keep a wait far longer than this test may take. */
        struct bowline_client_options options = {.url = url, .timeout_s = 1e6, .retry_s = 1e6};
        assert_int_equal(bowline_client_open(&options, &patient), BOWLINE_OK);
        int expected = away ? BOWLINE_UNREACHABLE : BOWLINE_TIMED_OUT;
        assert_int_equal(bowline_task_wait(patient, "tsk_1", 100, &t, &p), expected);
        assert_int_equal(bowline_task_wait_change(patient, "tsk_1", 7, 100, &t, &p), expected);
        if (!away) {
            assert_int_equal(bowline_task_output(patient, "tsk_1", 5, 100, &output, &p), BOWLINE_OK);
            assert_true(output.bytes.len == 0 && output.offset == 5 && !output.complete);
            bowline_text_fini(&output.bytes);
        }
        bowline_client_close(patient);
        if (!away) {
            close(g.listener);
            g.listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
    }
    rig_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_out_as_it_was_made_and_any_answer_comes_back_whole),
        cmocka_unit_test(a_stream_comes_in_pieces_and_its_callback_may_stop_it),
        cmocka_unit_test(a_callback_may_cancel_and_start_others),
        cmocka_unit_test(silence_gives_a_connection_up),
        cmocka_unit_test(a_broken_answer_is_told_from_a_whole_one),
        cmocka_unit_test(hanging_up_lets_an_answer_on_its_way_arrive),
        cmocka_unit_test(connections_are_closed_where_another_program_begins),
        cmocka_unit_test(what_cannot_be_sent_is_refused_at_once),
        cmocka_unit_test(without_memory_a_request_is_not_begun_or_says_so),
        cmocka_unit_test(opening_a_client_tells_why_it_did_not),
        cmocka_unit_test(opening_a_reporter_and_a_watch_tells_why_it_did_not),
        cmocka_unit_test(a_wait_ends_when_it_says_and_not_by_other_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
