#include "unit.h"

#include "alloc_fail.h"
#include "base/json.h"
#include "base/json_index.h"

#include <math.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DEPTH = 8 };

/* clang-format off */
static const char *const accepted[] = {
    "null", "true", "false", "0", "-0", "1", "-1", "10", "0.0", "1.5", "1e5", "1E+5", "1e-5", "-0.1e1", "\"\"", "\"a\"", "[]", "{}", " [ ] ", "\t\r\n{ }\n",
    "[1,2,3]", "[[],{}]", "{\"a\":1}", "{\"a\":1,\"b\":{\"a\":1}}", "{\"\":1}", "[\"\",\"\"]", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "123456789012345678901234567890123456789012345678901234567890", "1e400", "-1e400", "1e-400", "1e99999999999999999999",
    "0.00000000000000000000000000000000000000000000000000000000000000000000000000000001", "\"\\u0000\"", "\"\\ud83d\\ude00\"", "\"\\uD83D\\uDE00\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\x7f\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\"\xf4\x8f\xbf\xbf\"", "\"\xef\xbf\xbf\"", "\"\xe2\x80\xa8\"",
    "[[[[[[[[]]]]]]]]", "\"\\ufffe\"", "\"\xef\xbb\xbf\"", "{\"a\":\"}\",\"b\":\"]\"}", "[\"\\\\\"]", "[\"\\\\\\\"\"]", "[1 , 2]", "{\"a\" : 1 , \"b\" : 2}",
};

static const char *const refused[] = {
    "", " ", "\n\t", "nul", "nulll", "null1", "nullnull", "True", "TRUE", "NaN", "Infinity", "-Infinity", "undefined", "01", "-01", "00", "+1", ".5", "1.", "1.e1",
    "1e", "1e+", "1e-", "-", "--1", "- 1", "1 2", "1,", "0x10", "1_000", "1a", "1.5.5", "1e5.5", "-.5", "\"", "\"a", "a\"", "\"\\\"", "'a'", "\"\\x41\"", "\"\\u12\"",
    "\"\\u12g4\"", "\"\\U0041\"", "\"\\\n\"", "\"\\", "\"\\u", "\"\\ud83d\"", "\"\\ude00\"", "\"\\ud83d\\u0041\"", "\"\\ud83dx\"", "\"\\ud83d\\n\"", "\"\\ude00\\ud83d\"",
    "\"\\ud83d\\ud83d\\ude00\"", "\"a\nb\"", "\"a\tb\"", "\"\x1f\"", "\"\x01\"", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1 2]", "[1,,2]", "[1}", "{1:2}",
    "{a:1}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}", "{\"a\" 1}", "{\"a\":1]", "{\"a\"::1}", "{\"a\":1:2}", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}",
    "[{\"x\":{\"a\":1,\"b\":2,\"a\":3}}]", "{\"\":1,\"\":2}", "[] []", "{}{}", "\"a\"\"b\"", "\"a\" \"b\"", "[\"a\"\"b\"]", "[\"a\"b]", "[1\"a\"]", "[true\"a\"]", "[truefalse]", "[\"a\"1]",
    "[]x", "[] x", "x[]", "//c\n1", "/* */1", "1//c", "[1]#", "\xef\xbb\xbf[]", "\xef\xbb\xbf", "\xff", "[\"\xff\"]", "\"\xc0\x80\"", "\"\xc1\xbf\"", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"",
    "\"\xf0\x80\x80\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\x80\"", "\"\xc3\"", "\"\xc3", "\xc3", "\"\xe2\x82\"", "[\xc3\xa9]", "\xc2\xa0""1", "\x0b""1", "\x0c""1", "1\xe2\x80\xa8",
    "[[[[[[[[[]]]]]]]]]", "[[[[[[[[{}]]]]]]]]", "\\", "\\\"", "[\\\"a\\\"]", "[1\\]", "\"a\"\\", ":", ",", "\"a\":1", "[\"a\":1]", "{\"a\":1,\"\\ud83d\":2}", "{\"\\x\":1}", "{\"a", "{\"a\":\"",
};
/* clang-format on */

