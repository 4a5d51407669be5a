/* What `bowline run` reads out of a command's output: the usual forms of progress and nothing that only looks like it, however the bytes are cut. */
#include "unit.h"

#include "cli/progress_scan.h"

/* Reads it in pieces of that many bytes (0: drawn), then looks at what has not ended. As text: "40/100", "42.5%", or "-". */
static const char *scan(const char *pattern, struct str text, size_t piece, uint64_t *seed) {
    static char found[64];
    char why[160];
    struct progress_scan s;
    assert_int_equal(progress_scan_init(&s, pattern, why), 0);
    while (text.len) {
        size_t len = piece ? piece : 1 + (size_t) (unit_random(seed) % 7);
        len = len < text.len ? len : text.len;
        (void) progress_scan_read(&s, str_n(text.p, len));
        text = str_from(text, len);
    }
    (void) progress_scan_look(&s);
    if (!s.found) {
        strcpy(found, "-");
    } else if (s.percent) {
        assert_true(s.total == 100);
        snprintf(found, sizeof found, "%g%%", s.current);
    } else {
        snprintf(found, sizeof found, "%g/%g", s.current, s.total);
    }
    progress_scan_fini(&s);
    return found;
}

static const struct {
    const char *text, *found;
} usual[] = {
    {"42%", "42%"},
    {" 42.5 %\n", "42.5%"},
    {"done 0%", "0%"},
    {"100 %", "100%"},
    {"[12/100] Compiling part 1 of 3", "12/100"},
    {"3 of 10 files", "3/10"},
    {"Step 3 OF 10", "3/10"},
    {"3 / 10", "3/10"},
    {"1,024/2,048 blocks", "1024/2048"},
    {"1,234,567 of 2,345,678", "1.23457e+06/2.34568e+06"},
    {"2.5/10 MB", "2.5/10"},
    {"...42%", "42%"},
    {"####----42%", "42%"},
    {"(42%)", "42%"},
    {"progress=42%", "42%"},
    {"10% 20% 30%", "10%"},
    {" 42%|####  | 42/100 [00:03<00:05, 12.3it/s]", "42/100"},
    {"Receiving objects:  42% (420/1000), 1.2 MiB", "420/1000"},
    {"  1,238,099  42%  146.38kB/s  0:00:08 (xfr#5, to-chk=300/396)", "42%"},
    {"10%\n20%\n", "20%"},
    {"10%\r20%\r", "20%"},
    {"10%\b\b\b15%", "15%"},
    {"10%\033[3D\033[2K16%", "16%"},
    {"\033[32m17\033[0m%\033[K", "17%"},
    {"\033]0;99%\00718%", "18%"},
    {"\033]0;99%\033\\19%", "19%"},
    {"10%\nand then nothing of the kind\n", "10%"},
    {"\xe2\x94\x82"
     "42%\xe2\x94\x82",
     "42%"},
};

static const char *const others[] = {
    "",
    "hello",
    "101%",
    "-5%",
    "%",
    "42 percent",
    "%42",
    "42%d",
    "x42%",
    "1.2.3%",
    "v1.42%",
    "7/3",
    "0/0",
    "1/0",
    "a/1/2/b",
    "/1/2",
    "1/2/3",
    "2026/05/01",
    "2026-05/06",
    "HTTP/1.1",
    "10.0.0.1/24",
    "3/10x",
    "3 of the 10",
    "3of10",
    "12.3MB/45MB",
    "one of 3",
    "\x01 42%",
    "9999999999999999999999999999999999999999999999999/99999999999999999999999999999999999999999999999999999",
};

static void the_usual_forms_are_found(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        assert_string_equal(scan(NULL, str_of(usual[i].text), 4096, NULL), usual[i].found);
    }
}

static void what_only_looks_like_it_is_not(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_string_equal(scan(NULL, str_of(others[i]), 4096, NULL), "-");
    }
}

