/*
 * loop.h: a loop owns connections, a connection its streams, a feed knows its watchers. All of it belongs to the loop's thread.
 *
 * A turn of the loop: sockets are read (requests are handed up, nothing is written), timers fire, input that had to wait goes on, the handler's `turn`;
 * then every marked connection is flushed once, and those of the watchers of feeds with something new. Sockets are only closed and streams only ended
 * while reading, by a timer or while flushing, so that no call of the handler pulls the ground from under its caller.
 */
#ifndef BOWLINE_NET_LOOP_H
#define BOWLINE_NET_LOOP_H

#include "base/wheel.h"
#include "net/conn.h"
#include "net/feed.h"
#include "net/http1.h"
#include "net/stream.h"

#include <sys/queue.h>
#include <uv.h>

#define READ_BYTES (64 * 1024)

struct http_loop {
    uv_loop_t uv;
    uv_poll_t listener;
    uv_async_t async;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_timer_t alarm;
    int listen_fd; /* -1 once closed */
    bool now_fresh, listening, draining, more;
    const struct transport_kind *transport; /* of new connections */
    const struct protocol *protocol;
    void *transport_arg;
    struct http_limits limits;
    struct http1_limits parser_limits;
    struct http_handler handler;
    void (*on_wake)(void *arg);
    void *on_wake_arg;
    int64_t wall_ms;                                /* Unix time, as now_ms of this turn */
    int64_t now_ms, drain_until_ms, accept_said_ms; /* accept_said_ms: when it was last said that none can be accepted; 0 never */
    uint64_t alarm_at, random;
    struct wheel wheel;
    struct timer accept_timer, drain_timer;
    struct conn_list conns;
    struct conn_queue dirty, waiting;
    struct feed_list dirty_feeds;
    struct request_list spare;
    unsigned spare_count;
    unsigned turn_requests; /* that came through the poll since the last turn */
    struct http_counts counts;
    int64_t date_s;
    char date[32]; /* RFC 9110 section 5.6.7 */
    char read_bytes[READ_BYTES];
};

void loop_refresh(struct http_loop *l); /* reads the clock, once per turn */
void loop_turn(struct http_loop *l);    /* ends the turn, for all but what has not been read yet */
uint64_t loop_random(struct http_loop *l, uint64_t below);
struct str loop_date(struct http_loop *l);
void loop_conn_gone(struct http_loop *l); /* one connection less: perhaps more can be accepted */

#endif
