/*
 * client_ops.h: several requests at once, beside other descriptors: one thread and one poll wait for all of them. Each request is a handle in its owner,
 * NULL when none is pending.
 */
#ifndef BOWLINE_CLI_CLIENT_OPS_H
#define BOWLINE_CLI_CLIENT_OPS_H

#include "cli/client.h"

#include <poll.h>

struct client_ops;
struct client_op;

/* The client must outlive it. 0, or an exit code after saying what is wrong. */
int client_ops_open(const struct args *a, struct client *c, struct client_ops **ret_ops) __attribute__((warn_unused_result));
/* Cancels what is still pending. Accepts NULL. */
void client_ops_close(struct client_ops *ops);
const char *client_ops_url(const struct client_ops *ops);

/*
 * Copies what the request needs. `done` is called once, from client_ops_wait, with the reply (status 0: none came, and its body says why), unless the
 * request is cancelled; the handle is void from then on.
 */
struct client_op *client_ops_start(struct client_ops *ops, const struct client_request *q, int64_t timeout_ms,
                                   void (*done)(void *arg, const struct client_reply *reply), void *arg);
/* Closes the connection; `done` is not called. Accepts NULL. */
void client_op_cancel(struct client_op *op);
/*
 * Ends our side of the connection and goes on listening: the server sees at once that nobody waits any more, and an answer that it had already
 * written still arrives. `done` is called as ever.
 */
void client_op_hang_up(struct client_op *op);

/* Waits until one of the descriptors is ready (as in poll), a request has moved on, or the time has passed; then calls what is done. */
void client_ops_wait(struct client_ops *ops, struct pollfd *fds, unsigned count, int64_t wait_ms);

#endif