static void any_split_finds_the_same(void **state) {
    (void) state;
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        for (size_t piece = 1; piece <= strlen(usual[i].text); piece++) {
            assert_string_equal(scan(NULL, str_of(usual[i].text), piece, NULL), usual[i].found);
        }
    }
    static const char alphabet[] = "0123456789%/. ,-of\n\r\b\033[]K;m\007a\xe2\x94\x82";
    for (int round = 0; round < 3000; round++) {
        char text[400], whole[64];
        size_t len = (size_t) (unit_random(&seed) % sizeof text);
        for (size_t i = 0; i < len; i++) {
            text[i] = alphabet[unit_random(&seed) % (sizeof alphabet - 1)];
        }
        strcpy(whole, scan(NULL, str_n(text, len), 4096, NULL));
        assert_string_equal(scan(NULL, str_n(text, len), 1, NULL), whole);
        assert_string_equal(scan(NULL, str_n(text, len), 0, &seed), whole);
    }
}

static void news_is_told_once(void **state) {
    (void) state;
    struct progress_scan s;
    char why[160];
    assert_int_equal(progress_scan_init(&s, NULL, why), 0);
    assert_true(progress_scan_read(&s, STR("10%\n")));
    assert_false(progress_scan_read(&s, STR("10%\n")));
    assert_false(progress_scan_read(&s, STR("20")));
    assert_false(progress_scan_read(&s, STR("%")));
    assert_true(progress_scan_look(&s));
    assert_false(progress_scan_look(&s));
    assert_false(progress_scan_read(&s, STR("\n")));
    assert_false(progress_scan_read(&s, STR("30%\n20%\n"))); /* where it stood before */
    assert_true(progress_scan_read(&s, STR("30%\n31%\nnothing\n")));
    assert_true(s.current == 31);
    progress_scan_fini(&s);
}

static void a_long_line_does_no_harm(void **state) {
    (void) state;
    struct buf text = {0};
    buf_puts(&text, "42% ");
    for (int i = 0; i < 100000; i++) {
        buf_puts(&text, "x 1");
    }
    assert_string_equal(scan(NULL, buf_view(&text), 4096, NULL), "42%");
    buf_puts(&text, "\n43%");
    assert_string_equal(scan(NULL, buf_view(&text), 1000, NULL), "43%");
    buf_fini(&text);
}

static void a_pattern_is_taken_instead(void **state) {
    (void) state;
    assert_string_equal(scan("page ([0-9]+) of about ([0-9,]+)", STR("50% page 3 of about 1,200\n"), 4096, NULL), "3/1200");
    assert_string_equal(scan("at ([0-9.]+) per cent", STR("99% at 12.5 per cent"), 3, NULL), "12.5%");
    assert_string_equal(scan("at ([0-9.]+)", STR("99%"), 4096, NULL), "-");
    assert_string_equal(scan("at ([0-9.]+)", STR("at 101"), 4096, NULL), "-");
    assert_string_equal(scan("at (.*)", STR("at once"), 4096, NULL), "-");
    assert_string_equal(scan("at (.*) of (.*)", STR("at 3 of 2"), 4096, NULL), "-");
    assert_string_equal(scan("(a)|b([0-9]*)", STR("b7"), 4096, NULL), "-");
}

static void a_bad_pattern_is_told(void **state) {
    (void) state;
    struct progress_scan s;
    char why[160] = "";
    assert_int_equal(progress_scan_init(&s, "(", why), -1);
    assert_true(why[0]);
    assert_int_equal(progress_scan_init(&s, "no group", why), -1);
    assert_non_null(strstr(why, "0 groups"));
    assert_int_equal(progress_scan_init(&s, "(1)(2)(3)", why), -1);
    assert_non_null(strstr(why, "3 groups"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_usual_forms_are_found), cmocka_unit_test(what_only_looks_like_it_is_not), cmocka_unit_test(any_split_finds_the_same),
        cmocka_unit_test(news_is_told_once),         cmocka_unit_test(a_long_line_does_no_harm),       cmocka_unit_test(a_pattern_is_taken_instead),
        cmocka_unit_test(a_bad_pattern_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
