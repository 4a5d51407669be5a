/*
 * worker.c: claims tasks from a queue and works on them, one after the other, until SIGTERM.
 *
 *   worker URL KEY QUEUE
 *
 * The input says what to do: {"steps": 100, "pause_ms": 5} counts, with a line of output per step; {"ask": "Go on?"} asks a person first.
 * The numbers are read by hand here; a real worker has a JSON library.
 */
#include <bowline.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bowline_client *client;

static void on_term(int signal_number) {
    (void) signal_number;
    bowline_client_interrupt(client); /* ends the waiting for work; the task at hand is finished first */
}

static long number_of(const char *json, const char *name, long otherwise) {
    const char *at = json ? strstr(json, name) : NULL;
    at = at ? strchr(at, ':') : NULL;
    return at ? strtol(at + 1, NULL, 10) : otherwise;
}

/* Output never waits, so a full buffer is flushed here: this worker has nothing better to do than to wait for the server. */
static int say(bowline_reporter *reporter, const char *line) {
    int error;
    while ((error = bowline_reporter_output(reporter, line, strlen(line))) == BOWLINE_FULL) {
        error = bowline_reporter_flush(reporter, -1, NULL);
        if (error) {
            return error;
        }
    }
    return error;
}

static int ask(bowline_reporter *reporter, struct bowline_text *ret_answer) {
    int error = bowline_reporter_ask(reporter, "Go on?", "{\"type\":\"boolean\"}");
    while (!error && (error = bowline_reporter_answer(reporter, ret_answer)) == BOWLINE_NOT_YET) {
        error = bowline_reporter_wait(reporter, -1, NULL);
        if (!error && bowline_reporter_cancel_requested(reporter)) {
            return BOWLINE_TASK_CANCELLED;
        }
    }
    return error;
}

/* The work itself. OK, or what made it stop. */
static int count(bowline_reporter *reporter, const struct bowline_task *task) {
    long steps = number_of(task->input, "\"steps\"", 10), pause_ms = number_of(task->input, "\"pause_ms\"", 0);
    struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000};
    for (long i = 1; i <= steps; i++) {
        char line[32], left[40];
        if (bowline_reporter_should_stop(reporter)) {
            int error = bowline_reporter_error(reporter, NULL);
            return error ? error : BOWLINE_TASK_CANCELLED;
        }
        snprintf(line, sizeof line, "line %ld\n", i);
        int error = say(reporter, line);
        if (error) {
            return error;
        }
        bowline_reporter_progress(reporter, (double) i, (double) steps);
        snprintf(left, sizeof left, "{\"left\": %ld}", steps - i);
        bowline_reporter_data(reporter, left);
        if (pause_ms) {
            nanosleep(&pause, NULL);
        }
    }
    return BOWLINE_OK;
}

static int outcome(bowline_reporter *reporter, int error, const char *answer, long steps) {
    char result[256];
    if (error == BOWLINE_TASK_CANCELLED) {
        return bowline_reporter_cancelled(reporter);
    }
    if (error) {
        return bowline_reporter_fail(reporter, "stopped", bowline_strerror(error), NULL, true);
    }
    snprintf(result, sizeof result, "{\"counted\": %ld, \"answer\": %.100s}", steps, answer ? answer : "null");
    return bowline_reporter_succeed(reporter, result);
}

static void work(const struct bowline_task *task) {
    struct bowline_reporter_options options = {.task = task->id, .worker_token = task->worker_token, .interval_s = 0.05};
    struct bowline_problem problem;
    struct bowline_text answer = {0};
    bowline_reporter *reporter;
    int error = bowline_reporter_open(client, &options, &reporter);
    if (error) {
        fprintf(stderr, "%s: %s\n", task->id, bowline_strerror(error));
        return;
    }
    bowline_reporter_phase(reporter, "waiting");
    if (task->input && strstr(task->input, "\"ask\"")) {
        error = ask(reporter, &answer);
    }
    bowline_reporter_phase(reporter, "counting");
    bowline_reporter_describe(reporter, "steps", "one by one");
    error = error ? error : count(reporter, task);
    error = outcome(reporter, error, answer.data, number_of(task->input, "\"steps\"", 10));
    error = error ? error : bowline_reporter_flush(reporter, 60000, &problem);
    printf("%s %s\n", task->id, error ? bowline_error_code(error) : "reported");
    fflush(stdout);
    bowline_text_fini(&answer);
    bowline_reporter_free(reporter);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: worker URL KEY QUEUE\n", stderr);
        return 2;
    }
    struct bowline_client_options options = {.url = argv[1], .credential = argv[2]};
    int error = bowline_client_open(&options, &client);
    if (error) {
        fprintf(stderr, "%s\n", bowline_strerror(error));
        return 1;
    }
    signal(SIGTERM, on_term);
    struct bowline_claim_options claim = {.queue = argv[3], .worker = "example", .timeout_ms = -1};
    struct bowline_problem problem;
    struct bowline_task_page *page;
    while ((error = bowline_claim(client, &claim, &page, &problem)) == BOWLINE_OK) {
        for (size_t i = 0; i < page->count; i++) {
            work(page->tasks[i]);
        }
        bowline_task_page_free(page);
    }
    if (error != BOWLINE_INTERRUPTED) {
        fprintf(stderr, "claim: %s (%s)\n", problem.detail, problem.code);
    }
    bowline_client_close(client);
    return error == BOWLINE_INTERRUPTED ? 0 : 1;
}
