#include "client.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 512
#define READ_BYTES (256 * 1024)
#define SOURCES 16 /* addresses that connections come from */

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static int epoll_fd = -1;
static char read_bytes[READ_BYTES];

/* ---- sockets ---- */

void poller_init(void) {
    if (epoll_fd >= 0) {
        close(epoll_fd);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        die("epoll_create1: %s", strerror(errno));
    }
}

void poller_turn(int64_t until_ns) {
    struct epoll_event events[EVENTS_MAX];
    int64_t wait_ns = until_ns - now_ns();
    struct timespec wait = {.tv_sec = wait_ns > 0 ? wait_ns / 1000000000 : 0, .tv_nsec = wait_ns > 0 ? wait_ns % 1000000000 : 0};
    int n = epoll_pwait2(epoll_fd, events, EVENTS_MAX, &wait, NULL);
    for (int i = 0; i < n; i++) {
        struct io *io = events[i].data.ptr;
        if (io->fd >= 0) {
            io->ready(io, events[i].events);
        }
    }
}

void poller_until(bool (*done)(void *arg), void *arg, double seconds, const char *what) {
    int64_t end = now_ns() + (int64_t) (seconds * 1e9);
    while (!done(arg)) {
        if (now_ns() > end) {
            die("%s: not done within %.0f s", what, seconds);
        }
        poller_turn(end);
    }
}

void poller_rest(double seconds) {
    int64_t end = now_ns() + (int64_t) (seconds * 1e9);
    while (now_ns() < end) {
        poller_turn(end);
    }
}

static void io_control(struct io *io, int op, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = io};
    if (epoll_ctl(epoll_fd, op, io->fd, &e)) {
        die("epoll_ctl: %s", strerror(errno));
    }
    io->armed = events;
}

void io_connect(struct io *io, const struct target *target, unsigned number) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;
    io->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (io->fd < 0) {
        die("socket %u: %s (see ulimit -n)", number, strerror(errno));
    }
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % SOURCES);
    setsockopt(io->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(io->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(io->fd, (struct sockaddr *) &from, sizeof from)) {
        die("bind: %s", strerror(errno));
    }
    if (connect(io->fd, (const struct sockaddr *) &target->address, sizeof target->address) && errno != EINPROGRESS) {
        die("connect: %s", strerror(errno));
    }
    io_control(io, EPOLL_CTL_ADD, EPOLLOUT);
}

void io_arm(struct io *io, uint32_t events) {
    if (events != io->armed) {
        io_control(io, EPOLL_CTL_MOD, events);
    }
}

void io_close(struct io *io, bool reset) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (io->fd < 0) {
        return;
    }
    if (reset) {
        setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(io->fd);
    io->fd = -1;
}

ssize_t io_read(struct io *io, const char **ret) {
    ssize_t n = recv(io->fd, read_bytes, sizeof read_bytes, 0);
    *ret = read_bytes;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    return n <= 0 ? -1 : n;
}

bool io_send(struct io *io, struct buf *out) {
    while (out->len) {
        ssize_t n = send(io->fd, out->data, out->len, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        buf_drop_front(out, (size_t) n);
    }
    return true;
}

/* ---- answers ---- */

enum { AT_HEAD, AT_LENGTH, AT_CHUNK, AT_CHUNK_DATA, AT_CHUNK_END, AT_TRAILER };

static struct call *http_call_now(struct http *h) {
    if (!h->count) {
        die("an answer that nobody asked for");
    }
    return &h->calls[h->first];
}

static void answer_piece(struct http *h, struct str piece) {
    struct call *c = http_call_now(h);
    if (c->piece) {
        c->piece(c->arg, h, c->index, piece);
    } else {
        buf_str(&h->body, piece);
    }
}

static void answer_done(struct http *h) {
    struct call c = *http_call_now(h);
    struct answer a = {h->status, buf_view(&h->body)};
    h->first = (h->first + 1) % CALLS_MAX;
    h->count--;
    h->state = AT_HEAD;
    c.done(c.arg, h, c.index, &a);
    buf_clear(&h->body);
}

/* Bytes used of the head; 0 if it is not all there. */
static size_t answer_head(struct http *h, struct str in) {
    struct str rest = text_behind(in, "\r\n\r\n");
    if (!rest.p) {
        return 0;
    }
    struct str head = str_n(in.p, (size_t) (rest.p - in.p)), length = text_behind(head, "Content-Length: ");
    if (!str_starts(head, "HTTP/1.1 ")) {
        die("this is no answer: %.*s", (int) (head.len < 80 ? head.len : 80), head.p);
    }
    h->status = (int) text_number(str_from(head, 9));
    if (text_behind(head, "Transfer-Encoding: chunked").p) {
        h->state = AT_CHUNK;
        return head.len;
    }
    h->left = length.p ? text_number(length) : 0;
    h->state = AT_LENGTH;
    if (!h->left) {
        answer_done(h);
    }
    return head.len;
}

static size_t answer_bytes(struct http *h, struct str in) {
    size_t n = in.len < h->left ? in.len : (size_t) h->left;
    answer_piece(h, str_n(in.p, n));
    h->left -= n;
    if (!h->left) {
        if (h->state == AT_LENGTH) {
            answer_done(h);
        } else {
            h->state = AT_CHUNK_END;
        }
    }
    return n;
}

static uint64_t hex_number(struct str s) {
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        int c = s.p[i] | 32;
        if (c >= '0' && c <= '9') {
            n = n * 16 + (uint64_t) (c - '0');
        } else if (c >= 'a' && c <= 'f') {
            n = n * 16 + (uint64_t) (c - 'a' + 10);
        } else {
            break;
        }
    }
    return n;
}

