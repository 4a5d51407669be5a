/*
 * client_async.h: several requests at once, beside other descriptors: one thread and one poll wait for all of them. Each request is a handle in its owner,
 * NULL when none is pending.
 */
#ifndef BOWLINE_CLI_CLIENT_ASYNC_H
#define BOWLINE_CLI_CLIENT_ASYNC_H

#include "cli/client_http.h"

#include <poll.h>

struct client_async;
struct client_op;

/* The client must outlive it. 0, or an exit code after saying what is wrong. */
int client_async_open(const struct args *a, struct client *c, struct client_async **ret_async) __attribute__((warn_unused_result));
/* Cancels what is still pending. Accepts NULL. */
void client_async_close(struct client_async *as);
const char *client_async_url(const struct client_async *as);

/*
 * Copies what the request needs. `done` is called once, from client_async_wait, with the reply (status 0: none came, and its body says why), unless the
 * request is cancelled; the handle is void from then on.
 */
struct client_op *client_async_start(struct client_async *as, const struct client_request *q, int64_t timeout_ms,
                                     void (*done)(void *arg, const struct client_reply *reply), void *arg);
/* Closes the connection; `done` is not called. Accepts NULL. */
void client_op_cancel(struct client_op *op);
/*
 * Ends our side of the connection and goes on listening: the server sees at once that nobody waits any more, and an answer that it had already
 * written still arrives. `done` is called as ever.
 */
void client_op_hang_up(struct client_op *op);

/* Waits until one of the descriptors is ready (as in poll), a request has moved on, or the time has passed; then calls what is done. */
void client_async_wait(struct client_async *as, struct pollfd *fds, unsigned count, int64_t wait_ms);

#endif