static struct json *parse(struct arena *a, struct str text, struct json_error *err) {
    struct json *root = NULL;
    memset(err, 'x', sizeof(*err));
    int rc = json_parse(a, text, DEPTH, &root, err);
    assert_int_equal(rc, root ? 0 : -1);
    if (!root) {
        assert_true(memchr(err->detail, '\0', sizeof(err->detail)) != NULL && err->detail[0]);
        assert_true(memchr(err->pointer, '\0', sizeof(err->pointer)) != NULL);
        assert_true(err->offset <= text.len);
    }
    return root;
}

/* The text at the very end of a page behind which nothing may be read. */
static struct str at_page_end(struct str text, char **ret_map, size_t *ret_bytes) {
    size_t page = (size_t) sysconf(_SC_PAGESIZE), body = (text.len / page + 1) * page;
    *ret_bytes = body + page;
    *ret_map = mmap(NULL, *ret_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(*ret_map != MAP_FAILED);
    assert_int_equal(mprotect(*ret_map + body, page, PROT_NONE), 0);
    memcpy(*ret_map + body - text.len, text.p, text.len);
    return str_n(*ret_map + body - text.len, text.len);
}

static void check_row(const char *z, bool want) {
    struct json_error err;
    struct arena a = {0};
    char *map;
    size_t bytes;
    struct str text = at_page_end(str_of(z), &map, &bytes);
    struct json *root = parse(&a, text, &err);
    if ((root != NULL) != want) {
        fail_msg("%s was %s (%s)", z, want ? "refused" : "accepted", root ? "" : err.detail);
    }
    arena_fini(&a);
    munmap(map, bytes);
}

/* Also with white space around and far from the start, so that block borders fall elsewhere. */
static void check_shifted(const char *z, bool want) {
    struct buf b = {0};
    for (int shift = 0; shift < 70; shift += 3) {
        buf_clear(&b);
        buf_printf(&b, "%*s%s%*s", shift, "", z, 70 - shift, "");
        check_row(buf_z(&b), want);
    }
    buf_clear(&b);
    buf_printf(&b, "%*s%s", JSON_INDEX_MAX, "", z); /* a large text, read in windows */
    check_row(buf_z(&b), want);
    buf_fini(&b);
}

static void what_is_json_is_accepted(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        check_row(accepted[i], true);
        check_shifted(accepted[i], true);
    }
}

static void what_is_not_is_refused(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        check_row(refused[i], false);
        check_shifted(refused[i], false);
    }
    struct json_error err;
    struct arena a = {0};
    assert_null(parse(&a, str_n("1\0", 2), &err));
    assert_null(parse(&a, str_n("\0", 1), &err));
    assert_null(parse(&a, str_n("\"a\0b\"", 5), &err));
    assert_null(parse(&a, str_n("[1,\0]", 5), &err));
    assert_null(parse(&a, STR_NONE, &err));
    arena_fini(&a);
}

static void the_tree_is_what_was_written(void **state) {
    (void) state;
    struct json_error err;
    struct arena a = {0};
    struct str text = STR(" { \"type\" : \"progress\" , \"n\\u0061me\" : [ 1 , -2.5 , null ] , \"o\": {\"t\":true, \"f\":false} } ");
    struct json *root = parse(&a, text, &err);
    assert_non_null(root);
    assert_int_equal(root->type, JSON_OBJECT);
    assert_int_equal(root->count, 3);
    assert_true(root->raw.p == text.p + 1);
    assert_int_equal(root->raw.len, text.len - 2);
    assert_str(json_get(root, "type")->string, "progress");
    assert_str(json_get(root, "type")->raw, "\"progress\"");
    const struct json *name = json_get(root, "name");
    assert_str(name->name, "name");
    assert_str(name->raw, "[ 1 , -2.5 , null ]");
    assert_int_equal(name->count, 3);
    assert_int_equal(name->child->integer, 1);
    assert_true(name->child->next->num == -2.5);
    assert_str(name->child->next->raw, "-2.5");
    assert_int_equal(name->child->next->next->type, JSON_NULL);
    assert_null(name->child->next->next->next);
    assert_true(json_get(json_get(root, "o"), "t")->boolean);
    assert_false(json_get(json_get(root, "o"), "f")->boolean);
    assert_null(json_get(root, "none"));
    assert_null(json_get(name, "none"));
    assert_null(json_get(NULL, "none"));
    arena_fini(&a);
}

