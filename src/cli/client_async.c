#include "cli/client_async.h"

#include "base/mem.h"
#include "cli/client_internal.h"
#include "cli/exit.h"

#include <sys/queue.h>
#include <sys/socket.h>

#define WAIT_MOST_MS 60000

struct client_op {
    struct client_async *as;
    CURL *curl;
    struct curl_slist *list;
    struct buf body;
    struct client_reply reply;
    char why[CURL_ERROR_SIZE];
    void (*done)(void *arg, const struct client_reply *reply);
    void *arg;
    LIST_ENTRY(client_op) link; /* client_async.ops */
};

struct client_async {
    const struct client *client;
    CURLM *multi;
    LIST_HEAD(, client_op) ops;
    struct curl_waitfd *wait;
    unsigned wait_cap;
};

int client_async_open(const struct args *a, struct client *c, struct client_async **ret_async) {
    CURLM *multi = curl_multi_init();
    if (!multi) {
        return args_fail(a, BOWLINE_EXIT_FAILED, "libcurl cannot be started");
    }
    struct client_async *as = mem_alloc(sizeof *as);
    as->client = c;
    as->multi = multi;
    LIST_INIT(&as->ops);
    *ret_async = as;
    return 0;
}

void client_async_close(struct client_async *as) {
    if (!as) {
        return;
    }
    while (!LIST_EMPTY(&as->ops)) {
        client_op_cancel(LIST_FIRST(&as->ops));
    }
    curl_multi_cleanup(as->multi);
    mem_free(as->wait);
    mem_free(as);
}

const char *client_async_url(const struct client_async *as) {
    return as->client->url;
}

static void op_destroy(struct client_op *op) {
    LIST_REMOVE(op, link);
    curl_multi_remove_handle(op->as->multi, op->curl);
    curl_easy_cleanup(op->curl);
    curl_slist_free_all(op->list);
    buf_fini(&op->body);
    client_reply_fini(&op->reply);
    mem_free(op);
}

struct client_op *client_async_start(struct client_async *as, const struct client_request *q, int64_t timeout_ms,
                                     void (*done)(void *arg, const struct client_reply *reply), void *arg) {
    struct client_op *op = mem_alloc(sizeof *op);
    struct client_request copy = *q;
    op->as = as;
    op->done = done;
    op->arg = arg;
    buf_str(&op->body, q->body);
    copy.body = q->body.p ? buf_view(&op->body) : STR_NONE;
    op->curl = curl_easy_init();
    op->list = client_prepare(as->client, op->curl, &copy, &op->reply, op->why);
    curl_easy_setopt(op->curl, CURLOPT_TIMEOUT_MS, (long) timeout_ms);
    curl_easy_setopt(op->curl, CURLOPT_HTTPHEADER, op->list);
    curl_easy_setopt(op->curl, CURLOPT_PRIVATE, op);
    LIST_INSERT_HEAD(&as->ops, op, link);
    curl_multi_add_handle(as->multi, op->curl);
    return op;
}

void client_op_cancel(struct client_op *op) {
    if (op) {
        op_destroy(op);
    }
}

void client_op_hang_up(struct client_op *op) {
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_easy_setopt(op->curl, CURLOPT_FORBID_REUSE, 1L);
    if (curl_easy_getinfo(op->curl, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK && fd != CURL_SOCKET_BAD) {
        shutdown(fd, SHUT_WR);
    }
}

/* The owner may start and cancel others from within. */
static void op_finish(struct client_op *op, CURLcode result) {
    long status = 0;
    if (result == CURLE_OK) {
        curl_easy_getinfo(op->curl, CURLINFO_RESPONSE_CODE, &status);
    } else {
        buf_clear(&op->reply.body);
        buf_puts(&op->reply.body, op->why[0] ? op->why : curl_easy_strerror(result));
    }
    op->reply.status = (int) status;
    op->done(op->arg, &op->reply);
    op_destroy(op);
}

/* True if something is done. */
static bool ops_turn(struct client_async *as) {
    int running, left;
    bool any = false;
    CURLMsg *message;
    curl_multi_perform(as->multi, &running);
    while ((message = curl_multi_info_read(as->multi, &left))) {
        struct client_op *op = NULL;
        if (message->msg == CURLMSG_DONE && curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &op) == CURLE_OK && op) {
            op_finish(op, message->data.result);
            any = true;
        }
    }
    return any;
}

void client_async_wait(struct client_async *as, struct pollfd *fds, unsigned count, int64_t wait_ms) {
    if (count > as->wait_cap) {
        as->wait_cap = count;
        as->wait = mem_resize(as->wait, count * sizeof *as->wait);
    }
    unsigned used = 0;
    for (unsigned i = 0; i < count; i++) {
        fds[i].revents = 0;
        if (fds[i].fd >= 0) {
            as->wait[used].fd = fds[i].fd;
            as->wait[used].events = (short) ((fds[i].events & POLLIN ? CURL_WAIT_POLLIN : 0) | (fds[i].events & POLLOUT ? CURL_WAIT_POLLOUT : 0));
            as->wait[used++].revents = 0;
        }
    }
    wait_ms = wait_ms < 0 ? 0 : wait_ms > WAIT_MOST_MS ? WAIT_MOST_MS : wait_ms;
    bool any = ops_turn(as); /* what was started since the last wait has to be sent before there is anything to wait for */
    curl_multi_poll(as->multi, as->wait, used, any ? 0 : (int) wait_ms, NULL);
    (void) ops_turn(as);
    poll(fds, count, 0); /* libcurl does not tell a hang-up */
}
