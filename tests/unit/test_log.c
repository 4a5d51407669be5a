/* What is said arrives, whole and in order, and a reader who has stopped reading stops nobody while there is room. */
#include "unit.h"

#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000

struct heard { /* a pipe in the place of standard error */
    int read_fd, stderr_fd;
    pthread_t reader;
    struct buf text;
};

static void heard_open(struct heard *h) {
    int fds[2];
    *h = (struct heard){.stderr_fd = dup(STDERR_FILENO)};
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    close(fds[1]);
    h->read_fd = fds[0];
}

static void *heard_read(void *arg) {
    struct heard *h = arg;
    ssize_t n = 1;
    while (n > 0 && buf_reserve(&h->text, 65536)) {
        n = read(h->read_fd, h->text.data + h->text.len, 65536);
        h->text.len += n > 0 ? (size_t) n : 0;
    }
    return NULL;
}

static void heard_begin(struct heard *h) {
    assert_int_equal(pthread_create(&h->reader, NULL, heard_read, h), 0);
}

/* Standard error is what it was, and all that was written before is in h->text. */
static void heard_end(struct heard *h) {
    assert_true(dup2(h->stderr_fd, STDERR_FILENO) >= 0);
    close(h->stderr_fd);
    pthread_join(h->reader, NULL);
    close(h->read_fd);
}

/* Lines "... said who=N n=M filler": for each N, M counts up from 0. Returns how many lines there were. */
static unsigned lines_check(struct buf *text, unsigned speakers) {
    unsigned next[8] = {0}, lines = 0;
    if (text->len) {
        (void) buf_z(text); /* ends it with a NUL */
    }
    for (char *line = text->len ? text->data : NULL, *end; line && *line; line = end + 1, lines++) {
        unsigned who, n;
        end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        const char *said = strstr(line, " info said ");
        assert_non_null(said);
        assert_int_equal(sscanf(said, " info said who=%u n=%u ", &who, &n), 2);
        assert_true(who < speakers);
        assert_int_equal(n, next[who]);
        assert_int_equal(strspn(strrchr(line, ' ') + 1, "x"), 100);
        next[who]++;
    }
    return lines;
}

static void say(unsigned who, unsigned n) {
    static const char filler[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    log_info("said", "who=%u n=%u %s", who, n, filler);
}

static void without_the_thread_lines_are_written_at_once(void **state) {
    (void) state;
    struct heard h;
    heard_open(&h);
    say(0, 0);
    char text[400] = "";
    assert_true(read(h.read_fd, text, sizeof(text) - 1) > 0);
    assert_non_null(strstr(text, " info said who=0 n=0 x"));
    assert_true(log_flush(0));
    log_stop(0);
    heard_begin(&h);
    heard_end(&h);
    buf_fini(&h.text);
}

static void a_reader_that_does_not_read_stops_nobody_while_there_is_room(void **state) {
    (void) state;
    struct heard h;
    heard_open(&h);
    assert_int_equal(log_start(), 0);
    for (unsigned i = 0; i < 5000; i++) { /* far more than a pipe holds */
        say(0, i);
    }
    assert_false(log_flush(10));
    heard_begin(&h);
    assert_true(log_flush(PATIENCE_MS));
    say(0, 5000);
    log_stop(PATIENCE_MS);
    say(0, 5001);
    heard_end(&h);
    assert_int_equal(lines_check(&h.text, 1), 5002);
    buf_fini(&h.text);
}

enum { SPEAKERS = 4, LINES_EACH = 8000 };

static void *speak(void *arg) {
    for (unsigned i = 0; i < LINES_EACH; i++) {
        say((unsigned) (uintptr_t) arg, i);
    }
    return NULL;
}

static void past_the_buffer_callers_wait_and_nothing_is_dropped(void **state) {
    (void) state;
    pthread_t threads[SPEAKERS];
    struct heard h;
    heard_open(&h);
    assert_int_equal(log_start(), 0);
    for (uintptr_t i = 0; i < SPEAKERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, speak, (void *) i), 0);
    }
    while (log_flush(0)) {
        sched_yield(); /* until more is said than the pipe takes */
    }
    heard_begin(&h);
    for (unsigned i = 0; i < SPEAKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    log_stop(PATIENCE_MS);
    heard_end(&h);
    assert_true(h.text.len > 3 * LOG_BUFFER_BYTES);
    assert_int_equal(lines_check(&h.text, SPEAKERS), SPEAKERS * LINES_EACH);
    buf_fini(&h.text);
}

static void what_waits_is_written_when_the_process_aborts(void **state) {
    (void) state;
    struct heard h;
    heard_open(&h);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (log_start() == 0) {
            for (unsigned i = 0; i < 3000; i++) {
                say(0, i);
            }
            abort();
        }
        _exit(1);
    }
    heard_begin(&h);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    heard_end(&h);
    const char *last = strstr(buf_z(&h.text), " info said who=0 n=2999 x");
    assert_non_null(last);
    buf_fini(&h.text);
}

static void a_pipe_that_does_not_block_loses_nothing_either(void **state) {
    (void) state;
    struct heard h;
    heard_open(&h);
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(log_start(), 0);
    for (unsigned i = 0; i < 3000; i++) {
        say(0, i);
    }
    heard_begin(&h);
    log_stop(PATIENCE_MS);
    heard_end(&h);
    assert_int_equal(lines_check(&h.text, 1), 3000);
    buf_fini(&h.text);
}

static void it_ends_in_time_also_when_nobody_reads(void **state) {
    (void) state;
    struct heard h;
    heard_open(&h);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (log_start()) {
            _exit(1);
        }
        for (unsigned i = 0; i < 3000; i++) {
            say(0, i);
        }
        log_stop(50);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    heard_begin(&h);
    heard_end(&h);
    buf_fini(&h.text);
}

static void a_line_is_one_line_of_plain_text(void **state) {
    (void) state;
    struct heard h;
    char quoted[LOG_QUOTE_BYTES], big[4096];
    memset(big, 'y', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    heard_open(&h);
    assert_int_equal(log_start(), 0);
    heard_begin(&h);
    log_warn("odd", "a=%s b=%s", "x\n2030 error forged\x1b[0m", log_quote(quoted, "\"\n\xff", 3));
    log_warn("big", "a=%s", big);
    log_debug("quiet", "%s", "");
    log_stop(PATIENCE_MS);
    heard_end(&h);
    const char *first = buf_z(&h.text), *end = strchr(first, '\n');
    assert_non_null(end);
    assert_non_null(strstr(first, " warn odd a=x?2030 error forged?[0m b=\"\\\"\\x0a\\xff\"\n"));
    assert_int_equal(strlen(end + 1), 2047);
    assert_int_equal(strchr(end + 1, '\n') - end, 2047);
    buf_fini(&h.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_thread_lines_are_written_at_once),
        cmocka_unit_test(a_reader_that_does_not_read_stops_nobody_while_there_is_room),
        cmocka_unit_test(past_the_buffer_callers_wait_and_nothing_is_dropped),
        cmocka_unit_test(what_waits_is_written_when_the_process_aborts),
        cmocka_unit_test(a_pipe_that_does_not_block_loses_nothing_either),
        cmocka_unit_test(it_ends_in_time_also_when_nobody_reads),
        cmocka_unit_test(a_line_is_one_line_of_plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
