/*
 * The loop: accepting, the turn, timers, draining. Sockets are polled through libuv; a turn's work is done in one check callback behind the poll, so that
 * whatever was read in one turn is answered in as few sends as there are connections.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/protocol.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ACCEPT_BATCH 64
#define ACCEPT_RETRY_MS 100
#define ACCEPT_SAY_MS 60000 /* it is said at most this often */
#define DRAIN_GRACE_MS 1000 /* behind the drain time, for what is still being sent */
#define TIMERS_PER_TURN 4096

static void loop_on_accept(uv_poll_t *poll, int status, int events);

/* ---- small things others ask for ---- */

void loop_refresh(struct http_loop *l) {
    if (!l->now_fresh) {
        struct moment now = clock_now();
        l->now_ms = now.ms;
        l->wall_ms = now.wall_ms;
        l->now_fresh = true;
    }
}

int64_t http_loop_now(const struct http_loop *l) {
    return l->now_ms;
}

struct wheel *http_loop_wheel(struct http_loop *l) {
    return &l->wheel;
}

void http_loop_counts(const struct http_loop *l, struct http_counts *ret) {
    *ret = l->counts;
}

/* xorshift64*: for jitter only. */
uint64_t loop_random(struct http_loop *l, uint64_t below) {
    l->random ^= l->random >> 12;
    l->random ^= l->random << 25;
    l->random ^= l->random >> 27;
    return below ? (l->random * 0x2545f4914f6cdd1du >> 11) % below : 0;
}

