/*
 * guard.h: a command together with everything that it starts. Between us and the command stands a small process of ours, the guard. It is the command's parent and
 * adopts each of its descendants that loses its own, so that none of them gets out of its sight, in whatever session and process group it is. If we end without
 * a word (SIGKILL, a crash), the guard ends all of them.
 *
 *     guard_start ── it runs ── exited ── guard_drain: what it left behind writes to nobody ── guard_leave: that may go on without us
 *                       └────── guard_stop: all of it ends ── over
 *
 * Not within its reach: what another service starts when it is asked to (at, docker, systemd-run), and programs that have become another user's (sudo).
 * Without /proc only the command's process group is.
 */
#ifndef BOWLINE_CLI_GUARD_H
#define BOWLINE_CLI_GUARD_H

#include "cli/child.h"

#define GUARD_ALONE_MS 2000 /* without us: SIGTERM at once, SIGKILL after that long */
#define GUARD_FDS 3         /* as many descriptors can be drained */
/* What a command's children write after its end counts as its output until nothing has come for so long, and so long or so much at most. */
#define GUARD_QUIET_MS 200
#define GUARD_LINGER_MS 1000
#define GUARD_LINGER_BYTES (1024 * 1024)

struct guard {
    int fd;        /* readable when guard_next has something; -1: none */
    pid_t pid;     /* the guard's own process */
    pid_t command; /* leader of its process group */

    bool exited; /* the command has, with this status, at this time of clock_ms */
    int wait_status;
    int64_t exited_ms;
    bool late;     /* a signal for the command came after its end */
    bool stopping; /* guard_stop was called */
    bool gone;     /* nothing of what the command started is left, or nothing that could be killed */
    int64_t over_ms;
};

/* 0 or a negative errno; also where that fails guard_leave is harmless. */
int guard_start(struct guard *g, const struct child_spec *spec, const struct signals *s) MUST_CHECK;
/* Takes in one thing that has happened; false: there is nothing new. ret_stopped: the signal that has stopped the command for a while, else 0. */
bool guard_next(struct guard *g, int *ret_stopped);
/* To the command's process group. */
void guard_signal(struct guard *g, int number);
/* SIGTERM to all that the command has started; SIGKILL to what is left after that long. */
void guard_stop(struct guard *g, int64_t kill_after_ms);
/* The command has exited and, after guard_stop, nothing of it is left. */
bool guard_is_over(const struct guard *g);
/*
 * From here on the guard reads what comes there, and forgets it, until nobody has the other side any more: so nobody is ended or held up by writing to it.
 * The descriptors (-1: none) are the guard's; ours are closed and become -1.
 */
void guard_drain(struct guard *g, int *const fds[], int count);
/* The command has exited: what it left behind is on its own, and the guard goes when nothing is to be drained. If nothing was left, it has gone. */
void guard_leave(struct guard *g);
/* Kills the command and everything else that it started. */
void guard_kill(struct guard *g);
/* SIGCHLD has come. */
void guards_reap(void);

#endif
