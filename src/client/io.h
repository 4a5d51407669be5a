/*
 * io.h: one descriptor in front of a libcurl multi handle's sockets and one timer: an epoll set that whoever drives it polls for reading. The timer stands
 * on the earlier of what libcurl and the owner want. One thread.
 */
#ifndef BOWLINE_CLIENT_IO_H
#define BOWLINE_CLIENT_IO_H

#include "client/internal.h"

#define TIME_NEVER INT64_MAX

struct io {
    bool opened;
    CURLM *multi;
    int epoll_fd, timer_fd;
    int64_t curl_ms; /* when libcurl wants to be called; TIME_NEVER */
    /* NULL, or told which socket a handle goes by from now on, and -1 once by none. */
    void (*socket)(CURL *curl, int fd);
};

/* OK, SYSTEM or NO_MEMORY. io_close in any case. */
int io_open(struct io *io) MUST_CHECK;
/* Every handle must have been removed. For a zeroed io, too. */
void io_close(struct io *io);
/* Lets libcurl do what is due; never waits. */
void io_turn(struct io *io);
/* Sets the timer: the owner wants to be called then (0: at once, TIME_NEVER), and libcurl too if handles are under way. */
void io_arm(struct io *io, int64_t at_ms);
/* Waits for the descriptor, until that time. False: a failure of the system. */
bool io_wait(struct io *io, int64_t until_ms) MUST_CHECK;

#endif
