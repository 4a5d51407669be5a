/* help.h: what the program says about itself. */
#ifndef BOWLINE_CLI_HELP_H
#define BOWLINE_CLI_HELP_H

#include "base/buf.h"

/* One of the words is --help or -h (before a "--"). */
bool help_wanted(int argc, char **argv);
/* Prints the help of a command on standard output; gives back an exit code. */
int help_command(const char *name);
/* The name was typed but is none: says so, with the nearest one. */
int help_unknown_command(const char *name);
/* One row of a table in a help text. */
void help_row(struct buf *out, const char *left, const char *text);
/* All options as a page of the manual: docs/options.md. */
void help_options_markdown(struct buf *out);

#endif
