#include "cli/client_ops.h"

#include "base/mem.h"
#include "cli/exit.h"

#include <sys/queue.h>

#define WAIT_MOST_MS 60000

struct client_op {
    struct client_ops *ops;
    bowline_op *under_way; /* NULL: it could not even be started, and `problem` says why */
    struct bowline_problem problem;
    void (*done)(void *arg, const struct client_reply *reply);
    void *arg;
    LIST_ENTRY(client_op) link; /* client_ops.list */
};

struct client_ops {
    const struct client *client;
    bowline_loop *loop;
    LIST_HEAD(, client_op) list;
    uint64_t finished; /* so many have been */
    struct pollfd *wait;
    unsigned wait_cap;
};

int client_ops_open(const struct args *a, struct client *c, struct client_ops **ret_ops) {
    bowline_loop *loop;
    struct bowline_problem problem;
    if (bowline_loop_open(client_library(c), &loop, &problem)) {
        return args_fail(a, BOWLINE_EXIT_FAILED, "%s", problem.detail);
    }
    struct client_ops *ops = mem_alloc(sizeof *ops);
    ops->client = c;
    ops->loop = loop;
    LIST_INIT(&ops->list);
    *ret_ops = ops;
    return 0;
}

void client_ops_close(struct client_ops *ops) {
    if (!ops) {
        return;
    }
    while (!LIST_EMPTY(&ops->list)) {
        client_op_cancel(LIST_FIRST(&ops->list));
    }
    bowline_loop_close(ops->loop);
    mem_free(ops->wait);
    mem_free(ops);
}

const char *client_ops_url(const struct client_ops *ops) {
    return client_url(ops->client);
}

static void op_destroy(struct client_op *op) {
    LIST_REMOVE(op, link);
    mem_free(op);
}

/* The owner may start and cancel others from within. */
static void op_done(void *arg, const struct bowline_response *response, const struct bowline_problem *problem) {
    struct client_op *op = arg;
    struct client_reply reply = client_reply_of(response);
    if (problem) {
        reply.status = 0;
        buf_puts(&reply.body, problem->detail);
    } else {
        buf_put(&reply.body, response->body.data, response->body.len);
    }
    op->under_way = NULL;
    op->ops->finished++;
    op->done(op->arg, &reply);
    op_destroy(op);
    client_reply_fini(&reply);
}

struct client_op *client_ops_start(struct client_ops *ops, const struct client_request *q, int64_t timeout_ms,
                                   void (*done)(void *arg, const struct client_reply *reply), void *arg) {
    struct client_op *op = mem_alloc(sizeof *op);
    const char *headers[CLIENT_HEADERS];
    struct bowline_request request = client_request_of(q, headers);
    struct bowline_op_events on = {.done = op_done, .arg = op};
    request.timeout_ms = timeout_ms;
    op->ops = ops;
    op->done = done;
    op->arg = arg;
    LIST_INSERT_HEAD(&ops->list, op, link);
    if (bowline_request_start(ops->loop, &request, &on, &op->under_way, &op->problem)) {
        op->under_way = NULL;
    }
    return op;
}

void client_op_cancel(struct client_op *op) {
    if (op) {
        bowline_op_cancel(op->under_way);
        op_destroy(op);
    }
}

void client_op_hang_up(struct client_op *op) {
    if (op->under_way) {
        bowline_op_hang_up(op->under_way);
    }
}

static struct client_op *find_unstarted(struct client_ops *ops) {
    struct client_op *op;
    LIST_FOREACH (op, &ops->list, link) {
        if (!op->under_way) {
            return op;
        }
    }
    return NULL;
}

/* True if something is done. */
static bool ops_turn(struct client_ops *ops) {
    uint64_t before = ops->finished;
    struct client_op *op = find_unstarted(ops);
    if (op) {
        struct bowline_response none = {0};
        op_done(op, &none, &op->problem);
    }
    bowline_loop_dispatch(ops->loop);
    return ops->finished != before;
}

void client_ops_wait(struct client_ops *ops, struct pollfd *fds, unsigned count, int64_t wait_ms) {
    if (count + 1 > ops->wait_cap) {
        ops->wait_cap = count + 1;
        ops->wait = mem_resize(ops->wait, ops->wait_cap * sizeof *ops->wait);
    }
    for (unsigned i = 0; i < count; i++) {
        ops->wait[i] = (struct pollfd){.fd = fds[i].fd, .events = fds[i].events};
    }
    ops->wait[count] = (struct pollfd){.fd = bowline_loop_fd(ops->loop), .events = POLLIN};
    wait_ms = wait_ms < 0 ? 0 : wait_ms > WAIT_MOST_MS ? WAIT_MOST_MS : wait_ms;
    bool any = ops_turn(ops); /* what was started since the last wait has to be sent before there is anything to wait for */
    poll(ops->wait, count + 1, any ? 0 : (int) wait_ms);
    (void) ops_turn(ops);
    poll(fds, count, 0); /* what the callbacks have closed or opened counts, too */
}
