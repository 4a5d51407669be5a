/* The library's reader of event streams: what browsers would see, however the bytes are cut, and nothing that was cut off. */
#include "unit.h"

#include "alloc_fail.h"
#include "base/sse.h"

static const char stream[] = "\xef\xbb\xbf"
                             "retry: 1500\nid: e-f-0\n\n"
                             ": a comment\n\n"
                             "id: e-f-1\nevent: task\ndata: {\"a\":1}\n\n"
                             "data: two\r\ndata:lines\r\n\r\n"
                             "event: no data\n\n"
                             "id\rdata\r\r"
                             "retry: 12x\nid:  spaced\nunknown: x\nevent:live\ndata:  x \n\n"
                             "id: never\nevent: task\ndata: cut off";
static const char wanted[] = "[task|{\"a\":1}|e-f-1][message|two\nlines|e-f-1][message||][live| x | spaced]";

struct seen {
    struct buf text;
    struct sse sse;
    int stop_after;
};

static bool on_event(void *arg, struct str name, struct str data) {
    struct seen *seen = arg;
    buf_printf(&seen->text, "[%.*s|%.*s|%.*s]", STR_FMT(name), STR_FMT(data), STR_FMT(buf_view(&seen->sse.cursor)));
    return --seen->stop_after != 0;
}

static void seen_init(struct seen *seen) {
    *seen = (struct seen){.sse = {.event = on_event, .arg = seen, .retry_ms = -1}};
}

static void seen_fini(struct seen *seen) {
    sse_fini(&seen->sse);
    buf_fini(&seen->text);
}

static void every_cut_gives_the_same_events(void **state) {
    (void) state;
    for (size_t cut = 0; cut < sizeof stream; cut++) {
        struct seen seen;
        seen_init(&seen);
        assert_int_equal(sse_feed(&seen.sse, str_n(stream, cut)), SSE_OK);
        assert_int_equal(sse_feed(&seen.sse, str_n(stream + cut, sizeof stream - 1 - cut)), SSE_OK);
        assert_buf(&seen.text, wanted);
        assert_int_equal(seen.sse.retry_ms, 1500);
        seen_fini(&seen);
    }
    struct seen seen;
    seen_init(&seen);
    for (size_t i = 0; i + 1 < sizeof stream; i++) {
        assert_int_equal(sse_feed(&seen.sse, str_n(stream + i, 1)), SSE_OK);
    }
    assert_buf(&seen.text, wanted);
    seen_fini(&seen);
}

static void a_new_connection_drops_what_was_cut_off_and_goes_on_from_the_cursor(void **state) {
    (void) state;
    for (size_t cut = 0; cut < sizeof stream; cut++) {
        struct seen seen;
        seen_init(&seen);
        assert_int_equal(sse_feed(&seen.sse, str_n(stream, cut)), SSE_OK);
        struct buf cursor = {0};
        buf_str(&cursor, buf_view(&seen.sse.cursor));
        sse_restart(&seen.sse);
        buf_clear(&seen.text);
        assert_int_equal(sse_feed(&seen.sse, STR("\ndata: next\n\n")), SSE_OK);
        struct buf expected = {0};
        buf_printf(&expected, "[message|next|%.*s]", STR_FMT(buf_view(&cursor)));
        assert_string_equal(buf_z(&seen.text), buf_z(&expected));
        buf_fini(&cursor);
        buf_fini(&expected);
        seen_fini(&seen);
    }
}

static void a_callback_can_stop_it(void **state) {
    (void) state;
    struct seen seen;
    seen_init(&seen);
    seen.stop_after = 1;
    assert_int_equal(sse_feed(&seen.sse, str_n(stream, sizeof stream - 1)), SSE_STOPPED);
    assert_buf(&seen.text, "[task|{\"a\":1}|e-f-1]");
    seen_fini(&seen);
}

static void an_endless_line_is_refused(void **state) {
    (void) state;
    struct seen seen;
    seen_init(&seen);
    size_t len = 1 << 20;
    char *piece = malloc(len);
    memset(piece, 'x', len);
    enum sse_result result = SSE_OK;
    for (int i = 0; i < 64 && result == SSE_OK; i++) {
        result = sse_feed(&seen.sse, str_n(piece, len));
    }
    assert_int_equal(result, SSE_TOO_LARGE);
    free(piece);
    seen_fini(&seen);
}

static void without_memory_the_cursor_stays_where_it_was_given_out(void **state) {
    (void) state;
    for (unsigned skip = 0;; skip++) {
        struct seen seen;
        seen_init(&seen);
        sse_set_cursor(&seen.sse, STR("e-f-7"));
        alloc_fail_after(skip, 0);
        enum sse_result result =
            sse_feed(&seen.sse, STR("id: a-cursor-that-is-much-longer-than-the-sixty-four-bytes-that-a-buffer-begins-with-and-grows\ndata: x\n\n"));
        unsigned refused = alloc_fail_stop();
        if (result == SSE_NO_MEMORY) {
            assert_str(buf_view(&seen.sse.cursor), "e-f-7");
            assert_int_equal(seen.text.len, 0);
        }
        seen_fini(&seen);
        if (!refused) {
            break;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same_events),
        cmocka_unit_test(a_new_connection_drops_what_was_cut_off_and_goes_on_from_the_cursor),
        cmocka_unit_test(a_callback_can_stop_it),
        cmocka_unit_test(an_endless_line_is_refused),
        cmocka_unit_test(without_memory_the_cursor_stays_where_it_was_given_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
