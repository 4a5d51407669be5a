#include "unit.h"

#include "base/options.h"

#include <unistd.h>

/* Loads from space-separated flags, environment and a file's text; any of them NULL. What came of it is in `o` and `said`. */
struct setup {
    struct options o;
    struct options_sources from;
    struct buf said;
    char path[64];
    int rc;
};

static char **split(char *words, char **out) {
    char **at = out, *save = NULL;
    for (char *w = words ? strtok_r(words, " ", &save) : NULL; w; w = strtok_r(NULL, " ", &save)) {
        *at++ = w;
    }
    *at = NULL;
    return out;
}

static void load(struct setup *s, const char *flags, const char *env, const char *file) {
    char flag_words[512], env_words[512], *argv[32], *envp[32], config[128];
    memset(s, 0, sizeof(*s));
    snprintf(flag_words, sizeof(flag_words), "%s", flags ? flags : "");
    snprintf(env_words, sizeof(env_words), "%s", env ? env : "");
    split(flag_words, argv);
    split(env_words, envp);
    int argc = 0;
    while (argv[argc]) {
        argc++;
    }
    if (file) {
        strcpy(s->path, "/tmp/bowline-options-XXXXXX");
        int fd = mkstemp(s->path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, file, strlen(file)), strlen(file));
        close(fd);
        snprintf(config, sizeof(config), "--config=%s", s->path);
        argv[argc++] = config;
        argv[argc] = NULL;
    }
    s->rc = options_load(&s->o, &s->from, argc, argv, envp, &s->said);
    if (file) {
        unlink(s->path);
    }
}

static void unload(struct setup *s) {
    if (s->rc == 0) {
        options_fini(&s->o);
    }
    buf_fini(&s->said);
}

/* The sentence with the file's path as FILE. */
static void assert_refused(const char *flags, const char *env, const char *file, const char *sentence) {
    struct setup s;
    char text[512];
    load(&s, flags, env, file);
    const char *said = buf_z(&s.said), *path = s.path[0] ? strstr(said, s.path) : NULL;
    if (path) {
        snprintf(text, sizeof(text), "%.*sFILE%s", (int) (path - said), said, path + strlen(s.path));
    } else {
        snprintf(text, sizeof(text), "%s", said);
    }
    assert_string_equal(text, sentence);
    assert_int_equal(s.rc, -1);
    unload(&s);
}

static void defaults_hold_where_nothing_is_said(void **state) {
    (void) state;
    struct setup s;
    load(&s, NULL, "PATH=/bin HOME=/", NULL);
    assert_int_equal(s.rc, 0);
    assert_string_equal(s.o.listen, "127.0.0.1:8787");
    assert_string_equal(s.o.session_kinds, "{}");
    assert_string_equal(s.o.config, "");
    assert_int_equal(s.o.idle_timeout, 1800000);
    assert_int_equal(s.o.max_body, 9 << 20);
    assert_int_equal(s.o.open_sessions, 0);
    for (unsigned i = 0; i < option_count; i++) {
        assert_int_equal(s.from.from[i], OPT_FROM_DEFAULT);
    }
    unload(&s);
}

static void flags_come_in_all_their_forms(void **state) {
    (void) state;
    struct setup s;
    load(&s, "--listen=[::1]:0 --idle-timeout 0.25 --open-sessions --max-body 2048 --metrics-open false --log-level=debug --keepalive=1.5", NULL,
         NULL);
    assert_int_equal(s.rc, 0);
    assert_string_equal(s.o.listen, "[::1]:0");
    assert_int_equal(s.o.idle_timeout, 250);
    assert_int_equal(s.o.keepalive, 1500);
    assert_int_equal(s.o.open_sessions, 1);
    assert_int_equal(s.o.metrics_open, 0);
    assert_int_equal(s.o.max_body, 2048);
    assert_string_equal(s.o.log_level, "debug");
    unload(&s);
    load(&s, "--open-sessions --no-open-sessions --data a --data b --api-keys=", NULL, NULL);
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.o.open_sessions, 0);
    assert_string_equal(s.o.data, "b");
    assert_string_equal(s.o.api_keys, "");
    unload(&s);
}

