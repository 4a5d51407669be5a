#include "unit.h"

#include "alloc_fail.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/mem.h"

#include <math.h>

static void text_is_appended(void **state) {
    (void) state;
    struct buf b = {0};
    buf_puts(&b, "a");
    buf_str(&b, STR("bc"));
    buf_char(&b, 'd');
    buf_u64(&b, UINT64_MAX);
    buf_i64(&b, INT64_MIN);
    buf_i64(&b, -7);
    buf_u64(&b, 0);
    buf_printf(&b, "<%s %d>", "x", 5);
    assert_buf(&b, "abcd18446744073709551615-9223372036854775808-70<x 5>");
    buf_drop_front(&b, 4);
    assert_int_equal(b.data[0], '1');
    buf_drop_front(&b, b.len);
    assert_str(buf_view(&b), "");
    buf_fini(&b);
    assert_null(b.data);
}

static void line_breaks_become_spaces(void **state) {
    (void) state;
    struct buf b = {0};
    buf_one_line(&b, 0);
    buf_puts(&b, "\n\r{\n\"a\":\r\n1\t}\r\n");
    buf_one_line(&b, 2);
    assert_buf(&b, "\n\r{ \"a\":  1\t}  ");
    buf_one_line(&b, b.len);
    buf_one_line(&b, 0);
    assert_buf(&b, "  { \"a\":  1\t}  ");
    buf_fini(&b);
}

static void an_empty_buffer_is_an_empty_text(void **state) {
    (void) state;
    struct buf b = {0};
    assert_str(buf_view(&b), "");
    buf_put(&b, NULL, 0);
    buf_drop_front(&b, 0);
    buf_str(&b, STR_NONE);
    assert_string_equal(buf_z(&b), "");
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void a_large_text_survives_growth(void **state) {
    (void) state;
    struct buf b = {0};
    for (unsigned i = 0; i < 100000; i++) {
        buf_char(&b, (char) ('a' + i % 26));
    }
    assert_int_equal(b.len, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        assert_int_equal(b.data[i], 'a' + i % 26);
    }
    buf_fini(&b);
}

static void a_refused_allocation_fails_once_for_all(void **state) {
    (void) state;
    struct buf b = {0};
    buf_puts(&b, "kept");
    alloc_fail_after(0, 1);
    char large[200] = {0};
    buf_put(&b, large, sizeof(large));
    assert_true(b.failed);
    assert_false(buf_reserve(&b, 1));
    size_t len = b.len;
    buf_put(&b, large, sizeof(large));
    buf_printf(&b, "%0200d", 1);
    assert_int_equal(b.len, len);
    assert_string_equal(buf_z(&b), "");
    assert_int_equal(alloc_fail_stop(), 1);
    buf_clear(&b);
    assert_false(b.failed);
    buf_puts(&b, "again");
    assert_buf(&b, "again");
    assert_false(buf_reserve(&b, SIZE_MAX - 10));
    assert_true(b.failed);
    buf_fini(&b);
}

static void json_strings_are_escaped(void **state) {
    (void) state;
    struct buf b = {0};
    buf_json_str(&b, STR("plain \"q\" \\ \n\r\t\b\x1f\x7f \xc3\xa9"));
    assert_buf(&b, "\"plain \\\"q\\\" \\\\ \\n\\r\\t\\u0008\\u001f\x7f \xc3\xa9\"");
    buf_clear(&b);
    buf_json_str(&b, str_n("a\0b", 3));
    assert_buf(&b, "\"a\\u0000b\"");
    buf_clear(&b);
    buf_json_str(&b, STR(""));
    buf_json_str(&b, STR_NONE);
    assert_buf(&b, "\"\"null");
    buf_fini(&b);
}

static void json_numbers_read_back(void **state) {
    (void) state;
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0, "0"}, {1, "1"}, {-1, "-1"}, {0.5, "0.5"}, {0.1, "0.1"}, {1e15, "1000000000000000"}, {100.25, "100.25"}, {1.0 / 3, "0.3333333333333333"}};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_clear(&b);
        buf_json_num(&b, rows[i].v);
        assert_buf(&b, rows[i].text);
    }
    uint64_t seed = 7;
    for (int i = 0; i < 20000; i++) { /* with up to three decimals, as most are */
        double v = ((double) (unit_random(&seed) >> (8 + unit_random(&seed) % 50)) - 1e4) / 1000;
        buf_clear(&b);
        buf_json_num(&b, v);
        assert_true(strtod(buf_z(&b), NULL) == v);
    }
    for (int i = 0; i < 20000; i++) {
        double v;
        uint64_t bits = unit_random(&seed);
        memcpy(&v, &bits, sizeof(v));
        buf_clear(&b);
        buf_json_num(&b, v);
        if (isfinite(v)) {
            assert_true(strtod(buf_z(&b), NULL) == v);
        } else {
            assert_buf(&b, "null");
        }
    }
    buf_fini(&b);
}