static void strings_are_decoded(void **state) {
    (void) state;
    static const struct {
        const char *text, *plain;
        size_t len;
    } rows[] = {
        {"\"a\\u00e9\\u20ac\\ud83d\\ude00z\"", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 11},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11},
        {"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf", 4},
        {"\"\"", "", 0},
    };
    struct json_error err;
    struct arena a = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct json *root = parse(&a, str_of(rows[i].text), &err);
        assert_non_null(root);
        assert_int_equal(root->string.len, rows[i].len);
        assert_memory_equal(root->string.p, rows[i].plain, rows[i].len);
    }
    arena_fini(&a);
}

static void numbers_say_what_fits(void **state) {
    (void) state;
    static const struct {
        const char *text;
        double num;
        bool is_integer;
        int64_t integer;
    } rows[] = {
        {"0", 0, true, 0},
        {"-0", 0, true, 0},
        {"-0.0", 0, false, 0},
        {"1.0", 1, false, 0},
        {"1e2", 100, false, 0},
        {"9223372036854775807", 9223372036854775807.0, true, INT64_MAX},
        {"-9223372036854775808", -9223372036854775808.0, true, INT64_MIN},
        {"9223372036854775808", 9223372036854775808.0, false, 0},
        {"-9223372036854775809", -9223372036854775808.0, false, 0},
        {"123456789012345678901234567890", 123456789012345678901234567890.0, false, 0},
        {"0.1", 0.1, false, 0},
        {"-3.14159", -3.14159, false, 0},
        {"1e22", 1e22, false, 0},
        {"1e23", 1e23, false, 0},
        {"1e-22", 1e-22, false, 0},
        {"1e400", INFINITY, false, 0},
        {"-1e400", -INFINITY, false, 0},
        {"1e-400", 0, false, 0},
        {"4.9e-324", 4.9e-324, false, 0},
        {"0e99999999999", 0, false, 0},
    };
    struct json_error err;
    struct arena a = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct json *root = parse(&a, str_of(rows[i].text), &err);
        assert_non_null(root);
        assert_true(root->num == rows[i].num);
        assert_int_equal(root->is_integer, rows[i].is_integer);
        assert_true(root->integer == rows[i].integer);
        assert_str(root->raw, rows[i].text);
    }
    arena_fini(&a);
}

static void numbers_agree_with_the_c_library(void **state) {
    (void) state;
    uint64_t seed = 17;
    for (int i = 0; i < 30000; i++) {
        struct json_error err;
        struct arena a = {0};
        char text[96];
        double v;
        uint64_t bits = unit_random(&seed);
        memcpy(&v, &bits, sizeof(v));
        if (i % 2) {
            snprintf(text, sizeof(text), "%s%llu.%0*llue%d", bits % 2 ? "-" : "", (unsigned long long) (bits >> 40), (int) (bits % 9) + 1,
                     (unsigned long long) (unit_random(&seed) % 10), (int) (bits % 60) - 30);
        } else if (isfinite(v)) {
            snprintf(text, sizeof(text), "%.17g", v);
        } else {
            continue;
        }
        struct json *root = parse(&a, str_of(text), &err);
        assert_non_null(root);
        if (root->num != strtod(text, NULL)) {
            fail_msg("%s: %.17g", text, root->num);
        }
        arena_fini(&a);
    }
}

