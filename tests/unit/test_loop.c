/* Requests and answers over real sockets: order, bodies both ways, limits, timeouts, and how connections end. */
#include "loop_harness.h"

#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void answers_have_their_head(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, GET("/"));
    client_expect(&c, "HTTP/1.1 200 OK\r\nDate: ");
    client_expect(&c, " GMT\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello");
    client_send(&c, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" GET("/empty") GET("/now"));
    client_expect(&c, "Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nHTTP/1.1 204 No Content\r\nDate: ");
    client_expect(&c, "GMT\r\nContent-Type: text/plain\r\n\r\nHTTP/1.1 200 OK\r\n");
    client_expect(&c, "\r\n\r\nnow");
    client_send(&c, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    client_expect(&c, "Connection: keep-alive\r\n");
    client_expect(&c, "Connection: close\r\n");
    assert_non_null(strstr(client_rest(&c), "hello"));
    client_close(&c);
    server_stop(0);
}

static void answer_late(void *arg) {
    struct buf body = {0};
    unsigned i = *(unsigned *) arg;
    struct http_request *r = server.late[i];
    buf_str(&body, r->path);
    http_respond(r, 200, &body, false);
}

static void pipelined_answers_keep_their_order(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, GET("/late0") GET("/late1") GET("/now") GET("/late2"));
    wait_for(&server.late_count, 3);
    for (unsigned i = 3; i-- > 0;) {
        assert_true(client_silent(&c, 30));
        on_loop(answer_late, &i);
    }
    client_expect(&c, "/late0HTTP/1.1");
    client_expect(&c, "/late1HTTP/1.1");
    client_expect(&c, "nowHTTP/1.1");
    client_expect(&c, "/late2");
    client_close(&c);
    server_stop(0);
}

static void no_more_than_so_many_at_once(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    for (unsigned i = 0; i < 70; i++) {
        client_send(&c, GET("/late"));
    }
    wait_for(&server.late_count, HTTP_PIPELINE);
    assert_true(client_silent(&c, 50));
    wait_for(&server.late_count, HTTP_PIPELINE);
    for (unsigned i = 0; i < 70; i++) {
        wait_for(&server.late_count, i + HTTP_PIPELINE < 70 ? i + HTTP_PIPELINE : 70);
        on_loop(answer_late, &i);
        client_expect(&c, "/late");
    }
    client_close(&c);
    server_stop(0);
}

