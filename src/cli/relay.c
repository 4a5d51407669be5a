#include "cli/relay.h"

#include "cli/child.h"

#include <errno.h>
#include <unistd.h>

#define WRITE_BYTES 4096 /* PIPE_BUF: a pipe that poll calls writable takes as much without blocking */

static void from_close(struct relay *r) {
    if (r->borrowed) {
        r->from = -1;
    } else {
        descriptor_close(&r->from);
    }
}

void relay_watch(const struct relay *r, struct pollfd fds[RELAY_FDS]) {
    fds[0] = (struct pollfd){.fd = r->pending.len ? -1 : r->from, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = r->pending.len ? r->to : -1, .events = POLLOUT};
}

/* False when nobody reads any more: then the writer learns of it as it would have without us. */
static bool write_some(struct relay *r) {
    struct pollfd to = {.fd = r->to, .events = POLLOUT};
    while (r->pending.len && poll(&to, 1, 0) > 0) {
        ssize_t n = write(r->to, r->pending.data, r->pending.len < WRITE_BYTES ? r->pending.len : WRITE_BYTES);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        buf_drop_front(&r->pending, (size_t) n);
    }
    return true;
}

void relay_turn(struct relay *r, const struct pollfd fds[RELAY_FDS]) {
    if (fds[0].fd >= 0 && fds[0].fd == r->from && fds[0].revents) {
        ssize_t n = descriptor_read(r->from, &r->pending);
        if (n == 0) {
            from_close(r);
        } else if (n > 0 && r->saw) {
            r->saw(r->arg, buf_view(&r->pending));
        }
    }
    if (r->pending.len && !write_some(r)) {
        buf_clear(&r->pending);
        r->to = -1;
        from_close(r);
    }
}

bool relay_is_done(const struct relay *r) {
    return r->from < 0 && !r->pending.len;
}

void relay_fini(struct relay *r) {
    from_close(r);
    buf_fini(&r->pending);
}
