/* What `bowline watch` shows: text from others does no harm to a terminal, lines fit it, and finished tasks leave the bars. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/text.h"
#include "cli/watch_view.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1767323045678 /* 2026-01-02T03:04:05.678Z */

static void view_take(struct watch_view *v, const char *task) {
    struct arena arena = {0};
    struct json *root;
    struct json_error error;
    assert_int_equal(json_parse(&arena, str_of(task), 64, &root, &error), 0);
    watch_view_task(v, root, NOW);
    arena_fini(&arena);
}

static const char *view_draw(struct watch_view *v, int columns, struct buf *out) {
    buf_clear(out);
    watch_view_draw(v, columns, 24, NOW, out);
    return buf_z(out);
}

#define RUNNING                                                                                                                  \
    "{\"id\": \"tsk_1\", \"state\": \"running\", \"kind\": \"report\", \"title\": \"Quarter\", \"progress\": {\"current\": 40, " \
    "\"total\": 100, \"unit\": \"pages\", \"ratio\": 0.4, \"rate\": 3, \"eta\": 90, \"message\": \"rendering\"}}"
#define DONE                                                                                                                         \
    "{\"id\": \"tsk_1\", \"state\": \"succeeded\", \"kind\": \"report\", \"title\": \"Quarter\", \"progress\": {}, \"started_at\": " \
    "\"2026-01-02T03:04:05.000Z\", \"ended_at\": \"2026-01-02T03:04:17.000Z\"}"
#define FAILED                                                                                                                   \
    "{\"id\": \"tsk_2\", \"state\": \"failed\", \"kind\": \"report\", \"title\": null, \"progress\": {}, \"error\": {\"type\": " \
    "\"disk-full\", \"message\": \"no \\u001b[31mspace\\n\"}}"

#define PHASE(more) "{\"id\": \"tsk_3\", \"state\": \"running\", \"kind\": \"report\", \"progress\": {\"phase\": \"load\\u0007ing\"" more "}}"

static void the_phase_stands_before_its_numbers(void **state) {
    (void) state;
    struct watch_view v = {0}, bars = {.bars = true};
    struct buf out = {0};
    view_take(&v, PHASE(", \"current\": 4, \"message\": \"m\""));
    assert_string_equal(view_draw(&v, 80, &out), "03:04:05Z tsk_3 running report  load ing: 4 - m\n");
    view_take(&v, PHASE(""));
    assert_string_equal(view_draw(&v, 80, &out), "03:04:05Z tsk_3 running report  load ing\n");
    view_take(&bars, PHASE(", \"current\": 4, \"message\": \"m\""));
    assert_non_null(strstr(view_draw(&bars, 80, &out), " load ing: 4 m\033[K\n"));
    view_take(&bars, PHASE(""));
    assert_non_null(strstr(view_draw(&bars, 80, &out), " load ing\033[K\n"));
    watch_view_fini(&v);
    watch_view_fini(&bars);
    buf_fini(&out);
}

static void plain_lines_say_what_happened(void **state) {
    (void) state;
    struct watch_view v = {0};
    struct buf out = {0};
    view_take(&v, RUNNING);
    assert_string_equal(view_draw(&v, 80, &out), "03:04:05Z tsk_1 running Quarter  40 / 100 pages (40 %), 3/s, 1 min 30 s to go - rendering\n");
    view_take(&v, DONE);
    view_take(&v, FAILED);
    assert_string_equal(view_draw(&v, 80, &out), "03:04:05Z tsk_1 succeeded Quarter after 12 s\n"
                                                 "03:04:05Z tsk_2 failed report: disk-full: no  [31mspace \n");
    assert_int_equal(v.count, 0);
    watch_view_fini(&v);
    buf_fini(&out);
}