static void bodies_come_whole(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    assert_true(client_silent(&c, 30));
    client_send(&c, "56789"
                    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client_expect(&c, "\r\n\r\n0123456789");
    client_send(&c, "2\r\nde\r\n0\r\n\r\n");
    client_expect(&c, "\r\n\r\nabcde");
    struct buf big = {0};
    buf_puts(&big, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    for (unsigned i = 0; i < 300000; i++) {
        buf_char(&big, (char) ('a' + i % 26));
    }
    client_send(&c, buf_z(&big));
    client_expect(&c, "Content-Length: 300000\r\n");
    client_expect(&c, big.data + big.len - 299990);
    buf_fini(&big);
    client_close(&c);
    server_stop(0);
}

static void resume(void *arg) {
    (void) arg;
    http_body_resume(server.late[0]);
}

static void bodies_stream_both_ways(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    client_expect(&c, "Transfer-Encoding: chunked\r\n\r\n");
    client_send(&c, "3\r\nabc\r\n");
    client_expect(&c, "3\r\nabc\r\n");
    server.pause = true;
    client_send(&c, "2\r\nde\r\n");
    client_expect(&c, "2\r\nde\r\n");
    client_send(&c, "1\r\nf\r\n0\r\n\r\n" GET("/"));
    assert_true(client_silent(&c, 50));
    on_loop(resume, NULL);
    client_expect(&c, "1\r\nf\r\n0\r\n\r\nHTTP/1.1 200");
    client_expect(&c, "hello");
    client_send(&c, "POST /stream HTTP/1.0\r\nContent-Length: 3\r\n\r\nxyz");
    client_expect(&c, "Connection: close\r\n\r\nxyz");
    assert_string_equal(client_rest(&c), "");
    client_close(&c);
    server_stop(0);
}

/* Something is sent at the same time, as the answer that lets a body go on does. */
static void say_and_resume(void *arg) {
    (void) arg;
    http_write(server.late[0], STR("!"));
    http_body_resume(server.late[0]);
    usleep(20000); /* the next turn finds timers that are due */
}

static struct client paused_stream(void) {
    struct client c = client_open();
    server.pause = true;
    client_send(&c, "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n");
    client_expect(&c, "3\r\nabc\r\n");
    wait_for(&server.late_count, 1);
    return c;
}

/* In one chunk or two, as they come. */
static void expect_the_rest(struct client *c) {
    client_expect(c, "!");
    client_expect(c, "d");
    client_expect(c, "\r\n0\r\n\r\n");
}

static void half_closed_streams_are_read_to_their_end(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = paused_stream();
    shutdown(c.fd, SHUT_WR);
    on_loop(say_and_resume, NULL);
    expect_the_rest(&c);
    assert_string_equal(client_rest(&c), "");
    client_close(&c);
    server_stop(0);
}

static void a_body_that_had_to_wait_is_not_late(void **state) {
    static const struct http_limits limits = {1000, 1000, 300, 1000, 1000, 200, 10000, 10000, 1000000, 10000, 0};
    (void) state;
    server_start(&limits);
    struct client c = paused_stream();
    assert_true(client_silent(&c, 500));
    on_loop(say_and_resume, NULL);
    expect_the_rest(&c);
    client_send(&c, GET("/"));
    client_expect(&c, "hello");
    client_close(&c);
    server_stop(0);
}

static void expectations_are_met(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    client_expect(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(&c, "abc");
    client_expect(&c, "HTTP/1.1 200 OK");
    client_expect(&c, "abc");
    client_send(&c, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    client_expect(&c, "HTTP/1.1 200 OK");
    client_expect(&c, "Connection: close\r\n");
    client_rest(&c);
    client_close(&c);
    server_stop(0);
}

static void early_answers_keep_the_connection_if_little_follows(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    client_expect(&c, "now");
    client_send(&c, "12345" GET("/"));
    client_expect(&c, "hello");
    client_send(&c, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n");
    client_expect(&c, "Connection: close\r\n");
    for (unsigned i = 0; i < 1000; i++) {
        send(c.fd, "0123456789", 10, MSG_NOSIGNAL); /* still being sent: must not reset the answer */
    }
    client_expect(&c, "now");
    client_rest(&c);
    client_close(&c);
    server_stop(0);
}

static void refused(const char *request, const char *status) {
    struct client c = client_open();
    client_send(&c, request);
    client_expect(&c, status);
    client_expect(&c, "Connection: close\r\n");
    client_expect(&c, "application/problem+json\r\n\r\n{\"type\":\"urn:bowline:problem:");
    client_rest(&c);
    client_close(&c);
}

static void what_cannot_be_read_is_refused(void **state) {
    static const struct http_limits limits = {1000, 1000, 300, 1000, 1000, 1000, 10000, 10000, 1000000, 10000, 0};
    char line[600];
    (void) state;
    server_start(&limits);
    refused("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request");
    refused("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 413 ");
    refused("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n0123456789", "HTTP/1.1 408 ");
    memset(line, 'a', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    memcpy(line, "GET /", 5);
    refused(line, "HTTP/1.1 414 ");
    memcpy(line, "GET / HTTP/1.1\r\nHost: a\r\nX:", 27);
    struct buf large = {0};
    buf_puts(&large, line);
    buf_puts(&large, line + 27);
    refused(buf_z(&large), "HTTP/1.1 431 ");
    buf_fini(&large);
    wait_for(&server.gone, 2); /* of those it had heard */
    refused("GET / HT", "HTTP/1.1 408 ");
    refused("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1", "HTTP/1.1 408 ");
    wait_for(&server.gone, 3);
    server_stop(0);
}

static void idle_connections_are_closed_silently(void **state) {
    static const struct http_limits limits = {1000, 1000, 300, 1000, 1000, 1000, 1000, 10000, 1000000, 10000, 0};
    (void) state;
    server_start(&limits);
    struct client a = client_open(), b = client_open();
    client_send(&b, GET("/"));
    client_expect(&b, "hello");
    assert_string_equal(client_rest(&a), "");
    assert_string_equal(client_rest(&b), "");
    client_close(&a);
    client_close(&b);
    server_stop(0);
}

static void half_closed_peers_get_their_answers(void **state) {
    unsigned first = 0;
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, GET("/") GET("/late") GET("/now"));
    shutdown(c.fd, SHUT_WR);
    client_expect(&c, "hello");
    assert_true(client_silent(&c, 20));
    on_loop(answer_late, &first);
    const char *rest = client_rest(&c);
    assert_non_null(strstr(rest, "/late"));
    assert_non_null(strstr(rest, "now"));
    wait_for(&server.gone, 0);
    client_close(&c);
    c = client_open();
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1");
    wait_for(&server.gone, 0);
    shutdown(c.fd, SHUT_WR);
    assert_string_equal(client_rest(&c), "");
    wait_for(&server.gone, 1);
    client_close(&c);
    server_stop(0);
}

static void half_closed_peers_get_all_answers_however_many(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    struct buf many = {0};
    for (unsigned i = 0; i < 4 * HTTP_PIPELINE; i++) {
        buf_puts(&many, GET("/"));
    }
    client_send(&c, buf_z(&many));
    shutdown(c.fd, SHUT_WR);
    for (unsigned i = 0; i < 4 * HTTP_PIPELINE; i++) {
        client_expect(&c, "hello");
    }
    assert_string_equal(client_rest(&c), "");
    buf_fini(&many);
    client_close(&c);
    server_stop(0);
}

#define OTHERS 100

struct crowd {
    struct client greedy, others[OTHERS];
    struct buf many;
};

/* While the loop is here it reads nothing: all of it is there when it comes to the poll, the many first. */
static void crowd_sends(void *arg) {
    struct crowd *crowd = arg;
    client_send(&crowd->greedy, buf_z(&crowd->many));
    for (unsigned i = 0; i < OTHERS; i++) {
        client_send(&crowd->others[i], GET("/mark"));
    }
}

static void who_pipelines_overtakes_nobody(void **state) {
    static const struct http_limits limits = {1000, 1000, 300, 1000, 10000, 10000, 10000, 10000, 1000000, 10000, HTTP_PIPELINE};
    struct crowd crowd = {0};
    (void) state;
    server_start(&limits);
    crowd.greedy = client_open();
    for (unsigned i = 0; i < OTHERS; i++) {
        crowd.others[i] = client_open();
        client_send(&crowd.others[i], GET("/"));
        client_expect(&crowd.others[i], "hello");
    }
    for (unsigned i = 0; i < 30 * HTTP_PIPELINE; i++) {
        buf_puts(&crowd.many, GET("/"));
    }
    on_loop(crowd_sends, &crowd);
    for (unsigned i = 0; i < OTHERS; i++) {
        client_expect(&crowd.others[i], "marked");
    }
    assert_true(server.marked <= 2 * OTHERS + 3 * HTTP_PIPELINE);
    for (unsigned i = 0; i < OTHERS; i++) {
        client_close(&crowd.others[i]);
    }
    for (unsigned i = 0; i < 30 * HTTP_PIPELINE; i++) {
        client_expect(&crowd.greedy, "hello");
    }
    buf_fini(&crowd.many);
    client_close(&crowd.greedy);
    server_stop(0);
}

static void peers_that_are_gone_are_noticed(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    client_send(&c, GET("/late") GET("/late-for-somebody"));
    wait_for(&server.late_count, 2);
    client_close(&c); /* ends in order: one of the requests is of no use to a half-closed peer */
    wait_for(&server.gone, 2);
    c = client_open();
    client_send(&c, GET("/late"));
    wait_for(&server.late_count, 3);
    struct linger hard = {1, 0};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    client_close(&c); /* reset */
    wait_for(&server.gone, 3);
    server_stop(0);
}

static void stalled_readers_are_cut(void **state) {
    static const struct http_limits limits = {1 << 24, 1000, 300, 1000, 1000, 1000, 10000, 10000, 1000000, 200, 0};
    (void) state;
    server_start(&limits);
    struct client c = client_open_slow();
    struct buf big = {0};
    buf_puts(&big, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n");
    buf_reserve(&big, 8000000);
    memset(big.data + big.len, 'x', 8000000);
    big.len += 8000000;
    client_send(&c, buf_z(&big));
    buf_fini(&big);
    struct http_counts counts;
    int64_t until = test_now_ms() + 20000;
    do {
        usleep(20000);
        counts = server_counts();
    } while (counts.connections && test_now_ms() < until);
    assert_int_equal(counts.connections, 0);
    assert_true(counts.bytes_out > 0 && counts.bytes_out < 8000000);
    client_close(&c);
    server_stop(0);
}

static void draining_answers_what_is_under_way(void **state) {
    unsigned first = 0;
    (void) state;
    server_start(NULL);
    struct client idle = client_open(), busy = client_open();
    client_send(&idle, GET("/"));
    client_expect(&idle, "hello");
    client_send(&busy, GET("/late"));
    wait_for(&server.late_count, 1);
    server_drain(20000);
    assert_string_equal(client_rest(&idle), "");
    on_loop(answer_late, &first);
    client_expect(&busy, "Connection: close\r\n");
    client_rest(&busy);
    client_close(&idle);
    client_close(&busy);
    server_join();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_have_their_head),
        cmocka_unit_test(pipelined_answers_keep_their_order),
        cmocka_unit_test(no_more_than_so_many_at_once),
        cmocka_unit_test(bodies_come_whole),
        cmocka_unit_test(bodies_stream_both_ways),
        cmocka_unit_test(half_closed_streams_are_read_to_their_end),
        cmocka_unit_test(a_body_that_had_to_wait_is_not_late),
        cmocka_unit_test(expectations_are_met),
        cmocka_unit_test(early_answers_keep_the_connection_if_little_follows),
        cmocka_unit_test(what_cannot_be_read_is_refused),
        cmocka_unit_test(idle_connections_are_closed_silently),
        cmocka_unit_test(half_closed_peers_get_their_answers),
        cmocka_unit_test(half_closed_peers_get_all_answers_however_many),
        cmocka_unit_test(who_pipelines_overtakes_nobody),
        cmocka_unit_test(peers_that_are_gone_are_noticed),
        cmocka_unit_test(stalled_readers_are_cut),
        cmocka_unit_test(draining_answers_what_is_under_way),
    };
    int failed = cmocka_run_group_tests_name("mail is read when the loop is woken", tests, NULL, NULL);
    mail_in_turn = true;
    return failed + cmocka_run_group_tests_name("mail is read in the loop's turns", tests, NULL, NULL);
}