static void refusals_say_where(void **state) {
    (void) state;
    static const struct {
        const char *text, *pointer, *detail;
        size_t offset;
    } rows[] = {
        {"", "", "the text is empty", 0},
        {"  ", "", "the text is empty", 0},
        {"\xef\xbb\xbf{}", "", "a byte order mark stands at byte 0", 0},
        {"[1,\"\xff\"]", "", "the text is not UTF-8 at byte 4", 4},
        {"[\"a\nb\"]", "", "a control character that is not escaped stands in a string at byte 3", 3},
        {"[\"a\", \"b]", "", "a string without an end begins at byte 6", 6},
        {"[1,]", "", "a value is expected at byte 3", 3},
        {"{\"a\":1,}", "", "a name in quotes is expected at byte 7", 7},
        {"{\"a\" 1}", "", "a colon is expected at byte 5", 5},
        {"{\"a\":1 2}", "", "a comma or } is expected at byte 7", 7},
        {"[1 2]", "", "a comma or ] is expected at byte 3", 3},
        {"[1", "", "a comma or ] is expected at byte 2", 2},
        {"[] []", "", "something stands behind the value, at byte 3", 3},
        {"01", "", "an unexpected character stands at byte 1", 1},
        {"1.", "", "a digit is missing at byte 2", 2},
        {"\"\\x\"", "", "an escape that does not exist stands at byte 1", 1},
        {"{\"a\":1,\"a\":2}", "/a", "the name stands twice", 7},
        {"{\"p\":[0,{\"x/y~\":{\"\\u0061\":1,\"a\":2}}]}", "/p/1/x~1y~0/a", "the name stands twice", 28},
        {"{\"a\":[\"ok\",\"\\ud800\"]}", "/a/1", "a surrogate stands alone", 12},
        {"{\"a\":{\"\\ud800\":1}}", "/a", "a surrogate stands alone", 7},
        {"\"\\udc00\"", "", "a surrogate stands alone", 1},
        {"{\"a\":[[[[[[[[]]]]]]]]}", "/a/0/0/0/0/0/0/0", "the value is nested too deeply", 12},
    };
    struct json_error err;
    struct arena a = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_null(parse(&a, str_of(rows[i].text), &err));
        assert_string_equal(err.detail, rows[i].detail);
        assert_string_equal(err.pointer, rows[i].pointer);
        assert_int_equal(err.offset, rows[i].offset);
        assert_int_equal(err.too_deep, i == sizeof(rows) / sizeof(rows[0]) - 1);
        assert_false(err.no_memory);
    }
    arena_fini(&a);
}

static void a_depth_of_none_allows_scalars_alone(void **state) {
    (void) state;
    struct json_error err;
    struct json *root;
    struct arena a = {0};
    assert_int_equal(json_parse(&a, STR("1"), 0, &root, &err), 0);
    assert_int_equal(json_parse(&a, STR("[]"), 0, &root, &err), -1);
    assert_true(err.too_deep);
    assert_int_equal(json_parse(&a, STR("[]"), 1, &root, &err), 0);
    assert_int_equal(json_parse(&a, STR("[{}]"), 1, &root, &err), -1);
    struct buf b = {0};
    for (int i = 0; i < 100000; i++) {
        buf_char(&b, '[');
    }
    assert_int_equal(json_parse(&a, buf_view(&b), 1000, &root, &err), -1);
    assert_true(err.too_deep);
    assert_true(strlen(err.pointer) < sizeof(err.pointer));
    buf_fini(&b);
    arena_fini(&a);
}

