#include "cli/relay.h"

#include "cli/child.h"

#include <errno.h>
#include <unistd.h>

#define WRITE_BYTES 4096 /* PIPE_BUF: a pipe that poll calls writable takes as much without blocking */

static void from_close(struct relay *r) {
    r->owed = 0;
    if (r->borrowed) {
        r->from = -1;
    } else {
        descriptor_close(&r->from);
    }
}

void relay_watch(const struct relay *r, struct pollfd fds[RELAY_FDS]) {
    fds[0] = (struct pollfd){.fd = r->pending.len && !r->owed ? -1 : r->from, .events = POLLIN};
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

static void read_some(struct relay *r, short revents) {
    size_t before = r->pending.len;
    ssize_t n = revents ? descriptor_read(r->from, &r->pending) : -1;
    r->owed = r->owed ? descriptor_still_owes(r->from, r->owed, n) : 0;
    if (n == 0) {
        from_close(r);
    } else if (n > 0 && r->saw) {
        r->saw(r->arg, str_from(buf_view(&r->pending), before));
    }
}

void relay_turn(struct relay *r, const struct pollfd fds[RELAY_FDS]) {
    if (fds[0].fd >= 0 && fds[0].fd == r->from) {
        read_some(r, fds[0].revents);
    }
    if (r->pending.len && !write_some(r)) {
        buf_clear(&r->pending);
        r->to = -1;
        from_close(r);
    }
}

void relay_owe(struct relay *r) {
    r->owed = descriptor_owes(r->from);
}

bool relay_is_read(const struct relay *r) {
    return r->from < 0;
}

void relay_fini(struct relay *r) {
    from_close(r);
    buf_fini(&r->pending);
}
