#include "cli/run_terminal.h"

#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool in_foreground(void) {
    return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

int run_terminal_open(struct run_terminal *t) {
    struct winsize size = {0};
    *t = (struct run_terminal){.master = -1, .slave = -1};
    t->keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &t->before) == 0;
    signal(SIGTTOU, SIG_IGN); /* so that the terminal can be taken back */
    if (!isatty(STDOUT_FILENO)) {
        return 0;
    }
    struct termios modes;
    bool known = tcgetattr(STDOUT_FILENO, &modes) == 0;
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    if (openpty(&t->master, &t->slave, NULL, known ? &modes : NULL, &size)) {
        return -errno;
    }
    fcntl(t->master, F_SETFD, FD_CLOEXEC);
    fcntl(t->slave, F_SETFD, FD_CLOEXEC);
    descriptor_unblock(t->master);
    t->pty = true;
    return 0;
}

void run_terminal_close(struct run_terminal *t) {
    run_terminal_leave(t);
    descriptor_close(&t->master);
    descriptor_close(&t->slave);
}

void run_terminal_enter(struct run_terminal *t) {
    if (!t->pty || !t->keys || t->raw || !in_foreground()) {
        return;
    }
    tcgetattr(STDIN_FILENO, &t->before);
    struct termios modes = t->before;
    cfmakeraw(&modes);
    t->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &modes) == 0;
}

void run_terminal_leave(struct run_terminal *t) {
    if (t->raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
        t->raw = false;
    }
    if (t->given) {
        tcsetpgrp(STDIN_FILENO, getpgrp());
        t->given = false;
    }
}

void run_terminal_resize(struct run_terminal *t) {
    struct winsize size;
    if (t->pty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        ioctl(t->master, TIOCSWINSZ, &size);
    }
}

bool run_terminal_suspends(const struct run_terminal *t, struct str keys) {
    struct termios modes;
    if (!t->raw || tcgetattr(t->master, &modes) || !(modes.c_lflag & ISIG)) {
        return false;
    }
    return keys.len && memchr(keys.p, modes.c_cc[VSUSP], keys.len);
}

bool run_terminal_give(struct run_terminal *t, pid_t group) {
    if (t->pty || !t->keys || t->given || !in_foreground() || tcsetpgrp(STDIN_FILENO, group)) {
        return false;
    }
    t->given = true;
    return true;
}