static void names_twice_are_found_in_large_objects(void **state) {
    (void) state;
    struct buf b = {0};
    buf_char(&b, '{');
    for (int i = 0; i < 200000; i++) {
        buf_printf(&b, "\"k%d\":%d,", i, i);
    }
    size_t cut = b.len;
    struct json_error err;
    struct arena a = {0};
    buf_puts(&b, "\"k\":0}");
    struct json *root = parse(&a, buf_view(&b), &err);
    assert_non_null(root);
    assert_int_equal(root->count, 200001);
    assert_int_equal(json_get(root, "k777")->integer, 777);
    b.len = cut;
    buf_puts(&b, "\"k\\u0037\":0,\"k9\":0}");
    assert_null(parse(&a, buf_view(&b), &err));
    assert_string_equal(err.pointer, "/k7");
    buf_fini(&b);
    arena_fini(&a);
}

static void a_pointer_that_does_not_fit_names_what_holds_the_place(void **state) {
    (void) state;
    struct buf b = {0};
    buf_puts(&b, "{\"a\":{\"");
    for (int i = 0; i < 300; i++) {
        buf_char(&b, 'n');
    }
    buf_puts(&b, "\":\"\\ud800\"}}");
    struct json_error err;
    struct arena a = {0};
    assert_null(parse(&a, buf_view(&b), &err));
    assert_string_equal(err.pointer, "/a");
    assert_null(parse(&a, STR("{\"a\":{\"x\\u0000y\":\"\\ud800\"}}"), &err));
    assert_string_equal(err.pointer, "/a");
    buf_fini(&b);
    arena_fini(&a);
}

static void large_texts_leave_nothing_behind(void **state) {
    (void) state;
    struct buf b = {0};
    buf_char(&b, '"');
    for (int i = 0; i < 300000; i++) {
        buf_puts(&b, i % 1000 ? "0123456789" : "\\n");
    }
    buf_char(&b, '"');
    struct json_error err;
    struct arena a = {0};
    struct json *root = parse(&a, buf_view(&b), &err);
    assert_non_null(root);
    assert_int_equal(root->raw.len, b.len);
    assert_int_equal(root->string.len, 299700 * 10 + 300);
    arena_fini(&a);
    buf_fini(&b);
}

static void every_refused_allocation_is_said_to_be_one(void **state) {
    (void) state;
    struct buf b = {0};
    buf_puts(&b, "{\"s\":\"a\\nb\",\"n\":1.234567890123456789012345678901234567890123456789012345678901234567890");
    for (int i = 0; i < 100; i++) {
        buf_printf(&b, ",\"k%d\":[%d]", i, i);
    }
    buf_char(&b, '}');
    struct json *root;
    struct json_error err;
    unsigned failures = 0;
    for (unsigned skip = 0;; skip++) {
        struct arena a = {0};
        alloc_fail_after(skip, 1);
        int rc = json_parse(&a, buf_view(&b), DEPTH, &root, &err);
        unsigned refusals = alloc_fail_stop();
        arena_fini(&a);
        if (rc == 0) {
            break;
        }
        assert_true(refusals > 0);
        assert_true(err.no_memory);
        failures++;
    }
    assert_true(failures >= 3);
    buf_fini(&b);
}

static void *parse_in_a_thread(void *arg) {
    for (int i = 0; i < 500; i++) {
        struct arena a = {0};
        struct json *root;
        struct json_error err;
        int rc = json_parse(&a, str_of(arg), DEPTH, &root, &err);
        arena_fini(&a);
        if (rc != 0) {
            return arg;
        }
    }
    return NULL;
}

static void threads_parse_side_by_side(void **state) {
    (void) state;
    pthread_t threads[3];
    static char text[] = "{\"type\":\"progress\",\"current\":40,\"message\":\"r\\u00e9ndering\"}";
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, parse_in_a_thread, text), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

