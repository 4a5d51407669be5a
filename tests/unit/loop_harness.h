/* loop_harness.h: a real loop on a thread of its own with a small handler, and a blocking client to talk to it. For test_loop.c and test_watch.c. */
#ifndef BOWLINE_TESTS_LOOP_HARNESS_H
#define BOWLINE_TESTS_LOOP_HARNESS_H

#include "net/http.h"
#include "unit.h"

#define LATE_MAX 80

struct server {
    struct http_loop *loop;
    int port;
    struct feed *feed; /* what /events, /ws and /page watch, as `start` says */
    struct watch_start start;
    struct str more_header;              /* X-More of a stream's head */
    struct http_request *late[LATE_MAX]; /* requests for /late, /late0, ... in the order of arrival */
    unsigned late_count;
    struct watcher *refilling;
    uint64_t refill_cursor;
    unsigned gone, unwatched, refills, pieces;
    bool pause;                /* after the next piece of /stream */
    unsigned requests, marked; /* requests in all; how many there were with the last one for /mark */
};
extern struct server server;
extern bool
    mail_in_turn; /* on_loop runs fn in the handler's `turn`, as mail is read where the engine runs in the loop; else when the loop is woken */

void server_start(const struct http_limits *limits); /* NULL: roomy ones */
void server_drain(int64_t ms);
void server_join(void);             /* after that: waits for its end, checks that nothing is left, frees */
void server_stop(int64_t drain_ms); /* both */
struct http_counts server_counts(void);
/* Runs fn on the loop's thread and waits until it has. */
void on_loop(void (*fn)(void *arg), void *arg);
/* Waits (at most 20 s, as all that waits here) until *counter, which belongs to the loop, has this value. */
void wait_for(const unsigned *counter, unsigned value);
void wait_for_watchers(uint64_t count);

struct frame *frame_of(enum frame_kind kind, uint64_t seq, unsigned key, const char *data);
void publish(enum frame_kind kind, uint64_t seq, unsigned key, const char *data); /* and synced */
void synced(uint64_t pos);
void cut(enum disconnect_how how, const char *event, const char *data);

struct client {
    int fd;
    struct buf got;
};
struct client client_open(void);
struct client client_open_slow(void); /* with a small receive buffer */
void client_send(struct client *c, const char *text);
/* Reads until text has come; what came up to and with it is taken away. Fails the test otherwise. */
void client_expect(struct client *c, const char *text);
/* Reads to the end; all of it. */
const char *client_rest(struct client *c);
/* True if nothing comes for ms. */
bool client_silent(struct client *c, int ms);
void client_close(struct client *c);
int64_t test_now_ms(void);

#endif
