/* Watchers over real sockets: what each way of reading a feed is given, in which order, and how it ends. */
#include "loop_harness.h"

#include "base/clock.h"
#include "net/wsframe.h"

#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define UPGRADE(more) \
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" more "\r\n"
#define LATE_UPGRADE \
    "GET /late HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" VERSION "\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define EVENT(n, data) "id: e-f-" n "\nevent: task\ndata: " data "\n\n"
#define LIVE(n) "id: e-f-" n "\nevent: live\ndata: {\"seq\":" n "}\n\n"

struct flood {
    uint64_t from, to;
    size_t bytes;
};

static void do_flood(void *arg) {
    const struct flood *k = arg;
    char *data = malloc(k->bytes + 64);
    for (uint64_t seq = k->from; seq < k->to; seq++) {
        int n = snprintf(data, 64, "\"%llu ", (unsigned long long) seq);
        memset(data + n, 'x', k->bytes);
        memcpy(data + (size_t) n + k->bytes, "\"", 2);
        feed_publish(server.feed, frame_of(FRAME_STATE, seq, (unsigned) (seq % 2), data));
        feed_synced(server.feed, seq);
    }
    free(data);
}

static void a_fresh_stream_is_state_then_live_then_changes(void **state) {
    (void) state;
    server_start(NULL);
    publish(FRAME_STATE, 3, 1, "{\"a\":3}");
    publish(FRAME_GONE, 4, 2, "{\"gone\":4}");
    publish(FRAME_STATE, 5, 1, "{\"a\":5}");
    server.start.from.live_seq = 6;
    server.more_header = STR("1");
    struct client c = client_open();
    client_send(&c, GET("/events"));
    client_expect(&c, "HTTP/1.1 200 OK\r\nDate: ");
    client_expect(&c, "Connection: close\r\nContent-Type: text/event-stream\r\nX-More: 1\r\n\r\n"
                      "retry: 2000\nid: e-f-0\n\n");
    assert_true(client_silent(&c, 30)); /* the feed is not there yet */
    synced(6);
    client_expect(&c, EVENT("5", "{\"a\":5}") LIVE("6"));
    assert_int_equal(c.got.len, 0);
    publish(FRAME_GONE, 7, 1, "{\"gone\":7}");
    client_expect(&c, EVENT("7", "{\"gone\":7}"));
    client_close(&c);
    wait_for(&server.unwatched, 1);
    server_stop(0);
}

/* A page may end in the snapshot phase: its cursor says where that began, and what had gone by then is not needed. */
static void a_page_in_the_snapshot_phase_says_where_it_began(void **state) {
    (void) state;
    server_start(NULL);
    for (uint64_t seq = 1; seq <= 1001; seq++) {
        publish(FRAME_STATE, seq, (unsigned) seq, "1");
    }
    publish(FRAME_GONE, 1002, 2000, "1");
    synced(1002);
    server.start.from.gone_floor = 1002;
    server.start.from.live_seq = 1002;
    struct client c = client_open();
    client_send(&c, GET("/page"));
    client_expect(&c, "{\"id\":\"e-f-1000\",\"event\":\"task\",\"data\":1}],\"cursor\":\"e-f-1000.1002\"}");
    server.start.from.fresh = false;
    server.start.from.cursor = 1000;
    server.start.from.gone_from = 1002;
    client_send(&c, GET("/page"));
    client_expect(&c, "{\"events\":[{\"id\":\"e-f-1001\",\"event\":\"task\",\"data\":1}],\"cursor\":\"e-f-1002\"}");
    client_close(&c);
    wait_for(&server.unwatched, 2);
    server_stop(0);
}

/* A feed that catches up still has what was: who comes fresh, and is not told of those gone, is not shown them either. */
static void a_fresh_reader_waits_for_what_had_gone(void **state) {
    static const char *const requests[] = {GET("/events"), UPGRADE(VERSION), GET("/page")};
    static const char *const told[] = {EVENT("5", "5") LIVE("9"), "\"data\":{\"seq\":9}}",
                                       "{\"events\":[{\"id\":\"e-f-5\",\"event\":\"task\",\"data\":5}],\"cursor\":\"e-f-5\"}"};
    (void) state;
    for (unsigned i = 0; i < 3; i++) {
        server_start(NULL);
        publish(FRAME_STATE, 3, 1, "3");
        publish(FRAME_STATE, 4, 2, "4");
        server.start.from.live_seq = 9;
        struct client c = client_open();
        client_send(&c, requests[i]);
        wait_for_watchers(1);
        if (i < 2) {
            client_expect(&c, i ? "\r\n\r\n" : "id: e-f-0\n\n");
        }
        assert_true(client_silent(&c, 30));
        publish(FRAME_STATE, 5, 2, "5");
        publish(FRAME_GONE, 8, 1, "8");
        assert_true(client_silent(&c, 30));
        synced(9);
        client_expect(&c, told[i]);
        assert_true(client_silent(&c, 30));
        client_close(&c);
        server_stop(0);
    }
}