static void utf8_is_checked_and_counted(void **state) {
    (void) state;
    assert_int_equal(utf8_count(STR("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")), 4);
    assert_int_equal(utf8_count(STR("")), 0);
    assert_true(utf8_valid(STR("plain ascii, longer than eight bytes \xf4\x8f\xbf\xbf")));
    assert_true(utf8_valid(STR_NONE));
    static const char *const bad[] = {"\x80",
                                      "\xc0\xaf",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xfe",
                                      "\xff",
                                      "\xc3",
                                      "\xe2\x82",
                                      "\xf0\x9f\x98",
                                      "\xc3\x28",
                                      "\xe2\x28\xa1",
                                      "\xf0\x9f\x28\x80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(utf8_valid(str_of(bad[i])));
    }
    assert_int_equal(utf8_valid_length(STR("abcdefghij\xff")), 10);
}

/* ---- opaque values ---- */

static const char *const opaque[] = {"input", "detail", NULL};

static struct json *parse_opaque(struct arena *a, struct str text, size_t max_nodes, struct json_error *err) {
    struct json_rules rules = {.max_depth = DEPTH + 2, .max_nodes = max_nodes, .opaque = opaque};
    struct json *root = NULL;
    int rc = json_parse_by(a, text, &rules, &root, err);
    assert_int_equal(rc, root ? 0 : -1);
    return root;
}

static void a_value_may_be_opaque_only_if_it_has_parts(void **state) {
    (void) state;
    static const char *const parts[] = {"data", NULL};
    struct json_rules rules = {.max_depth = 4, .opaque = opaque, .opaque_parts = parts};
    struct arena a = {0};
    struct json *root;
    struct json_error err;
    struct str text = STR("[{\"data\":\"\\u0041\"},{\"data\": {\"a\":[1]}},{\"data\":[\"\\u0041\"]},{\"data\":1.5},{\"input\":\"\\u0041\"}]");
    assert_int_equal(json_parse_by(&a, text, &rules, &root, &err), 0);
    const struct json *m = root->child;
    assert_str(json_get(m, "data")->string, "A");
    m = m->next;
    assert_null(json_get(m, "data")->child);
    assert_str(json_get(m, "data")->raw, "{\"a\":[1]}");
    m = m->next;
    assert_null(json_get(m, "data")->child);
    m = m->next;
    assert_true(json_get(m, "data")->num == 1.5);
    assert_null(json_get(m->next, "input")->string.p);
    arena_fini(&a);
}

static void an_opaque_value_is_its_text(void **state) {
    (void) state;
    struct json_error err;
    struct arena a = {0};
    struct str text = STR("[{\"a\":[1],\"input\":{\"x\":[1,2,{}],\"y\":\"\\n\",\"input\":1} , \"b\":{\"detail\":[ 7 ,8,9],\"c\":\"\\u0041\"}},"
                          "{\"i\\u006eput\":\"\\u0041\"},{\"input\":null,\"detail\":true}]");
    struct json *root = parse_opaque(&a, text, 0, &err);
    assert_non_null(root);
    const struct json *first = root->child, *input = json_get(first, "input"), *detail = json_get(json_get(first, "b"), "detail");
    assert_int_equal(json_get(first, "a")->child->integer, 1);
    assert_int_equal(input->type, JSON_OBJECT);
    assert_int_equal(input->count, 3);
    assert_null(input->child);
    assert_str(input->raw, "{\"x\":[1,2,{}],\"y\":\"\\n\",\"input\":1}");
    assert_int_equal(detail->type, JSON_ARRAY);
    assert_int_equal(detail->count, 3);
    assert_null(detail->child);
    assert_str(detail->raw, "[ 7 ,8,9]");
    assert_str(json_get(json_get(first, "b"), "c")->string, "A");
    input = json_get(first->next, "input");
    assert_int_equal(input->type, JSON_STRING);
    assert_null(input->string.p);
    assert_str(input->raw, "\"\\u0041\"");
    assert_int_equal(json_get(first->next->next, "input")->type, JSON_NULL);
    assert_int_equal(json_get(first->next->next, "detail")->type, JSON_BOOL);
    arena_fini(&a);
}

