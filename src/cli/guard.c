/*
 * guard.c. The guard is a fork of ours that executes nothing: it lets go of all our descriptors, and then waits for words from us and for its children. It and we
 * speak over a socket whose other end nobody else has, so its end is our end. Only the guard sends signals, since only it knows which processes are still there.
 */
#include "cli/guard.h"

#include "base/clock.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_FD 3 /* in the guard */
#define SIGNAL_FD 4
#define FIRST_FREE_FD 5
#define ABOVE 10
#define KILL_EVERY_MS 20  /* what was being started while the others were killed is killed then */
#define KILL_MOST_MS 5000 /* what is there after so long cannot be killed, or not now */
#define DRAIN_BYTES (64 * 1024)

enum word_kind { WORD_STARTED, WORD_STOPPED, WORD_EXITED, WORD_LATE, WORD_GONE, WORD_SIGNAL, WORD_STOP, WORD_DRAIN, WORD_LEAVE };

struct word {
    enum word_kind kind;
    int value; /* the command's process or a negative errno; the signal; the wait status; milliseconds */
};

/* ---- the guard ---- */

struct watched {
    pid_t command;
    bool exited, exit_told, gone, gone_told;
    bool alone; /* we have ended without a word */
    bool left;  /* or with one */
    int64_t kill_ms, kill_until_ms;
    int drains[GUARD_FDS];
};

struct process {
    pid_t pid, parent, group;
    bool ours;
};

struct processes {
    struct process *all;
    size_t count, room;
};

static void tell(enum word_kind kind, int value) {
    struct word w = {kind, value};
    while (send(SOCKET_FD, &w, sizeof w, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

/* One line of /proc/PID/stat; false for what has ended. The name in it may hold anything. */
static bool process_read(pid_t pid, struct process *ret) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int) pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    descriptor_close(&fd);
    if (n <= 0) {
        return false;
    }
    text[n] = 0;
    const char *behind = strrchr(text, ')');
    char state;
    int parent, group;
    if (!behind || sscanf(behind + 1, " %c %d %d", &state, &parent, &group) != 3 || state == 'Z' || state == 'X') {
        return false;
    }
    *ret = (struct process){pid, parent, group, false};
    return true;
}

static int by_pid(const void *a, const void *b) {
    pid_t x = ((const struct process *) a)->pid, y = ((const struct process *) b)->pid;
    return (x > y) - (x < y);
}

/* Marks whose parent is the guard or is marked, until there is nobody left to mark. */
static void processes_mark(struct processes *p, pid_t guard) {
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < p->count; i++) {
            struct process key = {.pid = p->all[i].parent};
            const struct process *parent = p->all[i].ours ? NULL : bsearch(&key, p->all, p->count, sizeof key, by_pid);
            if (!p->all[i].ours && (key.pid == guard || (parent && parent->ours))) {
                p->all[i].ours = more = true;
            }
        }
    }
}

/* All that run now; those that the command started are marked. False without /proc. */
static bool processes_find(struct processes *p) {
    DIR *folder = opendir("/proc");
    if (!folder) {
        return false;
    }
    for (const struct dirent *e; (e = readdir(folder));) {
        struct process one;
        int pid = atoi(e->d_name);
        if (pid <= 0 || !process_read(pid, &one)) {
            continue;
        }
        if (p->count == p->room) {
            p->room = p->room ? 2 * p->room : 256;
            p->all = mem_resize(p->all, p->room * sizeof *p->all);
        }
        p->all[p->count++] = one;
    }
    closedir(folder);
    qsort(p->all, p->count, sizeof *p->all, by_pid);
    processes_mark(p, getpid());
    return true;
}

/* Signals all that the command started, or those in its process group alone. */
static void signal_send(const struct watched *p, int number, bool group_alone) {
    struct processes found = {0};
    bool group_is_its = p->command > 0 && !p->exited; /* else the number might be somebody else's by now */
    if (group_is_its) {
        kill(-p->command, number);
    }
    if (group_is_its && group_alone) {
        return;
    }
    if (!p->gone && processes_find(&found)) {
        for (size_t i = 0; i < found.count; i++) {
            const struct process *one = &found.all[i];
            bool of_group = one->group == p->command;
            if (one->ours && (of_group ? !group_is_its : !group_alone)) {
                kill(one->pid, number);
            }
        }
    }
    mem_free(found.all);
}

static void stop_all(struct watched *p, int64_t kill_after_ms) {
    int64_t kill_ms = clock_ms() + kill_after_ms;
    signal_send(p, SIGTERM, false);
    signal_send(p, SIGCONT, false); /* what is stopped has to hear of it */
    p->kill_ms = kill_ms < p->kill_ms ? kill_ms : p->kill_ms;
}