/* The same for streams, which may be cut off there: each event, and what else has an id, says where the snapshot phase began. */
static void a_stream_in_the_snapshot_phase_says_where_it_began(void **state) {
    (void) state;
    server_start(NULL);
    publish(FRAME_STATE, 3, 1, "3");
    publish(FRAME_STATE, 5, 2, "5");
    publish(FRAME_STATE, 8, 3, "8");
    server.start.from.gone_floor = 6;
    server.start.from.live_seq = 9;
    struct client c = client_open(), w = client_open(), r = client_open();
    client_send(&c, GET("/events"));
    client_send(&w, UPGRADE(VERSION));
    wait_for_watchers(2);
    synced(9);
    client_expect(&c, "\n\nid: e-f-3.9\nevent: task\ndata: 3\n\nid: e-f-5.9\nevent: task\ndata: 5\n\n" EVENT("8", "8") LIVE("9"));
    client_expect(&w, "{\"id\":\"e-f-3.9\",\"event\":\"task\",\"data\":3}");
    client_expect(&w, "{\"id\":\"e-f-5.9\",\"event\":\"task\",\"data\":5}");
    client_expect(&w, "{\"id\":\"e-f-8\",\"event\":\"task\",\"data\":8}");
    server.start.from.fresh = false;
    server.start.from.cursor = 3;
    server.start.from.gone_from = 12;
    server.start.from.live_seq = 12;
    client_send(&r, GET("/events"));
    client_expect(&r, "retry: 2000\nid: e-f-3.12\n\n");
    cut(DISCONNECT_AT_ONCE, "session", "{}");
    client_expect(&r, "id: e-f-3.12\nevent: session\ndata: {}\n\n");
    client_close(&c);
    client_close(&w);
    client_close(&r);
    server_stop(0);
}

/* One far larger than a socket holds is cut in the middle: its rest has the same name. */
static void a_renamed_event_may_be_cut_in_the_middle(void **state) {
    (void) state;
    server_start(NULL);
    struct flood k = {1, 9, 400000};
    server.start.from.gone_floor = server.start.from.live_seq = 100;
    struct client c = client_open_slow();
    client_send(&c, GET("/events"));
    wait_for_watchers(1);
    on_loop(do_flood, &k);
    synced(100);
    client_expect(&c, "id: e-f-7.100\nevent: task\ndata: \"7 xxx");
    client_expect(&c, "xxx\"\n\nid: e-f-8.100\nevent: task\ndata: \"8 xxx");
    client_expect(&c, "xxx\"\n\n" LIVE("100"));
    client_close(&c);
    server_stop(0);
}

static void a_resumed_stream_begins_behind_its_cursor(void **state) {
    (void) state;
    server_start(NULL);
    publish(FRAME_STATE, 3, 1, "3");
    publish(FRAME_GONE, 4, 2, "4");
    publish(FRAME_STATE, 5, 3, "5");
    server.start.from.fresh = false;
    server.start.from.cursor = 3;
    server.start.from.live_seq = 4;
    struct client c = client_open();
    client_send(&c, GET("/late") GET("/events") GET("/late"));
    wait_for(&server.late_count, 1);
    assert_true(client_silent(&c, 20)); /* answers keep their order */
    client_close(&c);
    wait_for(&server.unwatched, 1);
    c = client_open();
    client_send(&c, GET("/events"));
    client_expect(&c, "\r\n\r\nretry: 2000\nid: e-f-3\n\n" EVENT("4", "4") LIVE("4") EVENT("5", "5"));
    assert_true(client_silent(&c, 20));
    server.start.from.reset = true;
    struct client d = client_open();
    client_send(&d, GET("/events"));
    client_expect(&d, "\r\n\r\nretry: 2000\nid: e-f-0\n\nid: e-f-0\nevent: reset\ndata: {}\n\n" EVENT("3", "3") LIVE("4") EVENT("5", "5"));
    shutdown(d.fd, SHUT_WR); /* a stream that is no longer listened to */
    assert_string_equal(client_rest(&d), "");
    client_close(&c);
    client_close(&d);
    server_stop(0);
}

static void watch_late(void *arg) {
    struct watch_start start = server.start;
    start.way = *(const enum watch_way *) arg;
    assert_true(http_watch(server.late[0], server.feed, &start));
}

/* What was asked before the loop drains is still served, and ends before the loop does. */
static void who_begins_to_watch_while_the_loop_drains_is_sent_away(void **state) {
    static const struct {
        enum watch_way way;
        const char *request, *end;
    } ways[] = {{WATCH_SSE, GET("/late"), "retry: "}, {WATCH_WEBSOCKET, LATE_UPGRADE, "\x88\x02\x03\xe9"}, {WATCH_PAGE, GET("/late"), "HTTP/1.1 "}};
    (void) state;
    for (unsigned i = 0; i < 3; i++) {
        enum watch_way way = ways[i].way;
        server_start(NULL);
        struct client c = client_open();
        client_send(&c, ways[i].request);
        wait_for(&server.late_count, 1);
        server_drain(300);
        on_loop(watch_late, &way);
        if (way != WATCH_PAGE) {
            client_expect(&c, "\r\n\r\n");
        }
        if (way == WATCH_SSE) {
            client_expect(&c, "id: e-f-0\n\n");
        }
        client_expect(&c, ways[i].end);
        client_rest(&c);
        client_close(&c);
        server_join();
    }
}