static void check_opaque_row(const char *z, bool want) {
    struct buf plain = {0}, in = {0};
    struct json_error err, plain_err;
    struct arena a = {0};
    buf_printf(&plain, "{\"other\":[%s]}", z);
    buf_printf(&in, "{\"input\":[%s]}", z);
    bool is = parse_opaque(&a, buf_view(&in), 0, &err) != NULL, plain_is = parse_opaque(&a, buf_view(&plain), 0, &plain_err) != NULL;
    if (is != plain_is || (want && !is)) {
        fail_msg("%s: %d, opaque %d (%s)", z, plain_is, is, is ? "" : err.detail);
    }
    if (!is) {
        assert_string_equal(err.pointer[0] ? err.pointer + strlen("/input") : "", plain_err.pointer[0] ? plain_err.pointer + strlen("/other") : "");
        assert_int_equal(err.offset, plain_err.offset);
    }
    arena_fini(&a);
    buf_fini(&plain);
    buf_fini(&in);
}

static void an_opaque_value_is_checked_like_any_other(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        check_opaque_row(accepted[i], true);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        check_opaque_row(refused[i], false);
    }
}

static void names_twice_are_found_wherever_they_stand(void **state) {
    (void) state;
    uint64_t random = 7;
    struct buf b = {0};
    for (int round = 0; round < 300; round++) {
        int count = 1 + (int) (unit_random(&random) % 100),
            twice = (int) (unit_random(&random) % 3) ? -1 : (int) (unit_random(&random) % (unsigned) count);
        int again = twice < 0 ? -1 : twice + 1 + (int) (unit_random(&random) % (unsigned) (count - twice));
        struct json_error err;
        struct arena a = {0};
        buf_clear(&b);
        buf_puts(&b, round % 2 ? "{\"input\":[{" : "{\"other\":[{");
        for (int i = 0; i <= count; i++) {
            int number = i == again ? twice : i;
            buf_puts(&b, i ? ",\"" : "\"");
            if (unit_random(&random) % 2) {
                buf_printf(&b, "k%d", number);
            } else {
                buf_printf(&b, "\\u006b%d", number);
            }
            buf_puts(&b, "\":{\"k0\":1}");
        }
        buf_puts(&b, "}]}");
        assert_int_equal(parse_opaque(&a, buf_view(&b), 0, &err) == NULL, twice >= 0);
        if (twice >= 0) {
            char pointer[32];
            snprintf(pointer, sizeof(pointer), "%s/0/k%d", round % 2 ? "/input" : "/other", twice);
            assert_string_equal(err.pointer, pointer);
        }
        arena_fini(&a);
    }
    buf_fini(&b);
}

static void too_many_values_are_refused(void **state) {
    (void) state;
    struct json_error err;
    struct arena a = {0};
    assert_non_null(parse_opaque(&a, STR("{\"a\":[1,2,3],\"input\":[1,2,3,4,5,6]}"), 6, &err));
    assert_null(parse_opaque(&a, STR("{\"a\":[1,2,3],\"input\":[1,2,3,4,5,6]}"), 5, &err));
    assert_true(err.too_many && !err.too_deep && !err.no_memory);
    assert_non_null(parse_opaque(&a, STR("1"), 1, &err));
    assert_false(err.too_many);
    arena_fini(&a);
}

/* ---- what a hostile text costs ---- */

#define HOSTILE_BYTES (9u * 1024 * 1024)

struct hostile {
    const char *begin, *unit, *end; /* unit: %s stands for a name that is new each time */
};

static const char *new_name(unsigned n, char out[8]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *p = out + 7;
    *p = '\0';
    do {
        *--p = digits[n % 64];
        n /= 64;
    } while (n);
    return p;
}

static void hostile_fill(const struct hostile *h, struct buf *b) {
    const char *name = strstr(h->unit, "%s");
    char text[8];
    buf_puts(b, h->begin);
    for (unsigned n = 0; b->len < HOSTILE_BYTES; n++) {
        if (name) {
            buf_put(b, h->unit, (size_t) (name - h->unit));
            buf_puts(b, new_name(n, text));
            buf_puts(b, name + 2);
        } else {
            buf_puts(b, h->unit);
        }
    }
    buf_puts(b, h->end);
}