static void assert_keeps_alive(const char *flags, const char *file, enum option_when want, const char *shown) {
    struct setup s;
    load(&s, flags, NULL, file);
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.o.watching_keeps_alive, want);
    struct buf all = {0};
    char line[80];
    options_write_all(&s.o, &s.from, &all);
    snprintf(line, sizeof(line), "\nwatching_keeps_alive        %s ", shown);
    assert_non_null(strstr(buf_z(&all), line));
    buf_fini(&all);
    unload(&s);
}

static void what_was_a_switch_goes_bare_and_by_its_words(void **state) {
    (void) state;
    assert_keeps_alive("", NULL, WHEN_UNFINISHED, "unfinished");
    assert_keeps_alive("--watching-keeps-alive", NULL, WHEN_ALWAYS, "always");
    assert_keeps_alive("--watching-keeps-alive --open-sessions", NULL, WHEN_ALWAYS, "always");
    assert_keeps_alive("--watching-keeps-alive true", NULL, WHEN_ALWAYS, "always");
    assert_keeps_alive("--watching-keeps-alive unfinished", NULL, WHEN_UNFINISHED, "unfinished");
    assert_keeps_alive("--watching-keeps-alive=never", NULL, WHEN_NEVER, "never");
    assert_keeps_alive("--no-watching-keeps-alive", NULL, WHEN_NEVER, "never");
    assert_keeps_alive("", "watching_keeps_alive\n", WHEN_ALWAYS, "always");
    assert_keeps_alive("", "watching_keeps_alive = false\n", WHEN_NEVER, "never");
    assert_refused("--watching-keeps-alive=sometimes", NULL, NULL, "--watching-keeps-alive: \"sometimes\" is not unfinished, always or never");
}

static void a_flag_wins_over_the_environment_and_that_over_the_file(void **state) {
    (void) state;
    struct setup s;
    load(&s, "--max-age=1", "BOWLINE_MAX_AGE=2 BOWLINE_IDLE_TIMEOUT=2 BOWLINE_URL=http://x BOWLINE_KEY=k BOWLINE_TOKEN=t",
         "max_age=3\nidle_timeout=3\nkeepalive=3\n");
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.o.max_age, 1000);
    assert_int_equal(s.o.idle_timeout, 2000);
    assert_int_equal(s.o.keepalive, 3000);
    struct buf all = {0};
    options_write_all(&s.o, &s.from, &all);
    const char *text = buf_z(&all);
    assert_non_null(strstr(text, "\nmax_age                     1 "));
    assert_non_null(strstr(text, "  flag\n"));
    assert_non_null(strstr(text, "  environment\n"));
    assert_non_null(strstr(text, "  file\n"));
    buf_fini(&all);
    unload(&s);
}

static void the_environment_may_name_the_file(void **state) {
    (void) state;
    struct setup s;
    char path[] = "/tmp/bowline-options-XXXXXX", env[96];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "loops = 3", 9), 9);
    close(fd);
    snprintf(env, sizeof(env), "BOWLINE_CONFIG=%s", path);
    load(&s, NULL, env, NULL);
    unlink(path);
    assert_int_equal(s.rc, 0);
    assert_int_equal(s.o.loops, 3);
    unload(&s);
}

static void files_have_comments_quotes_and_bare_switches(void **state) {
    (void) state;
    struct setup s;
    load(&s, NULL, NULL,
         "# a comment\r\n\n  \t\nlisten = \"127.0.0.1:1\"\r\n  idle_timeout=0\nopen_sessions\nmetrics_open = true\n"
         "session_kinds = {\"report\": {\"queue\": \"q\"}}\ndemo = ' a b '\njwt_secrets = a=b#c\n\tdata =\nmax_age = 12");
    assert_string_equal(buf_z(&s.said), "");
    assert_int_equal(s.rc, 0);
    assert_string_equal(s.o.listen, "127.0.0.1:1");
    assert_int_equal(s.o.idle_timeout, 0);
    assert_int_equal(s.o.open_sessions, 1);
    assert_int_equal(s.o.metrics_open, 1);
    assert_string_equal(s.o.session_kinds, "{\"report\": {\"queue\": \"q\"}}");
    assert_string_equal(s.o.demo, " a b ");
    assert_string_equal(s.o.jwt_secrets, "a=b#c");
    assert_string_equal(s.o.data, "");
    assert_int_equal(s.o.max_age, 12000);
    unload(&s);
}

