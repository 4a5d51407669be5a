/* Plain sockets: all system calls on a connection's socket stand here. */
#include "net/transport.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOTSENT_BYTES (16 * 1024)

static bool plain_open(struct transport *t) {
    t->read_wants = TRANSPORT_READABLE;
    t->write_wants = TRANSPORT_WRITABLE;
    return true;
}

static ssize_t plain_read(struct transport *t, char *out, size_t len) {
    ssize_t n = recv(t->fd, out, len, 0);
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN || errno == EINTR ? TRANSPORT_AGAIN : TRANSPORT_DEAD;
}

static ssize_t plain_write(struct transport *t, const struct iovec *iov, unsigned count) {
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t n = 0;
    if (count == 1) { /* one piece is cheaper to hand over */
        n = send(t->fd, iov->iov_base, iov->iov_len, flags);
    } else if (count) {
        struct msghdr msg = {.msg_iov = (struct iovec *) (uintptr_t) iov, .msg_iovlen = count};
        n = sendmsg(t->fd, &msg, flags);
    }
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : TRANSPORT_DEAD;
}

void socket_shutdown(struct transport *t) {
    shutdown(t->fd, SHUT_WR);
}

int socket_unread(struct transport *t) {
    int bytes = 0;
    return ioctl(t->fd, SIOCOUTQ, &bytes) ? 0 : bytes;
}

bool socket_failed(struct transport *t, bool ended) {
    int err = 0;
    socklen_t len = sizeof(err);
    char urgent;
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
        return true;
    }
    return recv(t->fd, &urgent, 1, MSG_OOB) < 0 && ended; /* hung up on both sides */
}

void socket_prefer_fresh(struct transport *t) {
    int bytes = NOTSENT_BYTES;
    setsockopt(t->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

void socket_close(struct transport *t) {
    close(t->fd);
    t->fd = -1;
}

const struct transport_kind transport_plain = {
    .name = "plain",
    .open = plain_open,
    .read = plain_read,
    .write = plain_write,
    .shutdown = socket_shutdown,
    .unread = socket_unread,
    .failed = socket_failed,
    .prefer_fresh = socket_prefer_fresh,
    .close = socket_close,
};
