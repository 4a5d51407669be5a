#include "loop_harness.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 20000

struct server server;
bool mail_in_turn;

static pthread_t thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static void (*pending)(void *arg);
static void *pending_arg;

/* ---- the handler ---- */

static void answer(struct http_request *r, int status, struct str text) {
    struct buf body = {0};
    http_add(r, STR("Content-Type"), STR("text/plain"));
    buf_str(&body, text);
    http_respond(r, status, &body, false);
}

static enum http_body on_head(void *arg, struct http_request *r) {
    (void) arg;
    if (str_eqz(r->path, "/now")) {
        answer(r, 200, STR("now"));
    } else if (str_eqz(r->path, "/stream")) {
        http_start(r, 200);
        return HTTP_BODY_STREAM;
    }
    return HTTP_BODY_WHOLE;
}

static void on_body(void *arg, struct http_request *r, struct str piece) {
    (void) arg;
    server.pieces++;
    http_write(r, piece);
    if (server.pause) {
        server.pause = false;
        http_body_pause(r);
        server.late[server.late_count++] = r;
    }
}

static void on_request(void *arg, struct http_request *r) {
    static const struct {
        const char *path;
        enum watch_way way;
    } ways[] = {{"/events", WATCH_SSE}, {"/ws", WATCH_WEBSOCKET}, {"/page", WATCH_PAGE}};
    (void) arg;
    server.requests++;
    for (unsigned i = 0; i < 3; i++) {
        if (str_eqz(r->path, ways[i].path)) {
            struct watch_start start = server.start;
            start.way = ways[i].way;
            if (start.way == WATCH_SSE) {
                http_add(r, STR("Content-Type"), STR("text/event-stream"));
            }
            if (start.way != WATCH_PAGE && server.more_header.p) {
                http_add(r, STR("X-More"), server.more_header);
            }
            http_watch(r, server.feed, &start);
            return;
        }
    }
    if (str_starts(r->path, "/late")) {
        r->needs_peer = str_eqz(r->path, "/late-for-somebody");
        server.late[server.late_count++] = r;
    } else if (str_eqz(r->path, "/stream")) {
        http_finish(r);
    } else if (str_eqz(r->path, "/echo")) {
        for (unsigned i = 0; r->body.len && i < 64; i++) {
            assert_int_equal(r->body.p[r->body.len + i], 0); /* readable */
        }
        answer(r, 200, r->body);
    } else if (str_eqz(r->path, "/empty")) {
        answer(r, 204, STR(""));
    } else if (str_eqz(r->path, "/mark")) {
        server.marked = server.requests;
        answer(r, 200, STR("marked"));
    } else {
        answer(r, 200, STR("hello"));
    }
}

static void on_gone(void *arg, struct http_request *r) {
    (void) arg;
    (void) r;
    __atomic_add_fetch(&server.gone, 1, __ATOMIC_SEQ_CST);
}

static void on_unwatched(void *arg, struct feed *f, void *user) {
    (void) arg;
    (void) f;
    assert_ptr_equal(user, server.start.user);
    __atomic_add_fetch(&server.unwatched, 1, __ATOMIC_SEQ_CST);
}

static void on_refill(void *arg, struct feed *f, struct watcher *w, uint64_t cursor, uint64_t gone_from, void *user) {
    (void) gone_from;
    (void) arg;
    (void) f;
    (void) user;
    server.refilling = w;
    server.refill_cursor = cursor;
    __atomic_add_fetch(&server.refills, 1, __ATOMIC_SEQ_CST);
}

static void on_page(void *arg, struct http_request *r, struct buf *body) {
    (void) arg;
    (void) body;
    http_add(r, STR("Content-Type"), STR("application/json"));
    http_add(r, STR("Cache-Control"), STR("no-store"));
}

static void on_problem(void *arg, struct http_request *r, const struct problem *p, struct buf *body) {
    (void) arg;
    http_add(r, STR("Content-Type"), STR("application/problem+json"));
    if (p->err == ERR_UNAUTHENTICATED) {
        http_add(r, STR("WWW-Authenticate"), STR("Bearer"));
    }
    problem_render(p, body);
}

static void mail_read(void) {
    pthread_mutex_lock(&lock);
    if (pending) {
        pending(pending_arg);
        pending = NULL;
        pthread_cond_signal(&done);
    }
    pthread_mutex_unlock(&lock);
}

static void on_wake(void *arg) {
    (void) arg;
    if (!mail_in_turn) {
        mail_read();
    }
}

static void on_turn(void *arg) {
    (void) arg;
    if (mail_in_turn) {
        mail_read();
    }
}

/* ---- the server ---- */

static void *run(void *arg) {
    http_loop_run(arg);
    return NULL;
}

void server_start(const struct http_limits *limits) {
    static const struct http_limits roomy = {1 << 20, 16384, 8192, 1000, 10000, 10000, 10000, 10000, 1000000, 10000, 3};
    const struct http_handler handler = {.head = on_head,
                                         .body = on_body,
                                         .request = on_request,
                                         .gone = on_gone,
                                         .unwatched = on_unwatched,
                                         .refill = on_refill,
                                         .problem = on_problem,
                                         .page = on_page,
                                         .turn = on_turn};
    int fd;
    server = (struct server){0};
    assert_int_equal(http_listen("127.0.0.1", 0, 1, &fd, &server.port), 0);
    server.loop = http_loop_create(fd, limits ? limits : &roomy, &handler);
    assert_non_null(server.loop);
    http_loop_on_wake(server.loop, on_wake, NULL);
    server.feed = feed_create(server.loop, false, 0, STR("e-f-"), NULL);
    server.start = (struct watch_start){.from = {.fresh = true, .tag = {1, 1}}, .user = &server};
    assert_int_equal(pthread_create(&thread, NULL, run, server.loop), 0);
}

