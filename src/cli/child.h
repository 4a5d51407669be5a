/* child.h: how a command is started in a process group of its own, how it ended, and the signals that reach us meanwhile. Who looks after it: guard.h. */
#ifndef BOWLINE_CLI_CHILD_H
#define BOWLINE_CLI_CHILD_H

#include "base/buf.h"

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILD_REPORT_FD 3

/* Signals as a descriptor: those of interest are blocked until signals_close, and SIGPIPE is ignored. */
struct signals {
    int fd;
    sigset_t before;
};
/* 0 or a negative errno. */
int signals_open(struct signals *s, const int *numbers, int count) MUST_CHECK;
void signals_close(struct signals *s);
/* The next one that has come, 0 if there is none. */
int signals_next(struct signals *s);

struct child_spec {
    char *const *argv;
    char *const *envp;
    int in, out, err; /* become 0, 1 and 2; -1: our own */
    int report;       /* becomes CHILD_REPORT_FD; -1: none */
    bool terminal;    /* `out` is the terminal of our session, and shall have its group in the foreground */
};
/*
 * Starts it with the signals as they were before signals_open; it is killed when we end. A command that cannot be executed ends with 127 (not found)
 * or 126, having said so on its standard error. The process, which is the leader of its group, or a negative errno.
 */
pid_t child_spawn(const struct child_spec *spec, const struct signals *s) MUST_CHECK;

/* How a process ended, as a final report; also for a result. */
struct child_end {
    int status; /* as exit statuses go in shells: 128 + N after signal N */
    int signal; /* 0: none */
    int64_t ms; /* how long it ran */
};
struct child_end child_end_of(int wait_status, int64_t ran_ms);
/* "fail" with error type exit-status or signal. more: further members of the detail, each with a comma before it, or STR_NONE. */
void child_end_fail(const struct child_end *e, struct str more, bool retry, struct buf *report);

/* Would this be found and may it be executed? Looks along PATH as the start will. */
bool child_can_run(const char *command);
/* A copy of the environment with these set ("NAME=value", or "NAME" alone to remove), for child_spec; child_environment_free frees it. */
char **child_environment(const char *const *changes, int count);
void child_environment_free(char **envp);
/* Non-blocking reads of up to 64 KiB: bytes, 0 at the end (also of a terminal whose other side is gone), -1 nothing now. */
ssize_t descriptor_read(int fd, struct buf *out);
/*
 * Is what waited in a pipe or terminal at some time read? descriptor_owes: no more than so many bytes wait there now. descriptor_still_owes: how many of
 * these are left after a read that gave n.
 */
size_t descriptor_owes(int fd);
size_t descriptor_still_owes(int fd, size_t owed, ssize_t n);
/* To be called before any is opened: those that are open now and lie below 1024 are commands' as well, all others end where a command begins. */
void descriptors_are_inherited(void);
bool descriptor_pipe(int ret_ends[2]);
void descriptor_close(int *fd);
void descriptor_unblock(int fd);

#endif
