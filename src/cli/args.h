/*
 * args.h: the client commands as tables: each action has its operands, its flags and its examples, and parsing, checking and help all come from there.
 */
#ifndef BOWLINE_CLI_ARGS_H
#define BOWLINE_CLI_ARGS_H

#include "base/buf.h"
#include "base/str.h"

#define OPERANDS_MAX 8
#define FLAGS_MAX 32

struct flag {
    const char *name;  /* "idle-timeout"; a table of flags ends with NULL */
    const char *value; /* what is shown for its value; NULL: a switch */
    const char *text;
};

struct args;
struct action {
    const char *name;         /* "create" */
    const char *operands;     /* as shown: "ID [VALUE]" */
    int least, most;          /* how many of them */
    const char *text;         /* one sentence */
    const struct flag *flags; /* or NULL */
    const char *examples;     /* lines, each ending in a newline; or NULL */
    int (*run)(struct args *a);
};

struct command {
    const char *name; /* "session" */
    const char *text; /* one sentence */
    const char *more; /* a paragraph for its help, or NULL */
    const struct action *actions;
    unsigned count;
    bool single;      /* one action that is not named on the command line */
    const char *rest; /* where it takes a command of others behind "--": how that is shown. What stands there is left alone. Or NULL */
};

struct args {
    const struct command *command;
    const struct action *action;
    struct {
        const char *name, *value; /* a switch's value is "" */
    } given[FLAGS_MAX];
    int given_count;
    const char *operand[OPERANDS_MAX];
    int operand_count;
    char **rest; /* the command behind "--", ending with NULL */
    int rest_count;
};

/* The flags that every client command takes: --url, --key, --key-file, --token, --json. */
extern const struct flag client_flags[];

/* Finds the action, parses, runs it. Gives back its exit code. */
int command_run(const struct command *c, int argc, char **argv);
/* Value of a flag ("" for a switch), NULL if it was not given. */
const char *args_get(const struct args *a, const char *flag);
bool args_has(const struct args *a, const char *flag);
/* A number within bounds, or the default if the flag was not given. 0 or an exit code, having said what is wrong. */
int args_number(const struct args *a, const char *flag, double least, double most, double otherwise, double *ret_number)
    __attribute__((warn_unused_result));
/* "bowline task wait: " and the message on standard error; gives back BOWLINE_EXIT_USAGE. */
int args_wrong(const struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same prefix, another code. */
int args_fail(const struct args *a, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Help of a whole command; of one action where it is not NULL. */
void command_help(const struct command *c, const struct action *action, struct buf *out);
const struct action *command_find_action(const struct command *c, struct str name);

#endif
