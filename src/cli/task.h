/* task.h: what the actions of `bowline task` share. */
#ifndef BOWLINE_CLI_TASK_H
#define BOWLINE_CLI_TASK_H

#include "cli/args.h"
#include "cli/client.h"
#include "cli/show.h"

struct task_call {
    struct args *args;
    struct client *client;
    char id[64];
    const char *const *rest; /* operands behind the id */
    int rest_count;
};

/*
 * Opens the client and finds the task: the first operand if it is an id, else the one that the token names. 0, or an exit code. task_call_end in any case.
 */
int task_call_begin(struct task_call *t, struct args *a, int least_rest, int most_rest) __attribute__((warn_unused_result));
void task_call_end(struct task_call *t);
/* "/v1/tasks/ID" and what comes behind. */
void task_call_path(const struct task_call *t, const char *behind, struct buf *path);
/* One request to the task's path, its answer printed. */
int task_call_ask(struct task_call *t, const char *method, const char *behind, struct str body, void (*show)(const struct json *, struct buf *));
/* The end of a task: prints its result on standard output, or says on standard error why there is none. Gives back the exit code for it. */
int task_call_print_outcome(struct task_call *t, const struct json *task);
/*
 * Asks for a task as --session or --session-key, --user and the members of it that are flags say; kind and key (for Idempotency-Key) are taken where the flags
 * are not given, or NULL. 0, or an exit code.
 */
int task_start_ask(struct args *a, struct client *c, const char *kind, const char *key, struct client_reply *reply)
    __attribute__((warn_unused_result));
bool task_json_is_final(const struct json *task);

/* One request, asked again for a while when the server is away or busy; only for what may be said twice. 0 with an answer below 400, or an exit code. */
int task_call_patient(struct task_call *t, const struct client_request *q, struct client_reply *reply) __attribute__((warn_unused_result));
/* Waits for an answer newer than the version. 0 with it in ret_answer, as JSON; or an exit code, BOWLINE_EXIT_TASK_CANCELLED when cancellation is requested. */
int task_wait_answer(struct task_call *t, double version, struct buf *ret_answer) __attribute__((warn_unused_result));

extern const struct flag task_report_flags[];
int action_report(struct args *a); /* `bowline report` */
int action_task_wait(struct args *a);
int action_task_output(struct args *a);
int action_task_report(struct args *a);

#endif
