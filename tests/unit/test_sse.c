/* The reader of event streams behind `bowline watch`: what browsers would see, however the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/sse.h"

#include <string.h>

static const char stream[] = "\xef\xbb\xbf"
                             "retry: 1500\nid: e-f-0\n\n"
                             ": a comment\n"
                             "id: e-f-1\nevent: task\ndata: {\"a\": 1}\n\n"
                             "data: two\r\ndata:lines\r\n\r\n"
                             "event: dropped\n\n"
                             "id\rdata\r\r"
                             "retry: 12x\nid:  spaced\nunknown: x\nevent:live\ndata:  x \n\n"
                             "id: never\ndata: cut off";

struct seen {
    struct buf text;
    struct sse *sse;
    int stop_after;
};

static bool on_event(void *arg, struct str event, struct str data) {
    struct seen *seen = arg;
    buf_printf(&seen->text, "[%.*s|%.*s|%s]", STR_FMT(event), STR_FMT(data), sse_last_id(seen->sse) ? sse_last_id(seen->sse) : "-");
    return --seen->stop_after != 0;
}

static const char wanted[] = "[task|{\"a\": 1}|e-f-1][message|two\nlines|e-f-1][message||-][live| x | spaced]";

static void read_in_two(size_t cut) {
    struct sse sse;
    struct seen seen = {.sse = &sse, .stop_after = -1};
    sse_init(&sse, on_event, &seen);
    assert_true(sse_read(&sse, str_n(stream, cut)));
    assert_true(sse_read(&sse, str_n(stream + cut, sizeof stream - 1 - cut)));
    assert_string_equal(buf_z(&seen.text), wanted);
    assert_int_equal(sse.retry_ms, 1500);
    sse_fini(&sse);
    buf_fini(&seen.text);
}

static void any_cut_gives_the_same_events(void **state) {
    (void) state;
    for (size_t cut = 0; cut < sizeof stream; cut++) {
        read_in_two(cut);
    }
    struct sse sse;
    struct seen seen = {.sse = &sse, .stop_after = -1};
    sse_init(&sse, on_event, &seen);
    for (size_t i = 0; i + 1 < sizeof stream; i++) {
        assert_true(sse_read(&sse, str_n(stream + i, 1)));
    }
    assert_string_equal(buf_z(&seen.text), wanted);
    sse_fini(&sse);
    buf_fini(&seen.text);
}

static void the_priming_id_is_kept_without_an_event(void **state) {
    (void) state;
    struct sse sse;
    struct seen seen = {.sse = &sse, .stop_after = -1};
    sse_init(&sse, on_event, &seen);
    assert_null(sse_last_id(&sse));
    assert_true(sse_read(&sse, STR("retry: 2000\nid: e-f-7\n\n")));
    assert_string_equal(sse_last_id(&sse), "e-f-7");
    assert_int_equal(seen.text.len, 0);
    assert_true(sse_read(&sse, STR("id: e-f-8\ndata: half")));
    sse_restart(&sse);
    assert_string_equal(sse_last_id(&sse), "e-f-7");
    assert_true(sse_read(&sse, STR("data: whole\n\n")));
    assert_string_equal(buf_z(&seen.text), "[message|whole|e-f-7]");
    sse_fini(&sse);
    buf_fini(&seen.text);
}

static void it_stops_when_told(void **state) {
    (void) state;
    struct sse sse;
    struct seen seen = {.sse = &sse, .stop_after = 1};
    sse_init(&sse, on_event, &seen);
    assert_false(sse_read(&sse, STR("data: a\n\ndata: b\n\n")));
    assert_string_equal(buf_z(&seen.text), "[message|a|-]");
    sse_fini(&sse);
    buf_fini(&seen.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same_events),
        cmocka_unit_test(the_priming_id_is_kept_without_an_event),
        cmocka_unit_test(it_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