/* Each pass reaches all that is there; what they were just starting is there in the next one. */
static void kill_all(struct watched *p, int64_t now) {
    p->kill_until_ms = p->kill_until_ms ? p->kill_until_ms : now + KILL_MOST_MS;
    p->kill_ms = now < p->kill_until_ms ? now + KILL_EVERY_MS : INT64_MAX;
    signal_send(p, SIGKILL, false);
    if (p->kill_ms == INT64_MAX) {
        p->gone = true;
    }
}

static void children_reap(struct watched *p) {
    int status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        bool is_command = pid == p->command;
        if (WIFSTOPPED(status)) {
            if (is_command) {
                tell(WORD_STOPPED, WSTOPSIG(status));
            }
        } else if (is_command) {
            p->exited = true;
            tell(WORD_EXITED, status);
        }
    }
    p->gone |= pid < 0 && errno == ECHILD;
}

/* Where the guard leads the session of a terminal: as long as it does so, and when it ends, nobody who is left gets SIGHUP from that. */
static void terminal_let_go(void) {
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && getsid(0) == getpid()) {
        tcsetpgrp(fd, getpgrp());
    }
    descriptor_close(&fd);
}

static void drains_take(struct watched *p, struct msghdr *m) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        size_t count = c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
        memcpy(p->drains, CMSG_DATA(c), (count < GUARD_FDS ? count : GUARD_FDS) * sizeof(int));
    }
}

static void signal_pass(struct watched *p, int number) {
    signal_send(p, number, true);
    if (p->exited && number != SIGSTOP && number != SIGTSTP && number != SIGCONT) { /* those are no wish to have done with it */
        tell(WORD_LATE, number);
    }
}

static void word_take(struct watched *p) {
    struct word w = {.kind = WORD_LEAVE};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(GUARD_FDS * sizeof(int))];
    } rights;
    struct iovec io = {&w, sizeof w};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    ssize_t n = recvmsg(SOCKET_FD, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n != sizeof w) {
        p->alone = true;
        stop_all(p, GUARD_ALONE_MS);
        return;
    }
    switch (w.kind) {
    case WORD_SIGNAL: signal_pass(p, w.value); break;
    case WORD_STOP: stop_all(p, w.value); break;
    case WORD_DRAIN: drains_take(p, &m); break;
    default:
        p->left = true;
        p->kill_ms = INT64_MAX;
        close(SOCKET_FD);
        terminal_let_go();
    }
}

static void drain(int *fd) {
    static char bytes[DRAIN_BYTES];
    ssize_t n = read(*fd, bytes, sizeof bytes);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        descriptor_close(fd);
    }
}

static bool is_needed(const struct watched *p) {
    bool drains = false;
    for (int i = 0; i < GUARD_FDS; i++) {
        drains |= p->drains[i] >= 0;
    }
    return p->left ? drains : p->alone ? !p->gone : true;
}

static void guard_turn(struct watched *p) {
    struct pollfd fds[2 + GUARD_FDS] = {{.fd = p->alone || p->left ? -1 : SOCKET_FD, .events = POLLIN}, {.fd = SIGNAL_FD, .events = POLLIN}};
    struct signalfd_siginfo info;
    int64_t now = clock_ms(), wait = p->kill_ms - now;
    for (int i = 0; i < GUARD_FDS; i++) {
        fds[2 + i] = (struct pollfd){.fd = p->drains[i], .events = POLLIN};
    }
    poll(fds, 2 + GUARD_FDS, p->kill_ms == INT64_MAX ? -1 : wait < 0 ? 0 : wait < 1000000 ? (int) wait : 1000000);
    for (int i = 0; i < GUARD_FDS; i++) {
        if (fds[2 + i].revents) {
            drain(&p->drains[i]);
        }
    }
    while (read(SIGNAL_FD, &info, sizeof info) > 0) {
    }
    children_reap(p);
    if (fds[0].revents) {
        word_take(p);
    }
    now = clock_ms();
    if (now >= p->kill_ms && !p->gone) {
        kill_all(p, now);
    }
    if (p->gone) {
        p->kill_ms = INT64_MAX;
    }
    if (p->gone && !p->gone_told && !p->left) {
        p->gone_told = true;
        tell(WORD_GONE, 0);
    }
}

/* Nothing of ours stays open, nor our folder in use. */
static void descriptors_let_go(int socket, int signals) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int from[] = {null, null, null, socket, signals};
    for (int i = 0; i < FIRST_FREE_FD; i++) {
        from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, ABOVE);
    }
    for (int i = 0; i < FIRST_FREE_FD; i++) {
        if (from[i] < 0 || dup2(from[i], i) < 0) {
            close(i);
        }
    }
    closefrom(FIRST_FREE_FD);
    if (chdir("/")) {
        return; /* then the folder stays in use */
    }
}

