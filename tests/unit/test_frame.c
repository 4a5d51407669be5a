#include "unit.h"

#include "alloc_fail.h"
#include "base/feed.h"
#include "base/frame.h"

#include <pthread.h>

static void a_frame_has_both_encodings(void **state) {
    (void) state;
    uint8_t key[16] = {1, 2, 3};
    struct frame *f = frame_create(FRAME_STATE, 42, key, STR("5f2c-9K3M2Q-42"), STR("task"), STR("{\"seq\":42}"));
    assert_non_null(f);
    assert_str(frame_sse(f), "id: 5f2c-9K3M2Q-42\nevent: task\ndata: {\"seq\":42}\n\n");
    assert_str(frame_json_prefix(f), "{\"id\":\"5f2c-9K3M2Q-42\",\"event\":\"task\",\"data\":");
    assert_str(frame_id(f), "5f2c-9K3M2Q-42");
    assert_str(frame_event(f), "task");
    assert_str(frame_data(f), "{\"seq\":42}");
    assert_int_equal(f->seq, 42);
    assert_int_equal(f->kind, FRAME_STATE);
    assert_memory_equal(f->key, key, 16);
    frame_unref(f);
}

static void empty_parts_and_no_key_are_allowed(void **state) {
    (void) state;
    static const uint8_t zero[16];
    struct frame *f = frame_create(FRAME_LOG, 0, NULL, STR_NONE, STR("reset"), STR("{}"));
    assert_non_null(f);
    assert_str(frame_sse(f), "id: \nevent: reset\ndata: {}\n\n");
    assert_str(frame_id(f), "");
    assert_memory_equal(f->key, zero, 16);
    frame_unref(f);
    frame_unref(NULL);
}

static void no_memory_is_no_frame(void **state) {
    (void) state;
    alloc_fail_after(0, 1);
    assert_null(frame_create(FRAME_LOG, 0, NULL, STR("a"), STR("b"), STR("c")));
    assert_int_equal(alloc_fail_stop(), 1);
}

static void *ref_and_unref(void *arg) {
    for (int i = 0; i < 20000; i++) {
        frame_unref(frame_ref(arg));
    }
    frame_unref(arg);
    return NULL;
}

static void references_are_counted_across_threads(void **state) {
    (void) state;
    struct frame *f = frame_create(FRAME_LOG, 0, NULL, STR("a"), STR("b"), STR("c"));
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, frame_ref(f)), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&f->refs), 1);
    frame_unref(f);
}

static void an_event_of_a_moment_reads_as_a_frame_does(void **state) {
    struct frame *f = frame_create(FRAME_STATE, 7, NULL, STR("e-f-7"), STR("task"), STR("{\"a\":1}"));
    struct buf sse = {0}, json = {0}, bare = {0};
    (void) state;
    event_write_sse(&sse, STR("e-f-7"), STR("task"), STR("{\"a\":1}"));
    event_write_json(&json, STR("e-f-7"), STR("task"), STR("{\"a\":1}"));
    assert_true(str_eq(buf_view(&sse), frame_sse(f)));
    assert_int_equal(json.len, frame_json_prefix(f).len + frame_data(f).len + 1);
    assert_memory_equal(json.data, frame_json_prefix(f).p, frame_json_prefix(f).len);
    event_write_open(&bare, 5, STR_NONE);
    event_write_sse(&bare, STR_NONE, STR("a"), STR("1"));
    assert_string_equal(buf_z(&bare), "retry: 5\n\nevent: a\ndata: 1\n\n");
    buf_fini(&sse);
    buf_fini(&json);
    buf_fini(&bare);
    frame_unref(f);
}

static void a_cursor_reads_as_it_was_written(void **state) {
    static const struct cursor cursors[] = {{0, 0}, {7, 0}, {7, 9}, {9999999999999999, 0}};
    static const char *const useless[] = {"", "x", "07", "7.", "7.7", "7.6", "7.9x", "7 ", "-1", "12345678901234567"};
    (void) state;
    for (size_t i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++) {
        struct buf text = {0};
        struct cursor c;
        cursor_write(&text, STR("e-f-"), cursors[i]);
        assert_true(cursor_read(str_from(buf_view(&text), 4), &c));
        assert_int_equal(c.number, cursors[i].number);
        assert_int_equal(c.gone_from, cursors[i].gone_from);
        buf_fini(&text);
    }
    for (size_t i = 0; i < sizeof(useless) / sizeof(useless[0]); i++) {
        struct cursor c = {1, 2};
        assert_false(cursor_read(str_of(useless[i]), &c));
        assert_int_equal(c.number, 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_has_both_encodings),
        cmocka_unit_test(empty_parts_and_no_key_are_allowed),
        cmocka_unit_test(no_memory_is_no_frame),
        cmocka_unit_test(references_are_counted_across_threads),
        cmocka_unit_test(an_event_of_a_moment_reads_as_a_frame_does),
        cmocka_unit_test(a_cursor_reads_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