struct str loop_date(struct http_loop *l) {
    int64_t now_s = l->wall_ms / 1000;
    if (now_s != l->date_s) {
        struct tm tm;
        time_t t = (time_t) now_s;
        l->date_s = now_s;
        gmtime_r(&t, &tm);
        strftime(l->date, sizeof(l->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
    return str_of(l->date);
}

/* ---- accepting ---- */

static void listen_set(struct http_loop *l, bool on) {
    if (l->listen_fd >= 0 && l->listening != on) {
        l->listening = on;
        if (on) {
            uv_poll_start(&l->listener, UV_READABLE, loop_on_accept);
        } else {
            uv_poll_stop(&l->listener);
        }
    }
}

static bool may_accept(const struct http_loop *l) {
    return l->counts.connections < l->limits.max_connections;
}

void loop_conn_gone(struct http_loop *l) {
    l->counts.connections--;
    if (may_accept(l) && !l->accept_timer.at_ms) {
        listen_set(l, true);
    }
}

static void on_accept_again(struct timer *t, int64_t now_ms, void *arg) {
    struct http_loop *l = (struct http_loop *) (void *) ((char *) t - offsetof(struct http_loop, accept_timer));
    (void) now_ms;
    (void) arg;
    listen_set(l, may_accept(l));
}

/* Out of descriptors or memory: look away for a moment instead of being woken again and again. */
static void accept_back_off(struct http_loop *l, int err) {
    if (!l->accept_said_ms || l->now_ms - l->accept_said_ms >= ACCEPT_SAY_MS) {
        l->accept_said_ms = l->now_ms;
        log_warn("accept_paused", "reason=\"%s\" connections=%llu", strerror(err), (unsigned long long) l->counts.connections);
    }
    listen_set(l, false);
    wheel_set(&l->wheel, &l->accept_timer, l->now_ms + ACCEPT_RETRY_MS, on_accept_again);
}

static struct in6_addr peer_of(const struct sockaddr_storage *addr) {
    struct in6_addr peer = {0};
    if (addr->ss_family == AF_INET6) {
        peer = ((const struct sockaddr_in6 *) (const void *) addr)->sin6_addr;
    } else if (addr->ss_family == AF_INET) {
        peer.s6_addr[10] = peer.s6_addr[11] = 0xff;
        memcpy(peer.s6_addr + 12, &((const struct sockaddr_in *) (const void *) addr)->sin_addr, 4);
    }
    return peer;
}

/* False when there was none to be had. */
static bool accept_one(struct http_loop *l) {
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    int fd = accept4(l->listen_fd, (struct sockaddr *) &addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            accept_back_off(l, errno);
        }
        return errno == ECONNABORTED || errno == EINTR;
    }
    struct in6_addr peer = peer_of(&addr);
    conn_create(l, fd, &peer);
    return true;
}

static void accept_some(struct http_loop *l) {
    for (int i = 0; i < ACCEPT_BATCH && may_accept(l); i++) {
        if (!accept_one(l)) {
            return;
        }
    }
    if (!may_accept(l)) {
        listen_set(l, false);
    }
}

static void loop_on_accept(uv_poll_t *poll, int status, int events) {
    struct http_loop *l = poll->data;
    (void) status;
    (void) events;
    loop_refresh(l);
    accept_some(l);
}

/* ---- the turn ---- */

/* Those that wait now; what comes to wait meanwhile is for the next turn. */
static void turn_resume(struct http_loop *l) {
    unsigned count = 0;
    struct http_conn *c;
    TAILQ_FOREACH (c, &l->waiting, waiting_link) {
        count++;
    }
    while (count-- && !TAILQ_EMPTY(&l->waiting)) {
        conn_resume(TAILQ_FIRST(&l->waiting));
    }
}

/* Answers first: a feed can have many watchers. */
static void turn_flush(struct http_loop *l) {
    while (!TAILQ_EMPTY(&l->dirty_feeds) || !TAILQ_EMPTY(&l->dirty)) {
        while (!TAILQ_EMPTY(&l->dirty)) {
            conn_flush(TAILQ_FIRST(&l->dirty));
        }
        if (!TAILQ_EMPTY(&l->dirty_feeds)) {
            feed_flush(TAILQ_FIRST(&l->dirty_feeds));
        }
    }
}

static void loop_on_alarm(uv_timer_t *alarm) {
    struct http_loop *l = alarm->data;
    l->alarm_at = UINT64_MAX; /* it only ends the poll; timers are run in the turn */
}

/* Wakes the poll when the first timer is due, or at once if work is left. */
static void turn_set_alarm(struct http_loop *l) {
    int64_t next = wheel_next(&l->wheel), now = clock_ms();
    bool at_once = l->more || !TAILQ_EMPTY(&l->waiting);
    uint64_t at = at_once || next <= now ? 0 : next == INT64_MAX ? UINT64_MAX : (uint64_t) next;
    if (at == UINT64_MAX) {
        uv_timer_stop(&l->alarm);
    } else if (at == 0 || at != l->alarm_at) {
        uv_update_time(&l->uv);
        uv_timer_start(&l->alarm, loop_on_alarm, at ? (uint64_t) (next - now) : 0, 0);
    }
    l->alarm_at = at;
}

static void close_listener(struct http_loop *l) {
    if (l->listen_fd >= 0) {
        uv_close((uv_handle_t *) &l->listener, NULL);
        close(l->listen_fd);
        l->listen_fd = -1;
    }
}

/* The socket goes with the loop's last turn: what connects to it later would wait there for nobody. */
static void turn_finish_drain(struct http_loop *l) {
    if (l->draining && l->counts.connections == 0) {
        accept_some(l);
    }
    if (l->draining && l->counts.connections == 0) {
        close_listener(l);
        uv_stop(&l->uv);
    }
}

void loop_turn(struct http_loop *l) {
    loop_refresh(l);
    l->more = wheel_run(&l->wheel, l->now_ms, TIMERS_PER_TURN, l->handler.arg);
    turn_resume(l);
    l->turn_requests = 0; /* what a pipeline had waiting is not set against those who come through the poll */
    if (l->handler.turn) {
        l->handler.turn(l->handler.arg);
    }
    turn_flush(l);
    turn_finish_drain(l);
}

static void loop_on_check(uv_check_t *check) {
    struct http_loop *l = check->data;
    loop_turn(l);
    l->now_fresh = false;
}

/* Before each poll. What was published before the first one is sent now. */
static void loop_on_prepare(uv_prepare_t *prepare) {
    struct http_loop *l = prepare->data;
    if (!TAILQ_EMPTY(&l->dirty_feeds) || !TAILQ_EMPTY(&l->dirty) || (l->draining && l->counts.connections == 0)) {
        loop_turn(l);
    }
    turn_set_alarm(l);
    l->now_fresh = false;
}

static void loop_on_wake(uv_async_t *async) {
    struct http_loop *l = async->data;
    loop_refresh(l);
    if (l->on_wake) {
        l->on_wake(l->on_wake_arg);
    }
}

/* ---- life ---- */

/* Connections take these over from the socket that accepts them. */
static void set_options(int fd) {
    int on = 1, idle_s = 30, every_s = 10, probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static void init_handles(struct http_loop *l) {
    uv_async_init(&l->uv, &l->async, loop_on_wake);
    uv_check_init(&l->uv, &l->check);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_timer_init(&l->uv, &l->alarm);
    l->listener.data = l->async.data = l->check.data = l->prepare.data = l->alarm.data = l;
    uv_check_start(&l->check, loop_on_check);
    uv_prepare_start(&l->prepare, loop_on_prepare);
}

struct http_loop *http_loop_create(int listen_fd, const struct http_limits *limits, const struct http_handler *handler) {
    struct http_loop *l = mem_alloc(sizeof(*l));
    if (uv_loop_init(&l->uv)) {
        mem_free(l);
        return NULL;
    }
    if (uv_poll_init(&l->uv, &l->listener, listen_fd)) {
        uv_loop_close(&l->uv);
        mem_free(l);
        return NULL;
    }
    l->listen_fd = listen_fd;
    l->limits = *limits;
    l->parser_limits = (struct http1_limits){limits->max_header_block, limits->max_uri};
    l->handler = *handler;
    l->transport = &transport_plain;
    l->protocol = &protocol_http1;
    TAILQ_INIT(&l->dirty);
    TAILQ_INIT(&l->waiting);
    TAILQ_INIT(&l->dirty_feeds);
    TAILQ_INIT(&l->spare);
    while (getrandom(&l->random, sizeof(l->random), 0) != sizeof(l->random) || !l->random) {
        l->random = (uint64_t) clock_ms() | 1;
        break;
    }
    loop_refresh(l);
    wheel_init(&l->wheel, l->now_ms);
    init_handles(l);
    set_options(listen_fd);
    listen_set(l, true);
    return l;
}

void http_loop_carry(struct http_loop *l, const struct transport_kind *kind, void *arg) {
    l->transport = kind;
    l->transport_arg = arg;
}

void http_loop_speak(struct http_loop *l, const struct protocol *protocol) {
    l->protocol = protocol;
}

void http_loop_clock_stepped(struct http_loop *l) {
    struct http_conn *c;
    struct stream *s;
    l->now_fresh = false;
    loop_refresh(l);
    LIST_FOREACH (c, &l->conns, link) {
        TAILQ_FOREACH (s, &c->streams, link) {
            if (s->body && s->body->kind->clock_stepped) {
                s->body->kind->clock_stepped(s->body);
            }
        }
    }
}

void http_loop_run(struct http_loop *l) {
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void http_loop_wake(struct http_loop *l) {
    uv_async_send(&l->async);
}

void http_loop_on_wake(struct http_loop *l, void (*fn)(void *arg), void *arg) {
    l->on_wake = fn;
    l->on_wake_arg = arg;
}

static void on_drain_over(struct timer *t, int64_t now_ms, void *arg) {
    struct http_loop *l = (struct http_loop *) (void *) ((char *) t - offsetof(struct http_loop, drain_timer));
    (void) now_ms;
    (void) arg;
    close_listener(l);
    wheel_cancel(&l->wheel, &l->accept_timer);
    while (!LIST_EMPTY(&l->conns)) {
        conn_close(LIST_FIRST(&l->conns));
    }
}

void http_loop_drain(struct http_loop *l, int64_t ms) {
    if (l->draining) {
        return;
    }
    accept_some(l); /* those that have connected already are not to be reset */
    l->draining = true;
    l->drain_until_ms = l->now_ms + ms;
    wheel_set(&l->wheel, &l->drain_timer, l->drain_until_ms + DRAIN_GRACE_MS, on_drain_over);
    struct http_conn *c = LIST_FIRST(&l->conns), *next;
    for (; c; c = next) {
        next = LIST_NEXT(c, link);
        conn_drain(c);
    }
}

static void close_rest(uv_handle_t *handle, void *arg) {
    (void) arg;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void http_loop_destroy(struct http_loop *l) {
    if (!l) {
        return;
    }
    while (!LIST_EMPTY(&l->conns)) {
        conn_close(LIST_FIRST(&l->conns));
    }
    close_listener(l);
    uv_walk(&l->uv, close_rest, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_loop_close(&l->uv);
    requests_fini(&l->spare);
    for (struct feed *f = TAILQ_FIRST(&l->dirty_feeds); f; f = TAILQ_NEXT(f, dirty_link)) {
        f->dirty = false;
    }
    mem_free(l);
}