static void no_text_costs_more_than_three_times_its_size(void **state) {
    (void) state;
    static const struct hostile rows[] = {
        {"{\"input\":[0", ",0", "]}"},
        {"{\"input\":[{}", ",{}", "]}"},
        {"{\"input\":[[0]", ",{\"a\":[[\"\"]]}", "]}"},
        {"{\"input\":{\"...\":0", ",\"%s\":0", "}}"},
        {"{\"input\":{\"...\":0", ",\"%s\":{\"a\":0}", "}}"},
        {"{\"input\":{\"...\":0", ",\"...\":0", "}}"},
        {"{\"input\":{\"...\":0", ",\"\\u0041%s\":0", "}}"},
        {"{\"input\":\"", "\\n", "\"}"},
        {"{\"input\":{\"", "\\u00410", "\":0}}"},
        {"{\"input\":{\"a\":\"", "\xc3\xa9", "\",\"a\":0}}"},
        {"{\"input\":1", "0", "}"},
        {"{\"other\":1", "0", "}"},
        {"{\"other\":\"", "\\n", "\"}"},
        {"{\"other\":[0", ",0", "]}"},
        {"{\"other\":[0", ",[]", "]}"},
        {"{\"other\":{\"...\":0", ",\"%s\":0", "}}"},
        {"{\"", "\\u00410", "\":0}"},
        {"[", "{\"a\":", ""},
        {"{", " ", "}"},
        {"", " ", ""},
        {"\"", "a", ""},
        {"\"", "a", "\x01\""},
        {"\"", "a", "\xff\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf b = {0};
        struct json_error err;
        struct arena a = {0};
        hostile_fill(&rows[i], &b);
        alloc_count_start();
        struct json *root = parse_opaque(&a, buf_view(&b), 100000, &err);
        size_t most = alloc_count_stop();
        if (most > 3 * b.len) {
            fail_msg("row %zu: %zu bytes for %zu (%s)", i, most, b.len, root ? "accepted" : err.detail);
        }
        arena_fini(&a);
        buf_fini(&b);
    }
}

static void pointers_are_escaped(void **state) {
    (void) state;
    struct buf b = {0};
    json_pointer_push(&b, STR("a/b"));
    json_pointer_push(&b, STR("~1"));
    json_pointer_push(&b, STR(""));
    assert_buf(&b, "/a~1b/~01/");
    buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refused_allocation_is_said_to_be_one), /* first: the thread's own memory is not there yet */
        cmocka_unit_test(what_is_json_is_accepted),
        cmocka_unit_test(what_is_not_is_refused),
        cmocka_unit_test(the_tree_is_what_was_written),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(numbers_say_what_fits),
        cmocka_unit_test(numbers_agree_with_the_c_library),
        cmocka_unit_test(refusals_say_where),
        cmocka_unit_test(a_depth_of_none_allows_scalars_alone),
        cmocka_unit_test(names_twice_are_found_in_large_objects),
        cmocka_unit_test(a_pointer_that_does_not_fit_names_what_holds_the_place),
        cmocka_unit_test(large_texts_leave_nothing_behind),
        cmocka_unit_test(threads_parse_side_by_side),
        cmocka_unit_test(a_value_may_be_opaque_only_if_it_has_parts),
        cmocka_unit_test(an_opaque_value_is_its_text),
        cmocka_unit_test(an_opaque_value_is_checked_like_any_other),
        cmocka_unit_test(names_twice_are_found_wherever_they_stand),
        cmocka_unit_test(too_many_values_are_refused),
        cmocka_unit_test(no_text_costs_more_than_three_times_its_size),
        cmocka_unit_test(utf8_is_checked_and_counted),
        cmocka_unit_test(pointers_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
