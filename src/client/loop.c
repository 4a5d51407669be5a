/*
 * Requests side by side. An operation is started (it waits in the list), attached to libcurl at the next dispatch, done, and freed. libcurl must not be given
 * handles, nor have any taken, while it calls back: what a body's callback starts waits, and what it cancels is only marked, until libcurl has returned.
 */
#include "client/io.h"
#include "client/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>

struct bowline_op {
    struct bowline_loop *loop;
    CURL *curl;
    struct curl_slist *headers;
    struct reply reply;
    char why[CURL_ERROR_SIZE];
    struct bowline_op_events on;
    int64_t silence_ms, heard_ms; /* 0: silence is no matter */
    int fd;                       /* the connection's socket; -1: none */
    bool attached;
    bool stopped;                /* its body's callback has said so */
    bool cancelled;              /* while libcurl was calling back */
    LIST_ENTRY(bowline_op) link; /* bowline_loop.ops */
};

struct bowline_loop {
    bowline_client *client;
    struct io io;
    bool in_curl, dispatching;
    LIST_HEAD(, bowline_op) ops;
};

/* ---- the timer ---- */

static void loop_arm(struct bowline_loop *l) {
    int64_t at_ms = TIME_NEVER;
    struct bowline_op *op;
    LIST_FOREACH (op, &l->ops, link) {
        int64_t due_ms = !op->attached ? 0 : op->silence_ms ? op->heard_ms + op->silence_ms : TIME_NEVER;
        at_ms = due_ms < at_ms ? due_ms : at_ms;
    }
    io_arm(&l->io, at_ms);
}

/* ---- operations ---- */

static size_t op_bytes(char *data, size_t size, size_t count, void *arg) {
    struct bowline_op *op = arg;
    size_t len = size * count;
    long status = 0;
    op->heard_ms = mono_ms();
    curl_easy_getinfo(op->curl, CURLINFO_RESPONSE_CODE, &status);
    if (op->cancelled) {
        return 0;
    }
    if (!op->on.data || status != 200) {
        return reply_write(data, size, count, &op->reply);
    }
    op->stopped = op->on.data(op->on.arg, data, len) != 0;
    return op->stopped || op->cancelled ? 0 : len;
}

static size_t op_header(char *data, size_t size, size_t count, void *arg) {
    struct bowline_op *op = arg;
    op->heard_ms = mono_ms();
    return reply_header(data, size, count, &op->reply);
}

static void op_detach(struct bowline_op *op) {
    if (op->attached) {
        curl_multi_remove_handle(op->loop->io.multi, op->curl);
        op->attached = false;
    }
}

static void op_free(struct bowline_op *op) {
    op_detach(op);
    LIST_REMOVE(op, link);
    curl_easy_cleanup(op->curl);
    curl_slist_free_all(op->headers);
    reply_fini(&op->reply);
    free(op);
}

/* Tells and frees it. */
static void op_done(struct bowline_op *op, int error, const struct bowline_problem *problem) {
    struct bowline_response answer = response_of(&op->reply);
    op_detach(op);
    answer.body = (struct bowline_text){.data = (char *) buf_z(&op->reply.body), .len = op->reply.body.len};
    op->on.done(op->on.arg, &answer, error ? problem : NULL);
    op_free(op);
}

static void op_ended(struct bowline_op *op, CURLcode result) {
    struct bowline_problem problem;
    int error = BOWLINE_OK;
    if (op->stopped) {
        error = problem_local(&problem, BOWLINE_OVER, "The answer's callback stopped it");
        long status = 0;
        curl_easy_getinfo(op->curl, CURLINFO_RESPONSE_CODE, &status);
        op->reply.status = (int) status;
    } else {
        error = transfer_result(op->curl, result, op->why, &op->reply, &problem);
    }
    op_done(op, error, &problem);
}

static void op_silent(struct bowline_op *op) {
    struct bowline_problem problem;
    char text[64];
    snprintf(text, sizeof text, "nothing was heard for %.3g s", (double) op->silence_ms / 1000);
    op_done(op, problem_local(&problem, BOWLINE_UNREACHABLE, text), &problem);
}

