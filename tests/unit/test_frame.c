#include "unit.h"

#include "alloc_fail.h"
#include "base/frame.h"

#include <pthread.h>

static void a_frame_wears_both_dresses(void **state) {
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_wears_both_dresses),
        cmocka_unit_test(empty_parts_and_no_key_are_allowed),
        cmocka_unit_test(no_memory_is_no_frame),
        cmocka_unit_test(references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
