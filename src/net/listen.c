/* Listening sockets: several on one address, so that the kernel spreads connections over the loops. */
#include "net/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

/*
 * The first socket is bound without SO_REUSEPORT, so that an address somebody else listens on is found out, and may be shared only from then on.
 */
static int listen_one(const struct addrinfo *ai, bool first) {
    int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if ((!first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on))) || bind(fd, ai->ai_addr, ai->ai_addrlen) ||
        (first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on))) || listen(fd, BACKLOG)) {
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

/* The port a socket has got, also written into ai for the next ones. */
static int port_of(int fd, const struct addrinfo *ai) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr = {.v6 = {.sin6_port = 0}};
    socklen_t len = sizeof(addr);
    if (getsockname(fd, &addr.any, &len)) {
        return -errno;
    }
    if (ai->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *) (void *) ai->ai_addr)->sin6_port = addr.v6.sin6_port;
        return ntohs(addr.v6.sin6_port);
    }
    ((struct sockaddr_in *) (void *) ai->ai_addr)->sin_port = addr.v4.sin_port;
    return ntohs(addr.v4.sin_port);
}

static int listen_all(const struct addrinfo *ai, unsigned count, int *fds, int *ret_port) {
    unsigned n = 0;
    int r = 0;
    while (n < count) {
        r = listen_one(ai, n == 0);
        if (r < 0) {
            break;
        }
        fds[n++] = r;
        r = n == 1 ? port_of(fds[0], ai) : r;
        if (r < 0) {
            break;
        }
        if (n == 1) {
            *ret_port = r;
        }
    }
    if (r >= 0) {
        return 0;
    }
    while (n) {
        close(fds[--n]);
    }
    return r;
}

static int resolve(const char *addr, int port, struct addrinfo **ret) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char host[256], service[16];
    struct str name = str_of(addr);
    if (name.len > 2 && name.p[0] == '[' && name.p[name.len - 1] == ']') {
        name = str_n(name.p + 1, name.len - 2);
    }
    if (name.len >= sizeof(host)) {
        return -EINVAL;
    }
    memcpy(host, name.p, name.len);
    host[name.len] = '\0';
    snprintf(service, sizeof(service), "%d", port);
    int r = getaddrinfo(name.len ? host : NULL, service, &hints, ret);
    if (r == EAI_SYSTEM) {
        return -errno;
    }
    return r ? -EADDRNOTAVAIL : 0;
}

int http_listen(const char *addr, int port, unsigned count, int *ret_fds, int *ret_port) {
    struct addrinfo *ai;
    int r = resolve(addr, port, &ai);
    if (r == 0) {
        r = listen_all(ai, count, ret_fds, ret_port);
        freeaddrinfo(ai);
    }
    return r;
}