static void bars_are_drawn_over_in_place(void **state) {
    (void) state;
    struct watch_view v = {.bars = true};
    struct buf out = {0};
    view_take(&v, RUNNING);
    assert_string_equal(view_draw(&v, 80, &out), "Quarter              ########------------  40 % 40/100 pages  1 min 30 s rende.\033[K\n\033[J");
    view_take(&v, DONE);
    assert_string_equal(view_draw(&v, 80, &out), "\r\033[1A+ Quarter succeeded after 12 s\033[K\n\033[J");
    assert_int_equal(v.drawn, 0);
    assert_string_equal(view_draw(&v, 80, &out), "\033[J");
    watch_view_fini(&v);
    buf_fini(&out);
}

/* Columns of the visible part of each line. */
static void assert_lines_fit(const char *text, int columns) {
    struct buf line = {0};
    for (const char *p = text; *p; p++) {
        if (*p == '\033') {
            p += strcspn(p, "KJAm");
        } else if (*p == '\n') {
            assert_true(text_columns(buf_view(&line)) < columns);
            buf_clear(&line);
        } else if (*p != '\r') {
            buf_char(&line, *p);
        }
    }
    buf_fini(&line);
}

static void lines_fit_any_terminal(void **state) {
    (void) state;
    struct watch_view v = {.bars = true, .colour = true, .utf8 = true};
    struct buf out = {0};
    view_take(&v,
              "{\"id\": \"tsk_1\", \"state\": \"running\", \"kind\": \"k\", \"title\": \"\xe6\x9d\xb1\xe4\xba\xac\xe6\x9d\xb1\xe4\xba\xac"
              "\xe6\x9d\xb1\xe4\xba\xac a\xcc\x88\xcc\x88 \xf0\x9f\x9a\xa2 and much more than fits\", \"stalled\": true, \"progress\": {\"current\": "
              "1, \"message\": \"\xe6\x9d\xb1\xe4\xba\xac\xe6\x9d\xb1\xe4\xba\xac\xe6\x9d\xb1\xe4\xba\xac\xe6\x9d\xb1\xe4\xba\xac"
              "\xe6\x9d\xb1\xe4\xba\xac\xe6\x9d\xb1\xe4\xba\xac\xe6\x9d\xb1\xe4\xba\xac\xe6\x9d\xb1\xe4\xba\xac\"}}");
    for (int columns = 20; columns < 200; columns++) {
        assert_lines_fit(view_draw(&v, columns, &out), columns);
    }
    watch_view_fini(&v);
    buf_fini(&out);
}

static void text_from_others_is_harmless(void **state) {
    (void) state;
    struct buf out = {0};
    text_put_clean(&out, STR("a\033]0;x\007b\x7f\xc2\x9b\xe2\x80\xae\xff\xed\xa0\x80z\xc3\xa4"));
    assert_string_equal(buf_z(&out), "a ]0;x b   ????z\xc3\xa4");
    buf_fini(&out);
}

static void columns_are_counted_as_terminals_do(void **state) {
    (void) state;
    struct buf out = {0};
    assert_int_equal(text_columns(STR("abc")), 3);
    assert_int_equal(text_columns(STR("\xe6\x9d\xb1")), 2);
    assert_int_equal(text_columns(STR("a\xcc\x88")), 1);
    text_put_fit(&out, STR("\xe6\x9d\xb1\xe4\xba\xac"), 6);
    assert_string_equal(buf_z(&out), "\xe6\x9d\xb1\xe4\xba\xac  ");
    buf_clear(&out);
    text_put_fit(&out, STR("\xe6\x9d\xb1\xe4\xba\xac"), 3);
    assert_int_equal(text_columns(buf_view(&out)), 3);
    buf_clear(&out);
    text_put_fit(&out, STR("\xe6\x9d\xb1\xe4\xba\xac"), 2); /* one wide character does not fit beside the ellipsis */
    assert_int_equal(text_columns(buf_view(&out)), 2);
    buf_fini(&out);
}

int main(void) {
    setenv("LC_ALL", "C", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lines_say_what_happened), cmocka_unit_test(the_phase_stands_before_its_numbers),
        cmocka_unit_test(bars_are_drawn_over_in_place),  cmocka_unit_test(lines_fit_any_terminal),
        cmocka_unit_test(text_from_others_is_harmless),  cmocka_unit_test(columns_are_counted_as_terminals_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