static void a_slow_reader_lands_on_the_newest_state(const char *request, const char *live) {
    server_start(NULL);
    struct client c = client_open_slow();
    client_send(&c, request);
    client_expect(&c, live);
    for (unsigned i = 0; i < 400; i++) {
        struct flood k = {1 + i * 2, 3 + i * 2, 20000};
        on_loop(do_flood, &k);
    }
    client_expect(&c, "800 xxxxx");
    publish(FRAME_STATE, 801, 1, "801");
    client_expect(&c, "e-f-801");
    struct http_counts counts;
    counts = server_counts();
    assert_true(counts.bytes_out < 8000000); /* of 16 MB */
    client_close(&c);
    server_stop(0);
}

static void slow_readers_skip(void **state) {
    (void) state;
    a_slow_reader_lands_on_the_newest_state(GET("/events"), LIVE("0"));
    a_slow_reader_lands_on_the_newest_state(UPGRADE(VERSION), "{\"seq\":0}}");
}

static void silence_is_broken(void **state) {
    static const struct http_limits limits = {1000, 1000, 300, 1000, 1000, 1000, 10000, 50, 1000000, 1000, 0};
    (void) state;
    server_start(&limits);
    struct client c = client_open(), w = client_open();
    client_send(&c, GET("/events"));
    client_expect(&c, LIVE("0"));
    client_expect(&c, ":\n\n");
    client_expect(&c, ":\n\n");
    client_send(&w, UPGRADE(VERSION));
    client_expect(&w, "\x89");
    for (int i = 0; i < 30; i++) { /* longer than a reader may stall: it takes them, and that is enough */
        client_expect(&w, "\x89");
    }
    client_close(&c);
    client_close(&w);
    server_stop(0);
}

static void do_stall(void *arg) {
    (void) arg;
    usleep(600000);
}

/* The wheel catches up tick by tick; a sign of life that is on its way is not sent again with each of them. */
static void one_sign_of_life_follows_a_stall(void **state) {
    static const struct http_limits limits = {1000, 1000, 300, 1000, 1000, 1000, 10000, 100, 1000000, 10000, 0};
    (void) state;
    server_start(&limits);
    struct client c = client_open(), w = client_open();
    client_send(&c, GET("/events"));
    client_expect(&c, LIVE("0"));
    client_send(&w, UPGRADE(VERSION));
    client_expect(&w, "{\"seq\":0}}");
    on_loop(do_stall, NULL);
    client_expect(&c, ":\n\n");
    assert_true(c.got.len < 30);
    client_expect(&w, "\x89");
    assert_true(w.got.len < 30);
    client_close(&c);
    client_close(&w);
    server_stop(0);
}