__attribute__((noreturn)) static void guard_be(const struct child_spec *spec, const struct signals *s, int socket) {
    struct watched p = {.kill_ms = INT64_MAX};
    sigset_t children;
    memset(p.drains, -1, sizeof p.drains);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    prctl(PR_SET_NAME, "bowline-guard");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (spec->terminal) {
        setsid();
        ioctl(spec->out, TIOCSCTTY, 0);
    } else {
        setpgid(0, 0);
    }
    int signals = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
    p.command = signals < 0 ? -errno : child_spawn(spec, s);
    descriptors_let_go(socket, signals);
    tell(WORD_STARTED, p.command);
    while (is_needed(&p)) {
        guard_turn(&p);
    }
    _exit(0);
}

/* ---- our side ---- */

static bool say(struct guard *g, enum word_kind kind, int value) {
    struct word w = {kind, value};
    return g->fd >= 0 && send(g->fd, &w, sizeof w, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof w;
}

static void over_look(struct guard *g) {
    if (!g->over_ms && guard_is_over(g)) {
        g->over_ms = clock_ms();
    }
}

/* The guard itself was killed; the command with it, as far as the kernel sees to that. */
static void guard_is_lost(struct guard *g) {
    descriptor_close(&g->fd);
    if (!g->exited) {
        kill(-g->command, SIGKILL);
        g->exited = true;
        g->wait_status = SIGKILL;
        g->exited_ms = clock_ms();
    }
    g->gone = true;
    over_look(g);
}

int guard_start(struct guard *g, const struct child_spec *spec, const struct signals *s) {
    int ends[2];
    struct word w = {.value = -ECHILD};
    sigset_t all, before;
    *g = (struct guard){.fd = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        return -errno;
    }
    fflush(NULL);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* the guard is to be ended by nothing but SIGKILL */
    g->pid = fork();
    if (g->pid == 0) {
        guard_be(spec, s, ends[1]);
    }
    int wrong = g->pid < 0 ? -errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    g->fd = ends[0];
    while (!wrong && recv(g->fd, &w, sizeof w, 0) < 0 && errno == EINTR) {
    }
    wrong = wrong ? wrong : w.value < 0 ? w.value : 0;
    if (wrong) {
        guard_kill(g);
    }
    g->command = wrong ? 0 : w.value;
    return wrong;
}

bool guard_next(struct guard *g, int *ret_stopped) {
    struct word w;
    *ret_stopped = 0;
    ssize_t n = g->fd >= 0 ? recv(g->fd, &w, sizeof w, MSG_DONTWAIT) : -1;
    if (n < 0) {
        return false;
    }
    if (n != sizeof w) {
        guard_is_lost(g);
        return true;
    }
    if (w.kind == WORD_STOPPED) {
        *ret_stopped = w.value;
    } else if (w.kind == WORD_EXITED) {
        g->exited = true;
        g->wait_status = w.value;
        g->exited_ms = clock_ms();
    } else if (w.kind == WORD_LATE) {
        g->late = true;
    } else if (w.kind == WORD_GONE) {
        g->gone = true;
    }
    over_look(g);
    return true;
}

void guard_signal(struct guard *g, int number) {
    say(g, WORD_SIGNAL, number);
}

void guard_stop(struct guard *g, int64_t kill_after_ms) {
    g->stopping = true;
    g->over_ms = 0;
    over_look(g);
    say(g, WORD_STOP, kill_after_ms < INT32_MAX ? (int) kill_after_ms : INT32_MAX);
}

bool guard_is_over(const struct guard *g) {
    return g->exited && (g->gone || !g->stopping);
}

void guard_drain(struct guard *g, int *const fds[], int count) {
    struct word w = {WORD_DRAIN, 0};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(GUARD_FDS * sizeof(int))];
    } rights = {0};
    struct iovec io = {&w, sizeof w};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &rights};
    int given[GUARD_FDS], open = 0;
    for (int i = 0; i < count; i++) {
        if (*fds[i] >= 0) {
            given[open++] = *fds[i];
        }
    }
    if (open && g->fd >= 0) {
        m.msg_controllen = CMSG_SPACE((size_t) open * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t) open * sizeof(int));
        memcpy(CMSG_DATA(c), given, (size_t) open * sizeof(int));
        sendmsg(g->fd, &m, MSG_NOSIGNAL);
    }
    for (int i = 0; i < count; i++) {
        descriptor_close(fds[i]);
    }
}

void guard_leave(struct guard *g) {
    bool gone = g->gone;
    say(g, WORD_LEAVE, 0);
    descriptor_close(&g->fd);
    if (gone && g->pid > 0) {
        waitpid(g->pid, NULL, 0);
    }
    g->pid = 0;
}

void guard_kill(struct guard *g) {
    say(g, WORD_STOP, 0);
    descriptor_close(&g->fd);
    if (g->pid > 0) {
        waitpid(g->pid, NULL, 0);
    }
    g->pid = 0;
}

void guards_reap(void) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}
