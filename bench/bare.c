#include "bare.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void sample_put(const struct sample *s, uint64_t number, bool whole, struct buf *out) {
    struct str text = str_n(s->bytes, s->len), data = text_behind(text, "data: "), behind = text_behind(data, "{\"seq\":");
    if (!behind.p || s->len < 2) {
        die("there is no event to send");
    }
    while (behind.len && behind.p[0] >= '0' && behind.p[0] <= '9') {
        behind = str_from(behind, 1);
    }
    if (whole) {
        buf_put(out, text.p, (size_t) (data.p - text.p));
    } else {
        behind.len -= 2; /* the empty line */
    }
    buf_printf(out, "{\"seq\":%010llu", (unsigned long long) number);
    buf_str(out, behind);
}

static int listen_any(struct target *ret) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *) &a, sizeof a) || listen(fd, 4096) || getsockname(fd, (struct sockaddr *) &a, &len)) {
        die("listen: %s", strerror(errno));
    }
    ret->address = a;
    snprintf(ret->host, sizeof ret->host, "127.0.0.1:%d", ntohs(a.sin_port));
    return fd;
}

static void send_whole(int fd, struct str text) {
    if (send(fd, text.p, text.len, MSG_NOSIGNAL) != (ssize_t) text.len) {
        die("the bare sender: send: %s", strerror(errno));
    }
}

static _Noreturn void sender(int listener, int orders, unsigned sockets, const struct sample *sample) {
    int *fds = mem_alloc(sockets * sizeof *fds);
    uint64_t number;
    for (unsigned i = 0; i < sockets; i++) {
        fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fds[i] < 0) {
            die("the bare sender: accept: %s", strerror(errno));
        }
        send_whole(fds[i], STR("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"));
    }
    while (read(orders, &number, sizeof number) == (ssize_t) sizeof number) {
        struct buf text = {0};
        sample_put(sample, number, true, &text);
        for (unsigned i = 0; i < sockets; i++) {
            send_whole(fds[i], buf_view(&text));
        }
        buf_fini(&text);
    }
    exit(0);
}

void bare_start(struct bare *b, unsigned sockets, const struct sample *sample) {
    int orders[2], listener;
    *b = (struct bare){0};
    listener = listen_any(&b->target);
    if (pipe2(orders, O_CLOEXEC)) {
        die("pipe: %s", strerror(errno));
    }
    b->target.pid = fork();
    if (b->target.pid < 0) {
        die("fork: %s", strerror(errno));
    }
    if (b->target.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(orders[1]);
        sender(listener, orders[0], sockets, sample);
    }
    close(listener);
    close(orders[0]);
    b->orders = orders[1];
}

void bare_send(struct bare *b, uint64_t number) {
    if (write(b->orders, &number, sizeof number) != (ssize_t) sizeof number) {
        die("the bare sender is gone");
    }
}

void bare_stop(struct bare *b) {
    close(b->orders);
    waitpid(b->target.pid, NULL, 0);
}