static void refusals_name_the_option_and_its_place(void **state) {
    (void) state;
    assert_refused("--idle-timout=5", NULL, NULL, "--idle-timout: there is no such option; did you mean --idle-timeout?");
    assert_refused("--idle_timeout=5", NULL, NULL, "--idle_timeout: there is no such option; did you mean --idle-timeout?");
    assert_refused("--zebra", NULL, NULL, "--zebra: there is no such option");
    assert_refused("--", NULL, NULL, "--: there is no such option");
    assert_refused("--no-listen", NULL, NULL, "--no-listen: there is no such option; did you mean --listen?");
    assert_refused("--no-open-sessions=true", NULL, NULL, "--no-open-sessions: there is no such option; did you mean --open-sessions?");
    assert_refused("serve", NULL, NULL, "serve: only options that begin with -- are expected here");
    assert_refused("-x", NULL, NULL, "-x: only options that begin with -- are expected here");
    assert_refused("--listen", NULL, NULL, "--listen: a value is missing");
    assert_refused("--idle-timeout=abc", NULL, NULL, "--idle-timeout: \"abc\" is not a number of seconds");
    assert_refused("--idle-timeout=1.2345", NULL, NULL, "--idle-timeout: \"1.2345\" is not a number of seconds");
    assert_refused("--idle-timeout=1.", NULL, NULL, "--idle-timeout: \"1.\" is not a number of seconds");
    assert_refused("--idle-timeout=.5", NULL, NULL, "--idle-timeout: \".5\" is not a number of seconds");
    assert_refused("--idle-timeout=", NULL, NULL, "--idle-timeout: \"\" is not a number of seconds");
    assert_refused("--idle-timeout=30m", NULL, NULL, "--idle-timeout: \"30m\" is not a number of seconds");
    assert_refused("--idle-timeout=-1", NULL, NULL, "--idle-timeout: -1 is too small, the least is 0");
    assert_refused("--keepalive=15.001", NULL, NULL, "--keepalive: 15.001 is too large, the most is 15");
    assert_refused("--keepalive=0.099", NULL, NULL, "--keepalive: 0.099 is too small, the least is 0.1");
    assert_refused("--loops=65", NULL, NULL, "--loops: 65 is too large, the most is 64");
    assert_refused("--loops=99999999999999999999999", NULL, NULL, "--loops: 99999999999999999999999 is too large, the most is 64");
    assert_refused("--loops=1.5", NULL, NULL, "--loops: \"1.5\" is not a whole number");
    assert_refused("--max-body=9M", NULL, NULL, "--max-body: \"9M\" is not a number of bytes");
    assert_refused("--open-sessions=yes", NULL, NULL, "--open-sessions: \"yes\" is not true or false");
    assert_refused("--config=/nonexistent/f", NULL, NULL, "--config: /nonexistent/f cannot be read: No such file or directory");
    assert_refused("--config=/", NULL, NULL, "--config: / cannot be read: Is a directory");
}

static void refusals_name_the_variable(void **state) {
    (void) state;
    assert_refused(NULL, "BOWLINE_IDLE_TIMOUT=5", NULL, "BOWLINE_IDLE_TIMOUT: there is no such option; did you mean BOWLINE_IDLE_TIMEOUT?");
    assert_refused(NULL, "BOWLINE_idle_timeout=5", NULL, "BOWLINE_idle_timeout: there is no such option; did you mean BOWLINE_IDLE_TIMEOUT?");
    assert_refused(NULL, "BOWLINE_LOOPS=many", NULL, "BOWLINE_LOOPS: \"many\" is not a whole number");
    assert_refused("--loops=1", "BOWLINE_LOOPS=many", NULL, "BOWLINE_LOOPS: \"many\" is not a whole number");
    assert_refused(NULL, "BOWLINE_OPEN_SESSIONS=", NULL, "BOWLINE_OPEN_SESSIONS: \"\" is not true or false");
    assert_refused(NULL, "BOWLINE_CONFIG=/nonexistent/f", NULL, "BOWLINE_CONFIG: /nonexistent/f cannot be read: No such file or directory");
}

