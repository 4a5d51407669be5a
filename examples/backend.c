/*
 * backend.c: what a web application does: starts work for a user's session, waits for its end, answers a question, cancels.
 *
 *   backend URL KEY start SESSION-KEY QUEUE KIND [INPUT-JSON [IDEMPOTENCY-KEY]]     prints the task's id
 *   backend URL KEY wait TASK                                                       prints its end; exit 0 only for success
 *   backend URL KEY answer TASK JSON                                                answers its question once it asks one
 *   backend URL KEY cancel TASK [REASON]
 */
#include <bowline.h>

#include <stdio.h>
#include <string.h>

static int complain(const char *what, const struct bowline_problem *p) {
    fprintf(stderr, "%s: %s (%s)%s%s\n", what, p->detail, p->code, p->pointer[0] ? " at " : "", p->pointer);
    return 1;
}

static int start(bowline_client *client, int argc, char **argv) {
    if (argc < 3) {
        fputs("start: SESSION-KEY QUEUE KIND [INPUT-JSON [IDEMPOTENCY-KEY]]\n", stderr);
        return 2;
    }
    struct bowline_problem problem;
    struct bowline_task *task;
    struct bowline_task_options options = {
        .session = {.key = argv[0]}, /* the web framework's own session id: a session that is new is made on the way */
        .queue = argv[1],
        .kind = argv[2],
        .input = argc > 3 ? argv[3] : NULL,
        .lease_s = 5,
        .max_attempts = 3,
        .idempotency_key = argc > 4 ? argv[4] : NULL, /* a double click, or a try again after a lost answer, starts it once */
    };
    if (bowline_task_create(client, &options, &task, &problem) != BOWLINE_OK) {
        return complain("start", &problem);
    }
    printf("%s\n", task->id);
    bowline_task_free(task);
    return 0;
}

static int wait_end(bowline_client *client, const char *id) {
    struct bowline_problem problem;
    struct bowline_task *task;
    if (bowline_task_wait(client, id, 120000, &task, &problem) != BOWLINE_OK) {
        return complain("wait", &problem);
    }
    int code = task->state == BOWLINE_SUCCEEDED ? 0 : 3;
    printf("%s %s\n", bowline_task_state_name(task->state), task->result ? task->result : task->error.message ? task->error.message : "-");
    bowline_task_free(task);
    return code;
}

static int answer(bowline_client *client, const char *id, const char *json) {
    struct bowline_problem problem;
    uint64_t version = 0;
    for (;;) {
        struct bowline_task *task;
        if (bowline_task_wait_change(client, id, version, 60000, &task, &problem) != BOWLINE_OK) {
            return complain("answer", &problem);
        }
        int error = BOWLINE_NOT_YET;
        if (task->question.id) {
            printf("%s\n", task->question.prompt);
            error = bowline_task_answer(client, id, task->question.id, json, NULL, &problem);
        } else if (task->finished) {
            error = BOWLINE_TASK_ENDED;
            snprintf(problem.detail, sizeof problem.detail, "it ended without a question");
            snprintf(problem.code, sizeof problem.code, "%s", bowline_error_code(error));
            problem.pointer[0] = 0;
        }
        version = task->version;
        bowline_task_free(task);
        if (error != BOWLINE_NOT_YET) {
            return error ? complain("answer", &problem) : 0;
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fputs("usage: backend URL KEY start|wait|answer|cancel ...\n", stderr);
        return 2;
    }
    struct bowline_client_options options = {.url = argv[1], .credential = argv[2], .retry_s = 30};
    bowline_client *client;
    int error = bowline_client_open(&options, &client), code = 2;
    if (error) {
        fprintf(stderr, "%s\n", bowline_strerror(error));
        return 1;
    }
    const char *verb = argv[3];
    if (strcmp(verb, "start") == 0) {
        code = start(client, argc - 4, argv + 4);
    } else if (strcmp(verb, "wait") == 0) {
        code = wait_end(client, argv[4]);
    } else if (strcmp(verb, "answer") == 0 && argc > 5) {
        code = answer(client, argv[4], argv[5]);
    } else if (strcmp(verb, "cancel") == 0) {
        struct bowline_problem problem;
        code = bowline_task_cancel(client, argv[4], argc > 5 ? argv[5] : NULL, NULL, &problem) ? complain("cancel", &problem) : 0;
    } else {
        fputs("the verbs are start, wait, answer and cancel\n", stderr);
    }
    bowline_client_close(client);
    return code;
}