static void drain(void *arg) {
    http_loop_drain(server.loop, *(int64_t *) arg);
}

void server_drain(int64_t ms) {
    on_loop(drain, &ms);
}

void server_stop(int64_t drain_ms) {
    server_drain(drain_ms);
    server_join();
}

void server_join(void) {
    pthread_join(thread, NULL);
    struct http_counts counts;
    http_loop_counts(server.loop, &counts);
    assert_int_equal(counts.connections, 0);
    assert_int_equal(counts.watchers, 0);
    feed_destroy(server.feed);
    http_loop_destroy(server.loop);
}

void on_loop(void (*fn)(void *arg), void *arg) {
    pthread_mutex_lock(&lock);
    pending = fn;
    pending_arg = arg;
    http_loop_wake(server.loop);
    while (pending) {
        pthread_cond_wait(&done, &lock);
    }
    pthread_mutex_unlock(&lock);
}

int64_t test_now_ms(void) {
    return clock_ms();
}

static void do_counts(void *arg) {
    http_loop_counts(server.loop, arg);
}

struct http_counts server_counts(void) {
    struct http_counts counts;
    on_loop(do_counts, &counts);
    return counts;
}

struct reading {
    const unsigned *counter;
    unsigned value;
};

static void read_counter(void *arg) {
    struct reading *r = arg;
    r->value = *r->counter;
}

void wait_for(const unsigned *counter, unsigned value) {
    struct reading r = {counter, 0};
    for (int64_t until = clock_ms() + PATIENCE_MS; clock_ms() < until;) {
        on_loop(read_counter, &r);
        if (r.value == value) {
            return;
        }
        usleep(1000);
    }
    fail_msg("waited in vain: %u instead of %u", r.value, value);
}

void wait_for_watchers(uint64_t count) {
    struct http_counts counts = server_counts();
    for (int64_t until = clock_ms() + PATIENCE_MS; counts.watchers != count && clock_ms() < until; counts = server_counts()) {
        usleep(1000);
    }
    assert_int_equal(counts.watchers, count);
}

/* ---- feeds ---- */

struct frame *frame_of(enum frame_kind kind, uint64_t seq, unsigned key, const char *data) {
    uint8_t bytes[16] = {0};
    char id[40];
    memcpy(bytes, &key, sizeof(key));
    snprintf(id, sizeof(id), "e-f-%llu", (unsigned long long) seq);
    struct frame *f = frame_create(kind, seq, bytes, str_of(id), STR("task"), str_of(data));
    assert_non_null(f);
    return f;
}

static void do_publish(void *arg) {
    struct frame *f = arg;
    uint64_t seq = f->seq;
    feed_publish(server.feed, f);
    feed_synced(server.feed, seq);
}

void publish(enum frame_kind kind, uint64_t seq, unsigned key, const char *data) {
    on_loop(do_publish, frame_of(kind, seq, key, data));
}

static void do_synced(void *arg) {
    feed_synced(server.feed, *(uint64_t *) arg);
}

void synced(uint64_t pos) {
    on_loop(do_synced, &pos);
}

static void do_cut(void *arg) {
    feed_disconnect(server.feed, arg);
}

void cut(enum disconnect_how how, const char *event, const char *data) {
    struct disconnect d = {1, 2, how, event, str_of(data)};
    on_loop(do_cut, &d);
}

/* ---- the client ---- */

static struct client dial(int receive_bytes) {
    struct client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t) server.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (receive_bytes) {
        setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    assert_int_equal(connect(c.fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    return c;
}

struct client client_open(void) {
    return dial(0);
}

struct client client_open_slow(void) {
    return dial(4096);
}

void client_send(struct client *c, const char *text) {
    assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t) strlen(text));
}

/* 1: something came, 0: the end, -1: nothing within ms. */
static int client_read(struct client *c, int ms) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    char chunk[16384];
    if (poll(&p, 1, ms) <= 0) {
        return -1;
    }
    ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);
    if (n > 0) {
        buf_put(&c->got, chunk, (size_t) n);
    }
    return n > 0;
}

void client_expect(struct client *c, const char *text) {
    int64_t until = clock_ms() + PATIENCE_MS;
    const char *at;
    size_t len = strlen(text);
    while (!(at = c->got.len ? memmem(c->got.data, c->got.len, text, len) : NULL)) {
        int left = (int) (until - clock_ms());
        if (left <= 0 || client_read(c, left) <= 0) {
            fail_msg("expected \"%s\" in \"%s\"", text, buf_z(&c->got));
        }
    }
    buf_drop_front(&c->got, (size_t) (at - c->got.data) + len);
}

const char *client_rest(struct client *c) {
    for (int64_t until = clock_ms() + PATIENCE_MS;;) {
        int left = (int) (until - clock_ms()), r = left > 0 ? client_read(c, left) : -1;
        if (r == 0) {
            return buf_z(&c->got);
        }
        if (r < 0) {
            fail_msg("no end in \"%s\"", buf_z(&c->got));
        }
    }
}

bool client_silent(struct client *c, int ms) {
    return c->got.len == 0 && client_read(c, ms) < 0;
}

void client_close(struct client *c) {
    close(c->fd);
    buf_fini(&c->got);
}