static void refusals_name_the_line(void **state) {
    (void) state;
    assert_refused(NULL, NULL, "\nidle_timout = 5\n", "FILE:2: idle_timout: there is no such option; did you mean idle_timeout?");
    assert_refused(NULL, NULL, "idle-timeout = 5", "FILE:1: idle-timeout: there is no such option; did you mean idle_timeout?");
    assert_refused(NULL, NULL, "= 5", "FILE:1: : there is no such option");
    assert_refused(NULL, NULL, "loops = 5 # five", "FILE:1: loops: \"5 # five\" is not a whole number");
    assert_refused("--loops=1", NULL, "loops = x", "FILE:1: loops: \"x\" is not a whole number");
    assert_refused(NULL, NULL, "loops = 1\n\nloops = 1", "FILE:3: loops: line 1 has set it already");
    assert_refused(NULL, NULL, "loops", "FILE:1: loops: a value is missing");
    assert_refused(NULL, NULL, "demo = \"x", "FILE:1: demo: the quote is not closed");
    assert_refused(NULL, NULL, "demo = \"", "FILE:1: demo: the quote is not closed");
    assert_refused(NULL, NULL, "config = x", "FILE:1: config: a file cannot name another one");
}

static void variables_that_others_set_are_passed_over(void **state) {
    (void) state;
    struct setup s;
    load(&s, NULL,
         "BOWLINE_PORT=tcp://10.0.0.1:8787 BOWLINE_SERVICE_HOST=10.0.0.1 BOWLINE_SERVICE_PORT=8787 BOWLINE_PORT_8787_TCP=tcp://10.0.0.1:8787 "
         "BOWLINE_PORT_8787_TCP_PROTO=tcp BOWLINE_PORT_8787_TCP_PORT=8787 BOWLINE_PORT_8787_TCP_ADDR=10.0.0.1 BOWLINE_SERVICE_PORT_HTTP=1",
         NULL);
    assert_string_equal(buf_z(&s.said), "");
    assert_int_equal(s.rc, 0);
    unload(&s);
}

static void secrets_are_hidden(void **state) {
    (void) state;
    struct setup s;
    struct buf all = {0};
    load(&s, "--api-keys=n:backend:blk_sesame --jwt-secrets=sesame --webhook-secret=whsec_sesame", NULL, NULL);
    options_write_all(&s.o, &s.from, &all);
    assert_null(strstr(buf_z(&all), "sesame"));
    assert_non_null(strstr(buf_z(&all), "(hidden)"));
    buf_fini(&all);
    unload(&s);
}

static void every_value_reads_back_as_it_is_written(void **state) {
    (void) state;
    struct setup s;
    struct buf value = {0}, help = {0};
    options_write_help(&help);
    load(&s, NULL, NULL, NULL);
    for (unsigned i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        buf_clear(&value);
        options_write_value(&s.o, i, &value);
        assert_buf(&value, row->def);
        assert_true(row->type == OPT_TEXT || row->least <= row->most);
        assert_non_null(strstr(buf_z(&help), row->text));
    }
    assert_non_null(
        strstr(buf_z(&help), "  --keepalive SECONDS\n      Longest silence on a stream before a comment or ping is sent (15; 0.1 to 15)\n"));
    buf_fini(&value);
    buf_fini(&help);
    unload(&s);
}

static void the_nearest_name_is_near(void **state) {
    (void) state;
    static const char *const names[] = {"serve", "session", "task", "watch", "config"};
    static const struct {
        const char *typed, *nearest;
    } rows[] = {{"sevre", "serve"}, {"sesion", "session"}, {"tsak", "task"},  {"taks", "task"}, {"confg", "config"}, {"zzz", NULL},
                {"", NULL},         {"x", NULL},           {"watch", "watch"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *got = nearest_name(str_of(rows[i].typed), names, 5);
        assert_string_equal(got ? got : "none", rows[i].nearest ? rows[i].nearest : "none");
    }
    char large[5000];
    memset(large, 'a', sizeof(large));
    assert_null(nearest_name(str_n(large, sizeof(large)), names, 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_where_nothing_is_said),
        cmocka_unit_test(flags_come_in_all_their_forms),
        cmocka_unit_test(what_was_a_switch_goes_bare_and_by_its_words),
        cmocka_unit_test(a_flag_wins_over_the_environment_and_that_over_the_file),
        cmocka_unit_test(the_environment_may_name_the_file),
        cmocka_unit_test(files_have_comments_quotes_and_bare_switches),
        cmocka_unit_test(refusals_name_the_option_and_its_place),
        cmocka_unit_test(refusals_name_the_variable),
        cmocka_unit_test(refusals_name_the_line),
        cmocka_unit_test(variables_that_others_set_are_passed_over),
        cmocka_unit_test(secrets_are_hidden),
        cmocka_unit_test(every_value_reads_back_as_it_is_written),
        cmocka_unit_test(the_nearest_name_is_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