/* A line of the chunked coding. */
static size_t answer_line(struct http *h, struct str in) {
    struct str rest = text_behind(in, "\r\n");
    if (!rest.p) {
        return 0;
    }
    size_t used = (size_t) (rest.p - in.p);
    if (h->state == AT_CHUNK_END) {
        h->state = AT_CHUNK;
    } else if (h->state == AT_CHUNK) {
        h->left = hex_number(str_n(in.p, used - 2));
        h->state = h->left ? AT_CHUNK_DATA : AT_TRAILER;
    } else if (used == 2) {
        answer_done(h);
    }
    return used;
}

static size_t answer_step(struct http *h, struct str in) {
    switch (h->state) {
    case AT_HEAD: return answer_head(h, in);
    case AT_LENGTH:
    case AT_CHUNK_DATA: return answer_bytes(h, in);
    default: return answer_line(h, in);
    }
}

/* How much of it was used. */
static size_t http_parse(struct http *h, struct str in) {
    size_t used = 0, n;
    while (used < in.len && (n = answer_step(h, str_from(in, used))) > 0) {
        used += n;
    }
    return used;
}

static void http_input(struct http *h, const char *data, size_t len) {
    if (h->in.len) {
        buf_put(&h->in, data, len);
        buf_drop_front(&h->in, http_parse(h, buf_view(&h->in)));
    } else {
        size_t used = http_parse(h, str_n(data, len));
        buf_put(&h->in, data + used, len - used);
    }
}

static void http_ready(struct io *io, uint32_t events) {
    struct http *h = (struct http *) io;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        const char *data;
        ssize_t n = io_read(io, &data);
        if (n < 0) {
            die("the server closed a connection with %u requests under way", h->count);
        }
        h->reading = true;
        http_input(h, data, (size_t) n);
        h->reading = false;
    }
    http_flush(h);
}

/* ---- requests ---- */

void http_open(struct http *h, const struct target *target, unsigned number) {
    *h = (struct http){.io = {.ready = http_ready}, .target = target};
    io_connect(&h->io, target, number);
}

void http_close(struct http *h) {
    io_close(&h->io, true);
    buf_fini(&h->out);
    buf_fini(&h->in);
    buf_fini(&h->body);
}

void http_flush(struct http *h) {
    if (h->reading) {
        return;
    }
    if (!io_send(&h->io, &h->out)) {
        die("send: %s", strerror(errno));
    }
    io_arm(&h->io, h->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void http_sent(struct http *h, struct call call) {
    if (h->count == CALLS_MAX) {
        die("too many requests under way on one connection");
    }
    h->calls[(h->first + h->count++) % CALLS_MAX] = call;
}

void request_put(struct buf *out, const struct target *target, const char *method, const char *path, const char *token, const char *content_type,
                 struct str body) {
    buf_printf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, target->host);
    if (token && token[0]) {
        buf_printf(out, "Authorization: Bearer %s\r\n", token);
    }
    if (body.p) {
        buf_printf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", content_type ? content_type : "application/json", body.len);
    }
    buf_puts(out, "\r\n");
    buf_str(out, body);
}

/* ---- jobs ---- */

static void pool_answer(void *arg, struct http *h, size_t index, const struct answer *a);

static void pool_feed(struct pool *p, struct http *h) {
    struct job *j = p->job;
    while (h->count < p->depth && (p->striped ? h->next : j->sent) < j->total) {
        size_t index = p->striped ? h->next : j->sent;
        j->put(j, index, &h->out);
        http_sent(h, (struct call){.done = pool_answer, .arg = p, .index = index});
        h->next += p->count;
        j->sent++;
    }
}

static void pool_answer(void *arg, struct http *h, size_t index, const struct answer *a) {
    struct pool *p = arg;
    p->job->done(p->job, index, a);
    p->job->answered++;
    pool_feed(p, h);
}

void pool_init(struct pool *p, const struct target *target, unsigned count) {
    *p = (struct pool){.conns = mem_alloc(count * sizeof *p->conns), .count = count};
    for (unsigned i = 0; i < count; i++) {
        http_open(&p->conns[i], target, i);
    }
}

void pool_fini(struct pool *p) {
    for (unsigned i = 0; i < p->count; i++) {
        http_close(&p->conns[i]);
    }
    mem_free(p->conns);
}

void pool_begin(struct pool *p, struct job *j, unsigned depth) {
    p->job = j;
    p->depth = depth;
    j->sent = j->answered = 0;
    for (unsigned i = 0; i < p->count; i++) {
        p->conns[i].next = i;
        pool_feed(p, &p->conns[i]);
        http_flush(&p->conns[i]);
    }
}

static bool job_over(void *arg) {
    struct job *j = arg;
    return j->answered == j->total;
}

void pool_run(struct pool *p, struct job *j, unsigned depth) {
    pool_begin(p, j, depth);
    poller_until(job_over, j, 20, "requests");
}
