/* show.h: the server's answers as text for people. */
#ifndef BOWLINE_CLI_SHOW_H
#define BOWLINE_CLI_SHOW_H

#include "base/json.h"
#include "cli/args.h"
#include "cli/client.h"

/* An answer, parsed. */
struct answer_json {
    struct arena arena;
    const struct json *root;
};
/* 0, or an exit code after saying that it is not JSON. The reply must outlive it. */
int answer_parse(struct answer_json *j, const struct args *a, const struct client_reply *reply) __attribute__((warn_unused_result));
void answer_fini(struct answer_json *j);

/* A member's text; STR_NONE if it is absent or no string. */
struct str member_text(const struct json *obj, const char *name);
/* A member's number; NaN if it is absent or none. */
double member_number_of(const struct json *obj, const char *name);
bool member_true(const struct json *obj, const char *name);

void show_session(const struct json *session, struct buf *out);
void show_task(const struct json *task, struct buf *out);
/* "40 / 100 pages (40 %), 3.1/s, 19 s to go - rendering"; nothing if there is no progress. */
void show_progress(const struct json *progress, struct buf *out);
void show_sessions(const struct json *page, struct buf *out);
void show_tasks(const struct json *page, struct buf *out);
/* "name      value", with clean text. */
void show_row(struct buf *out, const char *name, struct str value);

/*
 * Prints the answer of a call: as it is with --json, through `show` (given the parsed answer) otherwise; nothing for an empty body. 0 or an exit code.
 */
int answer_print(const struct args *a, const struct client_reply *reply, void (*show)(const struct json *, struct buf *));
/* Asks and prints. Gives back the exit code. */
int ask_and_print(struct client *c, const struct args *a, const struct client_request *q, void (*show)(const struct json *, struct buf *));

#endif
