/* exit.h: what the program's exit code says. `bowline help` and docs/cli.md show the same table. */
#ifndef BOWLINE_CLI_EXIT_H
#define BOWLINE_CLI_EXIT_H

/* What a command of `bowline work` ends with to have the task tried again: EX_TEMPFAIL of sysexits.h. */
#define BOWLINE_COMMAND_RETRY 75

/* name, code, sentence */
#define EXIT_TABLE(X)                                                                   \
    X(OK, 0, "it worked")                                                               \
    X(FAILED, 1, "it failed: the message on standard error says why and what to do")    \
    X(USAGE, 2, "the command line, the environment or the configuration file is wrong") \
    X(REFUSED, 3, "the server refused: not found, not allowed, not possible now")       \
    X(TASK_FAILED, 4, "the task failed")                                                \
    X(TASK_CANCELLED, 5, "the task was cancelled")                                      \
    X(TIMEOUT, 6, "time was up before it happened")                                     \
    X(UNREACHABLE, 7, "no server answers at that URL")                                  \
    X(INTERRUPTED, 130, "a second SIGTERM or SIGINT stopped the server at once")

enum exit_code {
#define X(name, code, text) BOWLINE_EXIT_##name = code,
    EXIT_TABLE(X)
#undef X
};

#endif
