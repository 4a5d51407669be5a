/*
 * One descriptor for the caller: an epoll set of libcurl's sockets and a timer. The timer stands on the earliest of what libcurl, the pause before the next
 * connection and the watch over silence want.
 */
#include "client/watch.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define TURN_EVENTS 16

static int socket_changed(CURL *curl, curl_socket_t fd, int what, void *arg, void *per_socket) {
    struct bowline_watch *w = arg;
    (void) curl, (void) per_socket;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* it may be closed already */
        return 0;
    }
    struct epoll_event e = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u), .data.fd = fd};
    if (epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, fd, &e) == 0) {
        return 0;
    }
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : -1;
}

static int timer_changed(CURLM *multi, long timeout_ms, void *arg) {
    struct bowline_watch *w = arg;
    (void) multi;
    w->curl_ms = timeout_ms < 0 ? TIME_NEVER : mono_ms() + timeout_ms;
    return 0;
}

int watch_io_open(struct bowline_watch *w) {
    w->curl_ms = TIME_NEVER;
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (w->epoll_fd < 0 || w->timer_fd < 0) {
        return BOWLINE_SYSTEM;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.fd = w->timer_fd};
    if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->timer_fd, &e) != 0) {
        return BOWLINE_SYSTEM;
    }
    w->multi = curl_multi_init();
    w->curl = curl_easy_init();
    if (!w->multi || !w->curl) {
        return BOWLINE_NO_MEMORY;
    }
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, timer_changed);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
    return BOWLINE_OK;
}

void watch_io_close(struct bowline_watch *w) {
    if (w->attached) {
        curl_multi_remove_handle(w->multi, w->curl);
    }
    curl_easy_cleanup(w->curl);
    curl_multi_cleanup(w->multi);
    curl_slist_free_all(w->headers);
    if (w->timer_fd >= 0) {
        close(w->timer_fd);
    }
    if (w->epoll_fd >= 0) {
        close(w->epoll_fd);
    }
}

void watch_io_turn(struct bowline_watch *w) {
    struct epoll_event events[TURN_EVENTS];
    int running, n = epoll_wait(w->epoll_fd, events, TURN_EVENTS, 0);
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == w->timer_fd) {
            uint64_t expirations;
            ssize_t got = read(fd, &expirations, sizeof expirations); /* makes it unreadable; the times themselves say what is due */
            (void) got;
            continue;
        }
        int mask = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) | (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(w->multi, fd, mask, &running);
    }
    if (w->curl_ms <= mono_ms()) {
        w->curl_ms = TIME_NEVER;
        curl_multi_socket_action(w->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

void watch_io_arm(struct bowline_watch *w) {
    int64_t at_ms = w->attached ? w->curl_ms : TIME_NEVER;
    if (w->state == WATCH_PAUSED) {
        at_ms = w->connect_ms < at_ms ? w->connect_ms : at_ms;
    } else if (w->state == WATCH_OPEN) {
        at_ms = w->heard_ms + w->silence_ms < at_ms ? w->heard_ms + w->silence_ms : at_ms;
    } else if (w->state == WATCH_FINISHED) {
        at_ms = 0; /* whoever polls is told to look */
    }
    struct itimerspec t = {0};
    if (at_ms != TIME_NEVER) {
        int64_t left_ms = at_ms - mono_ms();
        t.it_value.tv_sec = left_ms > 0 ? left_ms / 1000 : 0;
        t.it_value.tv_nsec = left_ms > 0 ? left_ms % 1000 * 1000000 : 1;
    }
    timerfd_settime(w->timer_fd, 0, &t, NULL);
}

bool watch_io_wait(struct bowline_watch *w, int64_t until_ms) {
    int64_t left_ms = until_ms == DEADLINE_NEVER ? -1 : until_ms - mono_ms();
    left_ms = until_ms != DEADLINE_NEVER && left_ms < 0 ? 0 : left_ms > 3600000 ? 3600000 : left_ms;
    struct epoll_event event;
    return epoll_wait(w->epoll_fd, &event, 1, (int) left_ms) >= 0 || errno == EINTR;
}
