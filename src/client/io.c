#include "client/io.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define TURN_EVENTS 16

static int socket_changed(CURL *curl, curl_socket_t fd, int what, void *arg, void *per_socket) {
    struct io *io = arg;
    (void) per_socket;
    if (io->socket) {
        io->socket(curl, what == CURL_POLL_REMOVE ? -1 : fd);
    }
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(io->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* it may be closed already */
        return 0;
    }
    struct epoll_event e = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u), .data.fd = fd};
    if (epoll_ctl(io->epoll_fd, EPOLL_CTL_MOD, fd, &e) == 0) {
        return 0;
    }
    return epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : -1;
}

static int timer_changed(CURLM *multi, long timeout_ms, void *arg) {
    struct io *io = arg;
    (void) multi;
    io->curl_ms = timeout_ms < 0 ? TIME_NEVER : mono_ms() + timeout_ms;
    return 0;
}

int io_open(struct io *io) {
    *io = (struct io){.opened = true, .curl_ms = TIME_NEVER};
    io->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    io->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (io->epoll_fd < 0 || io->timer_fd < 0) {
        return BOWLINE_SYSTEM;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.fd = io->timer_fd};
    if (epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, io->timer_fd, &e) != 0) {
        return BOWLINE_SYSTEM;
    }
    io->multi = curl_multi_init();
    if (!io->multi) {
        return BOWLINE_NO_MEMORY;
    }
    curl_multi_setopt(io->multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
    curl_multi_setopt(io->multi, CURLMOPT_SOCKETDATA, io);
    curl_multi_setopt(io->multi, CURLMOPT_TIMERFUNCTION, timer_changed);
    curl_multi_setopt(io->multi, CURLMOPT_TIMERDATA, io);
    return BOWLINE_OK;
}

void io_close(struct io *io) {
    if (!io->opened) {
        return;
    }
    curl_multi_cleanup(io->multi);
    if (io->timer_fd >= 0) {
        close(io->timer_fd);
    }
    if (io->epoll_fd >= 0) {
        close(io->epoll_fd);
    }
    *io = (struct io){0};
}

void io_turn(struct io *io) {
    struct epoll_event events[TURN_EVENTS];
    int running, n = epoll_wait(io->epoll_fd, events, TURN_EVENTS, 0);
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == io->timer_fd) {
            uint64_t expirations;
            ssize_t got = read(fd, &expirations, sizeof expirations); /* makes it unreadable; the times themselves say what is due */
            (void) got;
            continue;
        }
        int mask = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) | (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(io->multi, fd, mask, &running);
    }
    if (io->curl_ms <= mono_ms()) {
        io->curl_ms = TIME_NEVER;
        curl_multi_socket_action(io->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

void io_arm(struct io *io, int64_t at_ms) {
    at_ms = io->curl_ms < at_ms ? io->curl_ms : at_ms;
    struct itimerspec t = {0};
    if (at_ms != TIME_NEVER) {
        int64_t left_ms = at_ms - mono_ms();
        t.it_value.tv_sec = left_ms > 0 ? left_ms / 1000 : 0;
        t.it_value.tv_nsec = left_ms > 0 ? left_ms % 1000 * 1000000 : 1;
    }
    timerfd_settime(io->timer_fd, 0, &t, NULL);
}

bool io_wait(struct io *io, int64_t until_ms) {
    int64_t left_ms = until_ms == DEADLINE_NEVER ? -1 : until_ms - mono_ms();
    left_ms = until_ms != DEADLINE_NEVER && left_ms < 0 ? 0 : left_ms > 3600000 ? 3600000 : left_ms;
    struct epoll_event event;
    return epoll_wait(io->epoll_fd, &event, 1, (int) left_ms) >= 0 || errno == EINTR;
}