int bowline_request_start(bowline_loop *loop, const struct bowline_request *request, const struct bowline_op_events *on, bowline_op **ret_op,
                          struct bowline_problem *problem) {
    if (!on || !on->done) {
        return problem_argument(problem, "done", "is missing");
    }
    int error = request_check(request, problem);
    if (error) {
        return error;
    }
    struct bowline_op *op = calloc(1, sizeof *op);
    if (!op) {
        return problem_local(problem, BOWLINE_NO_MEMORY, NULL);
    }
    *op = (struct bowline_op){.loop = loop, .fd = -1, .on = *on, .silence_ms = request->silence_ms, .reply.most = request->answer_max};
    LIST_INSERT_HEAD(&loop->ops, op, link);
    op->curl = curl_easy_init();
    error = op->curl ? request_prepare(loop->client, op->curl, request, true, &op->headers) : BOWLINE_NO_MEMORY;
    if (error) {
        op_free(op);
        return problem_local(problem, error, NULL);
    }
    transfer_receive(op->curl, &op->reply, op->why, op->headers);
    curl_easy_setopt(op->curl, CURLOPT_HEADERFUNCTION, op_header);
    curl_easy_setopt(op->curl, CURLOPT_HEADERDATA, op);
    curl_easy_setopt(op->curl, CURLOPT_WRITEFUNCTION, op_bytes);
    curl_easy_setopt(op->curl, CURLOPT_WRITEDATA, op);
    curl_easy_setopt(op->curl, CURLOPT_PRIVATE, op);
    loop_arm(loop);
    if (ret_op) {
        *ret_op = op;
    }
    return BOWLINE_OK;
}

void bowline_op_cancel(bowline_op *op) {
    if (!op) {
        return;
    }
    if (op->loop->in_curl) {
        op->cancelled = true;
        return;
    }
    op_free(op);
}

static void op_socket(CURL *curl, int fd) {
    struct bowline_op *op = NULL;
    if (curl_easy_getinfo(curl, CURLINFO_PRIVATE, (char **) &op) == CURLE_OK && op) {
        op->fd = fd;
    }
}

void bowline_op_hang_up(bowline_op *op) {
    curl_easy_setopt(op->curl, CURLOPT_FORBID_REUSE, 1L);
    if (op->attached && op->fd >= 0) {
        shutdown(op->fd, SHUT_WR);
    }
}

/* ---- a turn ---- */

static void attach_waiting(struct bowline_loop *l) {
    struct bowline_op *op;
    LIST_FOREACH (op, &l->ops, link) {
        if (op->attached) {
            continue;
        }
        op->heard_ms = mono_ms();
        op->attached = curl_multi_add_handle(l->io.multi, op->curl) == CURLM_OK;
        if (!op->attached) {
            struct bowline_problem problem;
            op_done(op, problem_local(&problem, BOWLINE_NO_MEMORY, NULL), &problem);
            return; /* the timer stands on the next dispatch for what else waits */
        }
    }
}

static void curl_turn(struct bowline_loop *l) {
    l->in_curl = true;
    io_turn(&l->io);
    l->in_curl = false;
    struct bowline_op *op, *next;
    for (op = LIST_FIRST(&l->ops); op; op = next) {
        next = LIST_NEXT(op, link);
        if (op->cancelled) {
            op_free(op);
        }
    }
}

/* A callback may start and cancel others, so that none is held over it. */
static bool finish_ended(struct bowline_loop *l) {
    bool any = false;
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(l->io.multi, &left)); any = true) {
        struct bowline_op *op = NULL;
        if (m->msg == CURLMSG_DONE && curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **) &op) == CURLE_OK && op) {
            op_ended(op, m->data.result);
        }
    }
    return any;
}

static struct bowline_op *find_silent(struct bowline_loop *l, int64_t now_ms) {
    struct bowline_op *op;
    LIST_FOREACH (op, &l->ops, link) {
        /* The analyser does not see that op_free takes it off the list: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        if (op->attached && op->silence_ms && now_ms - op->heard_ms >= op->silence_ms) {
            return op;
        }
    }
    return NULL;
}

int bowline_loop_dispatch(bowline_loop *loop) {
    if (loop->dispatching) {
        return BOWLINE_BAD_ARGUMENT;
    }
    loop->dispatching = true;
    do {
        attach_waiting(loop);
        curl_turn(loop);
    } while (finish_ended(loop));
    for (struct bowline_op *op; (op = find_silent(loop, mono_ms()));) {
        op_silent(op);
    }
    loop->dispatching = false;
    loop_arm(loop);
    return BOWLINE_OK;
}

/* ---- the handle ---- */

int bowline_loop_open(bowline_client *client, bowline_loop **ret_loop, struct bowline_problem *problem) {
    struct bowline_loop *l = calloc(1, sizeof *l);
    if (!l) {
        return problem_local(problem, BOWLINE_NO_MEMORY, NULL);
    }
    l->client = client;
    LIST_INIT(&l->ops);
    int error = io_open(&l->io);
    l->io.socket = op_socket;
    if (error) {
        bowline_loop_close(l);
        return problem_local(problem, error, NULL);
    }
    *ret_loop = l;
    return BOWLINE_OK;
}

void bowline_loop_close(bowline_loop *loop) {
    if (!loop) {
        return;
    }
    while (!LIST_EMPTY(&loop->ops)) {
        op_free(LIST_FIRST(&loop->ops)); /* as above: NOLINT(clang-analyzer-unix.Malloc) */
    }
    io_close(&loop->io);
    free(loop);
}

int bowline_loop_fd(const bowline_loop *loop) {
    return loop->io.epoll_fd;
}
