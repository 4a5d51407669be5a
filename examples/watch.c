/*
 * watch.c: follows a session or a task and prints a line per event, until it is over.
 *
 *   watch URL CREDENTIAL task ID | session ID | own [CURSOR]
 *
 * When the session is rotated (somebody has logged in) it reads the new token from a line of standard input, and goes on with it.
 */
#include <bowline.h>

#include <stdio.h>
#include <string.h>

static bowline_watch *watch;

static int new_token(void) {
    char token[512];
    if (!fgets(token, sizeof token, stdin)) {
        return -1;
    }
    token[strcspn(token, "\n")] = 0;
    return bowline_watch_set_credential(watch, token);
}

static int on_event(void *arg, const struct bowline_event *e) {
    (void) arg;
    switch (e->type) {
    case BOWLINE_EVENT_TASK:
        printf("task %s %llu %s %g\n", e->task->id, (unsigned long long) e->task->version, bowline_task_state_name(e->task->state),
               e->task->progress.current);
        break;
    case BOWLINE_EVENT_GONE: printf("gone %s %s\n", e->gone, e->reason); break;
    case BOWLINE_EVENT_OUTPUT:
        printf("output %llu %zu\n", (unsigned long long) e->offset, e->len);
        fwrite(e->data, 1, e->len, stdout);
        printf("\n.\n");
        break;
    case BOWLINE_EVENT_SESSION:
        printf("session %s\n", e->ended ? e->reason : "rotated");
        fflush(stdout);
        return e->ended ? 0 : new_token();
    case BOWLINE_EVENT_RESET: printf("reset\n"); break;
    case BOWLINE_EVENT_LIVE: printf("live %s\n", e->cursor); break;
    case BOWLINE_EVENT_LOST: printf("lost %s\n", e->problem->code); break;
    }
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fputs("usage: watch URL CREDENTIAL task ID | session ID | own [CURSOR]\n", stderr);
        return 2;
    }
    bool own = strcmp(argv[3], "own") == 0;
    const char *id = !own && argc > 4 ? argv[4] : NULL;
    struct bowline_client_options client_options = {.url = argv[1], .credential = argv[2]};
    struct bowline_watch_options options = {
        .task = strcmp(argv[3], "task") == 0 ? id : NULL,
        .session = strcmp(argv[3], "session") == 0 ? id : NULL,
        .after = own        ? argv[4]
                 : argc > 5 ? argv[5]
                            : NULL,
    };
    struct bowline_problem problem;
    bowline_client *client = NULL;
    int error = bowline_client_open(&client_options, &client);
    error = error ? error : bowline_watch_open(client, &options, on_event, NULL, &watch);
    if (error) {
        fprintf(stderr, "%s\n", bowline_strerror(error));
        bowline_client_close(client);
        return 1;
    }
    error = bowline_watch_run(watch, -1, &problem);
    printf("end %s\n", bowline_error_code(error));
    bowline_watch_close(watch);
    bowline_client_close(client);
    return error == BOWLINE_OVER ? 0 : 1;
}
