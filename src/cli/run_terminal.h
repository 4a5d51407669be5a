/*
 * run_terminal.h: how `bowline run` stands between a command and a terminal. Where our standard output is one, the command gets a terminal of its own (a pty),
 * ours passes keys through unread, and what keys mean is decided there. Elsewhere the command shares our terminal as job control has it.
 */
#ifndef BOWLINE_CLI_RUN_TERMINAL_H
#define BOWLINE_CLI_RUN_TERMINAL_H

#include "base/str.h"

#include <sys/types.h>
#include <termios.h>

struct run_terminal {
    bool pty;   /* the command has its own */
    bool keys;  /* our standard input is a terminal */
    bool raw;   /* keys are passed through */
    bool given; /* the command's group is the terminal's foreground */
    int master, slave;
    struct termios before;
};

/* 0 or a negative errno. */
int run_terminal_open(struct run_terminal *t) MUST_CHECK;
void run_terminal_close(struct run_terminal *t);
/* Takes the keys of our terminal, if we are in its foreground; gives them back. */
void run_terminal_enter(struct run_terminal *t);
void run_terminal_leave(struct run_terminal *t);
/* Makes the command's terminal as large as ours. */
void run_terminal_resize(struct run_terminal *t);
/* Do these keys hold the one that suspends (^Z)? The command's terminal says which that is. */
bool run_terminal_suspends(const struct run_terminal *t, struct str keys);
/* Without a pty: makes the command's group the foreground. False if it cannot. */
bool run_terminal_give(struct run_terminal *t, pid_t group);

#endif
