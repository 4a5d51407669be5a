#include "cli/child.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)
#define TERMINAL_BYTES (128 * 1024) /* more than one holds */
#define ABOVE 10                    /* descriptors are moved above those that they shall become */
#define INHERITED_MOST 1024

static bool inherited[INHERITED_MOST];

/* ---- signals ---- */

int signals_open(struct signals *s, const int *numbers, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) {
        struct sigaction now;
        /* What whoever started us ignores (nohup) stays ignored, also in the command. */
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
            sigaddset(&set, numbers[i]);
        }
    }
    sigaddset(&set, SIGCHLD);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, &s->before)) {
        return -errno;
    }
    s->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return s->fd < 0 ? -errno : 0;
}

void signals_close(struct signals *s) {
    descriptor_close(&s->fd);
    sigprocmask(SIG_SETMASK, &s->before, NULL);
}

int signals_next(struct signals *s) {
    struct signalfd_siginfo info;
    return read(s->fd, &info, sizeof info) == sizeof info ? (int) info.ssi_signo : 0;
}

/* ---- starting ---- */

static int fd_above(int fd) {
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, ABOVE);
}

static void fd_become(int fd, int wanted) {
    if (fd >= 0 && dup2(fd, wanted) < 0) {
        _exit(126);
    }
}

void descriptors_are_inherited(void) {
    for (int fd = 0; fd < INHERITED_MOST; fd++) {
        inherited[fd] = fcntl(fd, F_GETFD) >= 0;
    }
}

/* Libraries open some without saying that they end with us. Before Linux 5.11 the command has those as well. */
static void others_end_here(int first) {
    for (int fd = first; fd <= INHERITED_MOST; fd++) {
        bool none = fd == INHERITED_MOST;
        if (!none && !inherited[fd]) {
            continue;
        }
        if (fd > first || none) {
            close_range((unsigned) first, none ? UINT_MAX : (unsigned) fd - 1, CLOSE_RANGE_CLOEXEC);
        }
        first = fd + 1;
    }
}

__attribute__((noreturn)) static void child_become(const struct child_spec *spec, const struct signals *s, pid_t parent) {
    int in = fd_above(spec->in), out = fd_above(spec->out), err = fd_above(spec->err), report = fd_above(spec->report);
    setpgid(0, 0);
    if (spec->terminal) {
        tcsetpgrp(out, getpid());
    }
    fd_become(in, 0);
    fd_become(out, 1);
    fd_become(err, 2);
    fd_become(report, CHILD_REPORT_FD);
    others_end_here(report >= 0 ? CHILD_REPORT_FD + 1 : STDERR_FILENO + 1);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTTOU, SIG_DFL);
    sigprocmask(SIG_SETMASK, &s->before, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126);
    }
    execvpe(spec->argv[0], spec->argv, spec->envp);
    dprintf(2, "bowline: %s: %s\n", spec->argv[0], strerror(errno));
    _exit(errno == ENOENT || errno == ENOTDIR ? 127 : 126);
}

bool child_can_run(const char *command) {
    const char *path = getenv("PATH");
    struct buf file = {0};
    bool found = strchr(command, '/') && access(command, X_OK) == 0;
    for (path = path ? path : "/usr/bin:/bin"; !strchr(command, '/') && !found && *path;) {
        size_t len = strcspn(path, ":");
        buf_clear(&file);
        buf_printf(&file, "%.*s%s%s", (int) len, path, len ? "/" : "", command);
        found = access(buf_z(&file), X_OK) == 0;
        path += len + (path[len] == ':');
    }
    buf_fini(&file);
    return found;
}

pid_t child_spawn(const struct child_spec *spec, const struct signals *s) {
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        child_become(spec, s, parent);
    }
    if (pid < 0) {
        return -errno;
    }
    setpgid(pid, pid); /* here too, so that it is so before anything else is done with it */
    return pid;
}

/* ---- the end ---- */

struct child_end child_end_of(int wait_status, int64_t ran_ms) {
    bool killed = WIFSIGNALED(wait_status);
    int number = killed ? WTERMSIG(wait_status) : 0;
    return (struct child_end){killed ? 128 + number : WEXITSTATUS(wait_status), number, ran_ms};
}

void child_end_fail(const struct child_end *e, struct str more, bool retry, struct buf *report) {
    buf_printf(report, "{\"type\":\"fail\",\"error\":{\"type\":\"%s\",\"message\":\"", e->signal ? "signal" : "exit-status");
    if (e->signal) {
        buf_printf(report, "the command was ended by signal %d (%s)", e->signal, strsignal(e->signal));
    } else {
        buf_printf(report, "the command ended with exit status %d", e->status);
    }
    buf_printf(report, "\",\"detail\":{\"exit_status\":%d", e->status);
    if (e->signal) {
        buf_printf(report, ",\"signal\":%d", e->signal);
    }
    buf_puts(report, ",\"seconds\":");
    buf_json_num(report, (double) e->ms / 1000);
    buf_str(report, more);
    buf_printf(report, "}}%s}", retry ? ",\"retry\":true" : "");
}

/* ---- the environment ---- */

static bool same_name(const char *entry, const char *change) {
    size_t len = strcspn(change, "=");
    return strncmp(entry, change, len) == 0 && entry[len] == '=';
}

char **child_environment(const char *const *changes, int count) {
    size_t most = (size_t) count + 1, used = 0;
    for (char **e = environ; *e; e++) {
        most++;
    }
    char **envp = mem_alloc(most * sizeof *envp);
    for (char **e = environ; *e; e++) {
        bool changed = false;
        for (int i = 0; i < count; i++) {
            changed |= same_name(*e, changes[i]);
        }
        if (!changed) {
            envp[used++] = mem_strdup(str_of(*e));
        }
    }
    for (int i = 0; i < count; i++) {
        if (strchr(changes[i], '=')) {
            envp[used++] = mem_strdup(str_of(changes[i]));
        }
    }
    return envp;
}

void child_environment_free(char **envp) {
    for (char **e = envp; e && *e; e++) {
        mem_free(*e);
    }
    mem_free(envp);
}

/* ---- descriptors ---- */

ssize_t descriptor_read(int fd, struct buf *out) {
    if (!buf_reserve(out, READ_BYTES)) {
        return 0;
    }
    ssize_t n = read(fd, out->data + out->len, READ_BYTES);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? -1 : 0; /* EIO: nobody has the terminal open any more */
    }
    out->len += (size_t) n;
    return n;
}

size_t descriptor_owes(int fd) {
    int pipe = fd >= 0 ? fcntl(fd, F_GETPIPE_SZ) : 0;
    return fd < 0 ? 0 : pipe > 0 ? (size_t) pipe : TERMINAL_BYTES;
}

size_t descriptor_still_owes(int fd, size_t owed, ssize_t n) {
    int waiting;
    bool more = n > 0 && (size_t) n < owed && ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0;
    return more ? owed - (size_t) n : 0;
}

bool descriptor_pipe(int ret_ends[2]) {
    return pipe2(ret_ends, O_CLOEXEC) == 0;
}

void descriptor_close(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void descriptor_unblock(int fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}