static void rotated_streams_get_what_was_before(void **state) {
    (void) state;
    server_start(NULL);
    publish(FRAME_STATE, 2, 1, "2");
    struct client c = client_open(), w = client_open();
    client_send(&c, GET("/events"));
    client_send(&w, UPGRADE(VERSION "Sec-WebSocket-Protocol: x, bowline.v1\r\n"));
    client_expect(&c, LIVE("0"));
    client_expect(&w, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: bowline.v1\r\n");
    client_expect(&w, "{\"id\":\"e-f-0\",\"event\":\"live\",\"data\":{\"seq\":0}}");
    client_expect(&c, EVENT("2", "2"));
    cut(DISCONNECT_FINISHED, "session", "{\"state\":\"rotated\"}");
    assert_string_equal(client_rest(&c), "id: e-f-2\nevent: session\ndata: {\"state\":\"rotated\"}\n\n");
    client_expect(&w, "{\"id\":\"e-f-2\",\"event\":\"session\",\"data\":{\"state\":\"rotated\"}}\x88\x02\x03\xe8");
    wait_for(&server.unwatched, 2);
    client_close(&c);
    client_close(&w);
    server_stop(0);
}

static void do_last_words(void *arg) {
    (void) arg;
    feed_publish(server.feed, frame_of(FRAME_STATE, 2, 1, "2"));
    feed_disconnect(server.feed, &(struct disconnect){1, 2, DISCONNECT_AT_ONCE, "session", STR("{}")});
    feed_publish(server.feed, frame_of(FRAME_STATE, 3, 1, "3"));
}

static void do_finish(void *arg) {
    (void) arg;
    feed_publish(server.feed, frame_of(FRAME_STATE, 4, 1, "4"));
    feed_disconnect(server.feed, &(struct disconnect){1, 2, DISCONNECT_FINISHED, NULL, STR_NONE});
}

static void cut_streams_carry_nothing_later(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open(), w = client_open(), other = client_open();
    client_send(&c, GET("/events"));
    client_expect(&c, LIVE("0"));
    server.start.from.tag[1] = 2;
    client_send(&other, GET("/events"));
    client_expect(&other, LIVE("0"));
    on_loop(do_last_words, NULL);
    assert_string_equal(client_rest(&c), "id: e-f-0\nevent: session\ndata: {}\n\n");
    client_expect(&other, EVENT("3", "3"));
    client_close(&c);
    server.start.from.tag[1] = 1;
    c = client_open();
    client_send(&c, GET("/events"));
    client_send(&w, UPGRADE(VERSION));
    client_expect(&c, EVENT("3", "3"));
    client_expect(&w, "3}");
    cut(DISCONNECT_DEAD, NULL, NULL);
    assert_string_equal(client_rest(&c), "retry: 2000\n\n");
    client_expect(&w, "\x88\x02\x03\xf0"); /* 1008 */
    client_close(&c);
    c = client_open();
    client_send(&c, GET("/events"));
    client_expect(&c, EVENT("3", "3"));
    on_loop(do_finish, NULL);
    assert_string_equal(client_rest(&c), EVENT("4", "4"));
    wait_for(&server.unwatched, 4);
    client_close(&c);
    client_close(&w);
    client_close(&other);
    server_stop(0);
}

/* ---- refills ---- */

static void log_feed(void *arg) {
    (void) arg;
    feed_destroy(server.feed);
    server.feed = feed_create(server.loop, true, 10, STR("e-f-"), NULL);
    feed_publish(server.feed, frame_of(FRAME_STATE, 9, 1, "9"));
    feed_publish(server.feed, frame_of(FRAME_LOG, 11, 0, "11"));
    feed_synced(server.feed, 12);
}

struct refilling {
    uint64_t seq[3], upto;
    unsigned count;
    enum refill_result result;
};

static void do_refill(void *arg) {
    const struct refilling *k = arg;
    struct frame *frames[3];
    for (unsigned i = 0; i < k->count; i++) {
        char data[8];
        snprintf(data, sizeof(data), "%u", (unsigned) k->seq[i]);
        frames[i] = frame_of(k->seq[i] == 9 ? FRAME_STATE : FRAME_LOG, k->seq[i], k->seq[i] == 9, data);
    }
    watcher_refill(server.refilling, frames, k->count, k->upto, k->result);
}

static void what_the_log_no_longer_has_is_asked_for(void **state) {
    struct refilling first = {{3, 5}, 5, 2, REFILL_GOOD}, second = {{9, 10}, 10, 2, REFILL_GOOD}, failed = {.result = REFILL_FAILED};
    (void) state;
    server_start(NULL);
    on_loop(log_feed, NULL);
    server.start.from.live_seq = 12;
    struct client c = client_open();
    client_send(&c, GET("/events"));
    wait_for(&server.refills, 1);
    assert_int_equal(server.refill_cursor, 0);
    client_expect(&c, "id: e-f-0\n\n");
    assert_true(client_silent(&c, 20));
    on_loop(do_refill, &first);
    client_expect(&c, EVENT("3", "3") EVENT("5", "5"));
    wait_for(&server.refills, 2);
    assert_int_equal(server.refill_cursor, 5);
    on_loop(do_refill, &second);
    client_expect(&c, EVENT("9", "9") EVENT("10", "10") EVENT("11", "11") LIVE("12"));
    struct client d = client_open(), p = client_open(), q = client_open();
    client_send(&d, GET("/events"));
    wait_for(&server.refills, 3);
    on_loop(do_refill, &failed);
    client_expect(&d, "\nretry: ");
    client_rest(&d);
    client_send(&p, GET("/page"));
    wait_for(&server.refills, 4);
    on_loop(do_refill, &first);
    wait_for(&server.refills, 5);
    on_loop(do_refill, &second);
    client_expect(&p,
                  "{\"events\":[{\"id\":\"e-f-3\",\"event\":\"task\",\"data\":3},{\"id\":\"e-f-5\",\"event\":\"task\",\"data\":5},{\"id\":\"e-f-9\","
                  "\"event\":\"task\",\"data\":9},"
                  "{\"id\":\"e-f-10\",\"event\":\"task\",\"data\":10},{\"id\":\"e-f-11\",\"event\":\"task\",\"data\":11}],\"cursor\":\"e-f-11\"}");
    client_send(&q, GET("/page"));
    wait_for(&server.refills, 6);
    on_loop(do_refill, &failed);
    client_expect(&q, "HTTP/1.1 503 ");
    client_close(&c);
    client_close(&d);
    client_close(&p);
    client_close(&q);
    server_stop(0);
}

/* Numbers that no event of this feed has, up to where it stood: `live` is already there when the refill turns out to be empty. */
static void a_refill_may_be_empty(void **state) {
    static const char *const requests[] = {GET("/events"), UPGRADE(VERSION)};
    static const char *const live[] = {"id: e-f-8\n\n" LIVE("10"), "{\"id\":\"e-f-10\",\"event\":\"live\",\"data\":{\"seq\":10}}"};
    static const char *const events[] = {EVENT("11", "11"), "{\"id\":\"e-f-11\",\"event\":\"task\",\"data\":11}"};
    static const char *const later[] = {EVENT("20", "20"), "{\"id\":\"e-f-20\",\"event\":\"task\",\"data\":20}"};
    struct refilling empty = {{0}, 10, 0, REFILL_GOOD}, nowhere = {{0}, 8, 0, REFILL_GOOD};
    (void) state;
    for (unsigned i = 0; i < 2; i++) {
        server_start(NULL);
        on_loop(log_feed, NULL);
        server.start.from.fresh = false;
        server.start.from.cursor = 8;
        server.start.from.live_seq = 10;
        struct client c = client_open(), d = client_open();
        client_send(&c, requests[i]);
        wait_for(&server.refills, 1);
        on_loop(do_refill, &empty);
        client_expect(&c, live[i]);
        client_expect(&c, events[i]);
        publish(FRAME_LOG, 20, 0, "20");
        client_expect(&c, later[i]);
        client_send(&d, requests[i]);
        wait_for(&server.refills, 2);
        on_loop(do_refill, &nowhere);
        client_expect(&d, i ? "\x88\x02\x03\xe9" : "\nretry: "); /* it is not asked for again and again */
        client_close(&c);
        client_close(&d);
        server_stop(0);
    }
}

/* Behind the cursor something has gone that nobody knows of any more: nobody is sent away for that. */
static void a_refill_may_come_too_late(void **state) {
    static const char *const requests[] = {GET("/events"), GET("/page")};
    static const char *const anew[] = {
        "id: e-f-4\n\nid: e-f-0\nevent: reset\ndata: {}\n\nid: e-f-5.12\nevent: task\ndata: 5\n\nid: e-f-9\nevent: task\ndata: 9\n\n" EVENT(
            "11", "11") LIVE("12"),
        "{\"events\":[{\"id\":\"e-f-0\",\"event\":\"reset\",\"data\":{}},{\"id\":\"e-f-5\",\"event\":\"task\",\"data\":5},{\"id\":\"e-f-9\","
        "\"event\":\"task\",\"data\":9},{\"id\":\"e-f-11\",\"event\":\"task\",\"data\":11}],\"cursor\":\"e-f-11\"}"};
    struct refilling forgotten = {.upto = 8, .result = REFILL_FORGOTTEN}, all = {{5, 9}, 10, 2, REFILL_GOOD};
    (void) state;
    for (unsigned i = 0; i < 2; i++) {
        server_start(NULL);
        on_loop(log_feed, NULL);
        server.start.from.fresh = false;
        server.start.from.cursor = 4;
        server.start.from.live_seq = 12;
        struct client c = client_open();
        client_send(&c, requests[i]);
        wait_for(&server.refills, 1);
        on_loop(do_refill, &forgotten);
        wait_for(&server.refills, 2);
        assert_int_equal(server.refill_cursor, 0);
        on_loop(do_refill, &all);
        client_expect(&c, anew[i]);
        client_close(&c);
        server_stop(0);
    }
}

/* The output of what had gone is nothing to one who comes fresh; who was there, or reads on, has it. */
static void output_of_what_had_gone(void **state) {
    struct refilling all = {{9, 10}, 10, 2, REFILL_GOOD};
    (void) state;
    server_start(NULL);
    on_loop(log_feed, NULL);
    publish(FRAME_LOG, 15, 7, "15");
    publish(FRAME_GONE, 16, 7, "16");
    publish(FRAME_LOG, 17, 8, "17");
    server.start.from.live_seq = 17;
    struct client c = client_open(), d = client_open();
    client_send(&c, GET("/events"));
    wait_for(&server.refills, 1);
    on_loop(do_refill, &all);
    client_expect(&c, EVENT("10", "10") EVENT("11", "11") EVENT("17", "17") LIVE("17"));
    server.start.from.fresh = false;
    server.start.from.cursor = 11;
    client_send(&d, GET("/events"));
    client_expect(&d, "id: e-f-11\n\n" EVENT("15", "15") EVENT("16", "16") EVENT("17", "17") LIVE("17"));
    client_close(&c);
    client_close(&d);
    server_stop(0);
}

/* Without an event it ends with all there is; one that comes while it has not yet bounds that. */
static void an_end_without_an_event_has_no_bound(void **state) {
    struct refilling late = {{9, 10}, 20, 2, REFILL_GOOD}, early = {{3, 5}, 20, 2, REFILL_GOOD};
    (void) state;
    server_start(NULL);
    on_loop(log_feed, NULL);
    server.start.from.live_seq = 5;
    struct client c = client_open();
    client_send(&c, GET("/events"));
    wait_for(&server.refills, 1);
    cut(DISCONNECT_FINISHED, NULL, NULL);
    publish(FRAME_STATE, 21, 1, "21");
    on_loop(do_refill, &late);
    client_expect(&c, LIVE("5") EVENT("9", "9") EVENT("10", "10") EVENT("21", "21"));
    assert_string_equal(client_rest(&c), "");
    client_close(&c);
    c = client_open();
    client_send(&c, GET("/events"));
    wait_for(&server.refills, 2);
    cut(DISCONNECT_FINISHED, NULL, NULL);
    cut(DISCONNECT_FINISHED, "task", "1");
    publish(FRAME_STATE, 22, 1, "22");
    on_loop(do_refill, &early);
    client_expect(&c, EVENT("3", "3") EVENT("5", "5") LIVE("5"));
    assert_string_equal(client_rest(&c), "id: e-f-20\nevent: task\ndata: 1\n\n");
    client_close(&c);
    server_stop(0);
}

static void a_cut_at_once_does_not_wait_for_a_refill(void **state) {
    (void) state;
    server_start(NULL);
    on_loop(log_feed, NULL);
    struct client c = client_open();
    client_send(&c, GET("/events"));
    wait_for(&server.refills, 1);
    client_expect(&c, "id: e-f-0\n\n");
    cut(DISCONNECT_AT_ONCE, "session", "{}");
    assert_string_equal(client_rest(&c), "id: e-f-0\nevent: session\ndata: {}\n\n");
    client_close(&c);
    server_stop(0);
}

/* Also one that waits for what its feed no longer has: what comes after its end is not for it. */
static void pages_that_are_cut_have_nothing_later(void **state) {
    struct refilling before = {{9, 10}, 10, 2, REFILL_GOOD};
    (void) state;
    server_start(NULL);
    on_loop(log_feed, NULL);
    server.start.from.live_seq = 12;
    struct client c = client_open();
    client_send(&c, GET("/page"));
    wait_for(&server.refills, 1);
    cut(DISCONNECT_FINISHED, "session", "{\"a\":1}");
    publish(FRAME_STATE, 20, 1, "20");
    on_loop(do_refill, &before);
    client_expect(&c, "{\"id\":\"e-f-11\",\"event\":\"task\",\"data\":11},{\"id\":\"e-f-11\",\"event\":\"session\",\"data\":{\"a\":1}}],");
    client_close(&c);
    server_stop(0);
}

static void those_behind_what_is_forgotten_begin_anew(void **state) {
    (void) state;
    server_start(NULL);
    publish(FRAME_STATE, 2, 1, "2");
    struct client c = client_open();
    for (unsigned i = 0; i < 9000; i++) {
        publish(FRAME_GONE, 10 + i, 100 + i, "{}");
    }
    server.start.from.fresh = false;
    server.start.from.cursor = 2;
    client_send(&c, GET("/events"));
    client_expect(&c, "id: e-f-2\n\nid: e-f-0\nevent: reset\ndata: {}\n\n" EVENT("2.9009", "2") LIVE("9009"));
    client_send(&c, "ignored");
    publish(FRAME_STATE, 9010, 1, "x");
    client_expect(&c, EVENT("9010", "x"));
    client_close(&c);
    server_stop(0);
}

/* ---- pages ---- */

static void until(int64_t ms) {
    server.start.from.until_ms = ms ? test_now_ms() + ms : 0;
}

static void pages_wait_for_something_to_say(void **state) {
    (void) state;
    server_start(NULL);
    server.start.from.live_seq = 5;
    struct client c = client_open();
    client_send(&c, GET("/page"));
    assert_true(client_silent(&c, 30)); /* the feed is not there yet */
    synced(5);
    client_expect(&c, "Content-Type: application/json\r\nCache-Control: no-store");
    client_expect(&c, "\r\n\r\n{\"events\":[],\"cursor\":\"e-f-5\"}");
    server.start.from.fresh = false;
    server.start.from.cursor = 5;
    until(1000);
    client_send(&c, GET("/page"));
    assert_true(client_silent(&c, 40));
    client_expect(&c, "{\"events\":[],\"cursor\":\"e-f-5\"}");
    until(5000);
    client_send(&c, GET("/page") GET("/now"));
    assert_true(client_silent(&c, 30));
    publish(FRAME_STATE, 6, 1, "6");
    client_expect(&c, "{\"events\":[{\"id\":\"e-f-6\",\"event\":\"task\",\"data\":6}],\"cursor\":\"e-f-6\"}HTTP/1.1 200 OK");
    client_expect(&c, "now");
    server.start.from.reset = true;
    client_send(&c, GET("/page"));
    client_expect(
        &c,
        "{\"events\":[{\"id\":\"e-f-0\",\"event\":\"reset\",\"data\":{}},{\"id\":\"e-f-6\",\"event\":\"task\",\"data\":6}],\"cursor\":\"e-f-6\"}");
    wait_for(&server.unwatched, 4);
    client_close(&c);
    server_stop(0);
}

static void pages_that_are_cut_are_answered(void **state) {
    (void) state;
    server_start(NULL);
    server.start.from.fresh = false;
    until(5000);
    struct client c = client_open();
    client_send(&c, GET("/page"));
    wait_for_watchers(1);
    cut(DISCONNECT_FINISHED, "session", "{\"a\":1}");
    client_expect(&c, "{\"events\":[{\"id\":\"e-f-0\",\"event\":\"session\",\"data\":{\"a\":1}}],\"cursor\":\"e-f-0\"}");
    wait_for(&server.unwatched, 1);
    client_send(&c, GET("/page"));
    wait_for_watchers(1);
    cut(DISCONNECT_FINISHED, NULL, NULL);
    client_expect(&c, "{\"events\":[],\"cursor\":\"e-f-0\"}");
    wait_for(&server.unwatched, 2);
    client_send(&c, GET("/page"));
    wait_for_watchers(1);
    cut(DISCONNECT_AT_ONCE, "session", "{}");
    client_expect(&c, "HTTP/1.1 401 Unauthorized\r\n");
    client_expect(&c, "WWW-Authenticate: Bearer\r\n");
    wait_for(&server.unwatched, 3);
    client_send(&c, GET("/page"));
    wait_for_watchers(1);
    client_close(&c); /* in the middle of waiting */
    wait_for(&server.unwatched, 4);
    server_stop(0);
}

/* Much and the end in one turn. */
static void do_end(void *arg) {
    char data[8];
    (void) arg;
    for (unsigned seq = 1; seq <= 1500; seq++) {
        snprintf(data, sizeof(data), "%u", seq);
        feed_publish(server.feed, frame_of(FRAME_STATE, seq, seq, data));
    }
    struct disconnect *d = disconnect_create(~0u, UINT32_MAX, DISCONNECT_FINISHED, "session", STR("{}"));
    feed_disconnect(server.feed, d);
    free(d);
}

/* It has all that stood then, since there is no next one; but for output. */
static void the_page_of_an_end_has_all_states(void **state) {
    (void) state;
    server_start(NULL);
    server.start.from.fresh = false;
    server.start.from.live_seq = 0;
    until(5000);
    struct client c = client_open();
    client_send(&c, GET("/page"));
    wait_for_watchers(1);
    on_loop(do_end, NULL);
    client_expect(&c, "{\"events\":[{\"id\":\"e-f-1\",");
    client_expect(&c, "{\"id\":\"e-f-1500\",\"event\":\"task\",\"data\":1500},{\"id\":\"e-f-1500\",\"event\":\"session\",\"data\":{}}],");
    client_close(&c);
    server_stop(0);
}

static void a_page_has_a_thousand_events_at_most(void **state) {
    (void) state;
    server_start(NULL);
    for (unsigned i = 1; i <= 1001; i++) {
        publish(FRAME_STATE, i, i, "{}");
    }
    struct client c = client_open();
    client_send(&c, GET("/page"));
    client_expect(&c, "],\"cursor\":\"e-f-1000\"}");
    client_close(&c);
    server_stop(0);
}

/* ---- WebSocket ---- */

static void put_frame(struct buf *out, unsigned first, struct str payload) {
    const char mask[] = {1, 2, 3, 4};
    buf_char(out, (char) first);
    if (payload.len < 126) {
        buf_char(out, (char) (0x80 | payload.len));
    } else if (payload.len < 65536) {
        buf_char(out, (char) (0x80 | 126));
        buf_char(out, (char) (payload.len >> 8));
        buf_char(out, (char) payload.len);
    } else {
        buf_put(out, "\xff\0\0\0\0\0", 6);
        buf_char(out, (char) (payload.len >> 16));
        buf_char(out, (char) (payload.len >> 8));
        buf_char(out, (char) payload.len);
    }
    buf_put(out, mask, 4);
    for (size_t i = 0; i < payload.len; i++) {
        buf_char(out, (char) (payload.p[i] ^ mask[i & 3]));
    }
}

static struct client ws_open(void) {
    struct client c = client_open();
    client_send(&c, UPGRADE(VERSION));
    client_expect(&c, "HTTP/1.1 101 Switching Protocols\r\n");
    client_expect(&c, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    client_expect(&c, "{\"seq\":0}}");
    return c;
}

static void ws_send(struct client *c, const struct buf *b) {
    assert_int_equal(send(c->fd, b->data, b->len, MSG_NOSIGNAL), (ssize_t) b->len);
}

static void websockets_only_listen_politely(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = ws_open();
    struct buf b = {0};
    put_frame(&b, 0x89, STR("hi"));
    put_frame(&b, 0x01, STR("\xc3"));
    put_frame(&b, 0x89, STR(""));
    put_frame(&b, 0x80, STR("\xbc"));
    for (size_t i = 0; i < b.len; i++) {
        assert_int_equal(send(c.fd, b.data + i, 1, MSG_NOSIGNAL), 1);
        usleep(200);
    }
    client_expect(&c, "\x8a\x02hi");
    client_expect(&c, "{\"id\":\"e-f-0\",\"event\":\"problem\",\"data\":{\"type\":\"urn:bowline:problem:invalid-request\"");
    publish(FRAME_STATE, 1, 1, "1");
    client_expect(&c, "{\"id\":\"e-f-1\",\"event\":\"task\",\"data\":1}");
    buf_clear(&b);
    put_frame(&b, 0x88,
              STR("\x0f\xa0"
                  "bye"));
    ws_send(&c, &b);
    assert_memory_equal(client_rest(&c), "\x88\x02\x0f\xa0", 4);
    wait_for(&server.unwatched, 1);
    buf_fini(&b);
    client_close(&c);
    server_stop(0);
}

static void ws_closed_with(const struct buf *sent, const char *expected) {
    struct client c = ws_open();
    ws_send(&c, sent);
    client_expect(&c, expected);
    client_rest(&c);
    client_close(&c);
}

static void websocket_errors_are_named(void **state) {
    struct buf b = {0}, big = {0};
    (void) state;
    server_start(NULL);
    buf_puts(&b, "\x81\x01"
                 "a");
    ws_closed_with(&b, "\x88\x02\x03\xea"); /* 1002: not masked */
    buf_clear(&b);
    put_frame(&b, 0x81, STR("\xff"));
    ws_closed_with(&b, "\x88\x02\x03\xef"); /* 1007 */
    buf_clear(&b);
    for (unsigned i = 0; i < WS_MESSAGE_MAX + 1; i++) {
        buf_char(&big, 'x');
    }
    put_frame(&b, 0x82, buf_view(&big));
    ws_closed_with(&b, "\x88\x02\x03\xf1"); /* 1009 */
    buf_clear(&b);
    put_frame(&b, 0xc1, STR(""));
    ws_closed_with(&b, "\x88\x02\x03\xea");
    buf_clear(&b);
    put_frame(&b, 0x88, STR("x"));
    ws_closed_with(&b, "\x88\x02\x03\xea");
    buf_clear(&b);
    put_frame(&b, 0x88, STR(""));
    ws_closed_with(&b, "\x88");
    struct client c = client_open();
    client_send(&c, UPGRADE("Sec-WebSocket-Version: 8\r\n") GET("/now"));
    client_expect(&c, "HTTP/1.1 426 Upgrade Required\r\n");
    client_expect(&c, "Sec-WebSocket-Version: 13\r\n");
    client_expect(&c, "now");
    client_close(&c);
    buf_fini(&b);
    buf_fini(&big);
    server_stop(0);
}

static void frames_sent_with_the_handshake_are_read(void **state) {
    struct buf b = {0};
    (void) state;
    server_start(NULL);
    struct client c = client_open();
    buf_puts(&b, UPGRADE(VERSION));
    put_frame(&b, 0x89, STR("early"));
    ws_send(&c, &b);
    client_expect(&c, "\x8a\x05"
                      "early");
    buf_fini(&b);
    client_close(&c);
    server_stop(0);
}

/* ---- the end of streams ---- */

static void streams_grow_old(void **state) {
    static const struct http_limits limits = {1000, 1000, 300, 1000, 1000, 1000, 10000, 10000, 100, 1000, 0};
    (void) state;
    server_start(&limits);
    struct client c = client_open(), w = client_open();
    client_send(&c, GET("/events"));
    client_send(&w, UPGRADE(VERSION));
    client_expect(&c, LIVE("0") "retry: ");
    client_rest(&c);
    client_expect(&w, "\x88\x02\x03\xe9"); /* 1001 */
    client_close(&w);
    w = client_open();
    server.start.from.exp_ms = clock_wall_ms() + 20;
    client_send(&w, UPGRADE(VERSION));
    client_expect(&w, "\x88\x02\x03\xf0"); /* 1008: the credential's end */
    client_close(&c);
    client_close(&w);
    server_stop(0);
}

static void draining_sends_streams_away(void **state) {
    (void) state;
    server_start(NULL);
    struct client c = client_open(), w = client_open(), p = client_open();
    client_send(&c, GET("/events"));
    client_send(&w, UPGRADE(VERSION));
    client_expect(&c, LIVE("0"));
    client_expect(&w, "{\"seq\":0}}");
    server.start.from.fresh = false;
    until(60000);
    client_send(&p, GET("/page"));
    wait_for_watchers(3);
    int64_t at = test_now_ms();
    server_drain(300);
    client_expect(&c, "retry: ");
    client_rest(&c);
    client_expect(&w, "\x88\x02\x03\xe9");
    client_expect(&p, "Connection: close\r\n");
    client_expect(&p, "{\"events\":[],\"cursor\":\"e-f-0\"}");
    client_close(&c);
    client_close(&w);
    client_close(&p);
    server_join();
    assert_true(test_now_ms() - at < 15000);
}

static void many_watchers_get_the_same(void **state) {
    enum { COUNT = 200 };
    struct client c[COUNT];
    (void) state;
    server_start(NULL);
    for (unsigned i = 0; i < COUNT; i++) {
        c[i] = client_open();
        client_send(&c[i], GET("/events"));
        client_expect(&c[i], LIVE("0"));
    }
    publish(FRAME_STATE, 1, 1, "1");
    for (unsigned i = 0; i < COUNT; i++) {
        client_expect(&c[i], EVENT("1", "1"));
        client_close(&c[i]);
    }
    wait_for(&server.unwatched, COUNT);
    server_stop(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_stream_is_state_then_live_then_changes),
        cmocka_unit_test(a_fresh_reader_waits_for_what_had_gone),
        cmocka_unit_test(a_page_in_the_snapshot_phase_says_where_it_began),
        cmocka_unit_test(a_stream_in_the_snapshot_phase_says_where_it_began),
        cmocka_unit_test(a_renamed_event_may_be_cut_in_the_middle),
        cmocka_unit_test(a_resumed_stream_begins_behind_its_cursor),
        cmocka_unit_test(who_begins_to_watch_while_the_loop_drains_is_sent_away),
        cmocka_unit_test(slow_readers_skip),
        cmocka_unit_test(silence_is_broken),
        cmocka_unit_test(one_sign_of_life_follows_a_stall),
        cmocka_unit_test(rotated_streams_get_what_was_before),
        cmocka_unit_test(cut_streams_carry_nothing_later),
        cmocka_unit_test(what_the_log_no_longer_has_is_asked_for),
        cmocka_unit_test(a_refill_may_be_empty),
        cmocka_unit_test(a_refill_may_come_too_late),
        cmocka_unit_test(output_of_what_had_gone),
        cmocka_unit_test(an_end_without_an_event_has_no_bound),
        cmocka_unit_test(a_cut_at_once_does_not_wait_for_a_refill),
        cmocka_unit_test(pages_that_are_cut_have_nothing_later),
        cmocka_unit_test(those_behind_what_is_forgotten_begin_anew),
        cmocka_unit_test(pages_wait_for_something_to_say),
        cmocka_unit_test(pages_that_are_cut_are_answered),
        cmocka_unit_test(the_page_of_an_end_has_all_states),
        cmocka_unit_test(a_page_has_a_thousand_events_at_most),
        cmocka_unit_test(websockets_only_listen_politely),
        cmocka_unit_test(websocket_errors_are_named),
        cmocka_unit_test(frames_sent_with_the_handshake_are_read),
        cmocka_unit_test(streams_grow_old),
        cmocka_unit_test(draining_sends_streams_away),
        cmocka_unit_test(many_watchers_get_the_same),
    };
    int failed = cmocka_run_group_tests_name("mail is read when the loop is woken", tests, NULL, NULL);
    mail_in_turn = true;
    return failed + cmocka_run_group_tests_name("mail is read in the loop's turns", tests, NULL, NULL);
}
