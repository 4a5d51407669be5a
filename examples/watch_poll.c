/*
 * watch_poll.c: two watches in a program's own loop, here poll(2): each is one descriptor. Ends when both tasks have ended.
 *
 *   watch_poll URL CREDENTIAL TASK TASK
 */
#include <bowline.h>

#include <poll.h>
#include <stdio.h>

static int on_event(void *arg, const struct bowline_event *e) {
    if (e->type == BOWLINE_EVENT_TASK && e->task->finished) {
        printf("%s %s\n", (const char *) arg, bowline_task_state_name(e->task->state));
        fflush(stdout);
    }
    return 0;
}

static int follow(bowline_watch *watch[2]) {
    struct pollfd fds[2];
    struct bowline_problem problem;
    for (int i = 0; i < 2; i++) {
        fds[i] = (struct pollfd){.fd = bowline_watch_fd(watch[i]), .events = POLLIN, .revents = POLLIN}; /* the first dispatch is without an event */
    }
    for (int left = 2; left > 0;) {
        for (int i = 0; i < 2; i++) {
            int error = fds[i].revents ? bowline_watch_dispatch(watch[i], &problem) : BOWLINE_OK;
            if (error == BOWLINE_OVER) {
                fds[i].fd = -1;
                left--;
            } else if (error) {
                fprintf(stderr, "%s (%s)\n", problem.detail, problem.code);
                return 1;
            }
            fds[i].revents = 0;
        }
        if (left > 0 && poll(fds, 2, -1) < 0) {
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fputs("usage: watch_poll URL CREDENTIAL TASK TASK\n", stderr);
        return 2;
    }
    struct bowline_client_options client_options = {.url = argv[1], .credential = argv[2]};
    bowline_client *client = NULL;
    bowline_watch *watch[2] = {NULL, NULL};
    int error = bowline_client_open(&client_options, &client);
    for (int i = 0; i < 2 && !error; i++) {
        error = bowline_watch_open(client, &(struct bowline_watch_options){.task = argv[3 + i]}, on_event, argv[3 + i], &watch[i]);
    }
    if (error) {
        fprintf(stderr, "%s\n", bowline_strerror(error));
    }
    int code = error ? 1 : follow(watch);
    bowline_watch_close(watch[0]);
    bowline_watch_close(watch[1]);
    bowline_client_close(client);
    return code;
}