static void an_arena_gives_aligned_zeroed_memory(void **state) {
    (void) state;
    struct arena a = {0};
    for (size_t size = 0; size < 200000; size = size * 2 + 1) {
        char *p = arena_alloc(&a, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t) p % 16, 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(p[i], 0);
            p[i] = 'x';
        }
    }
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 32));
    assert_str(arena_str(&a, STR("text")), "text");
    assert_str(arena_str(&a, STR("")), "");
    assert_null(arena_str(&a, STR_NONE).p);
    arena_fini(&a);
    alloc_fail_after(0, 1);
    assert_null(arena_alloc(&a, 10));
    assert_null(arena_str(&a, STR("text")).p);
    assert_int_equal(alloc_fail_stop(), 2);
    arena_fini(&a);
}

static void copies_are_copies(void **state) {
    (void) state;
    assert_null(mem_strdup(STR_NONE));
    char *z = mem_strdup(STR("abc"));
    assert_string_equal(z, "abc");
    char *d = mem_dup(z, 4);
    assert_string_equal(d, "abc");
    d = mem_resize(d, 4000);
    assert_string_equal(d, "abc");
    mem_free(d);
    mem_free(z);
    mem_free(mem_dup(NULL, 0));
    mem_free(NULL);
}

static void spans_compare_and_cut(void **state) {
    (void) state;
    assert_true(str_eq(STR_NONE, STR("")));
    assert_true(str_ieqz(STR("Content-Type"), "content-type"));
    assert_false(str_ieqz(STR("Content-Typ"), "content-type"));
    assert_true(str_starts(STR("abc"), "ab"));
    assert_true(str_starts(STR_NONE, ""));
    assert_false(str_starts(STR("a"), "ab"));
    assert_str(str_from(STR("abc"), 1), "bc");
    assert_str(str_from(STR("abc"), 9), "");
    assert_str(str_trim(STR(" \t a b\r ")), "a b");
    assert_str(str_trim(STR("  ")), "");
}

static void problems_are_rendered(void **state) {
    (void) state;
    struct buf b = {0};
    struct problem p = {.err = ERR_NOT_FOUND};
    problem_render(&p, &b);
    assert_buf(&b, "{\"type\":\"urn:bowline:problem:not-found\",\"title\":\"There is nothing here\",\"status\":404,"
                   "\"detail\":\"There is nothing here\",\"code\":\"not-found\"}");
    struct problem places = {.extra = STR(",\"kind\":\"x\"")};
    struct arena arena = {0};
    for (int i = 0; i < PROBLEM_PLACES + 2; i++) {
        problem_add(&places, &arena, ERR_INVALID_REQUEST, STR("/a\"b"), STR("is wrong"));
    }
    assert_int_equal(places.places, PROBLEM_PLACES);
    buf_clear(&b);
    places.places = 1;
    problem_render(&places, &b);
    assert_buf(&b, "{\"type\":\"urn:bowline:problem:invalid-request\",\"title\":\"The request is not valid\",\"status\":400,\"detail\":\"is wrong\","
                   "\"code\":\"invalid-request\",\"errors\":[{\"pointer\":\"/a\\\"b\",\"detail\":\"is wrong\"}],\"kind\":\"x\"}");
    arena_fini(&arena);
    buf_fini(&b);
}

static void every_error_has_its_row(void **state) {
    (void) state;
    for (int e = ERR_NONE; e < ERR_COUNT; e++) {
        assert_non_null(err_code((enum err) e));
        assert_non_null(err_title((enum err) e));
        assert_in_range(err_status((enum err) e), 200, 599);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_appended),
        cmocka_unit_test(line_breaks_become_spaces),
        cmocka_unit_test(an_empty_buffer_is_an_empty_text),
        cmocka_unit_test(a_large_text_survives_growth),
        cmocka_unit_test(a_refused_allocation_fails_once_for_all),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(json_numbers_read_back),
        cmocka_unit_test(an_arena_gives_aligned_zeroed_memory),
        cmocka_unit_test(copies_are_copies),
        cmocka_unit_test(spans_compare_and_cut),
        cmocka_unit_test(problems_are_rendered),
        cmocka_unit_test(every_error_has_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
