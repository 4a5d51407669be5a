/* What `bowline run` reads out of a command's output: the usual forms of progress and nothing that only looks like it, however the bytes are cut. */
#include "unit.h"

#include "cli/progress_scan.h"
#include "progress_recordings.h"

static void told_add(const struct progress_scan *s, struct buf *told) {
    buf_puts(told, told->len ? " " : "");
    buf_printf(told, "%g", s->current);
    if (s->unit && strcmp(s->unit, "%") == 0) {
        assert_true(s->total == 100);
        buf_puts(told, "%");
    } else {
        buf_printf(told, "/%g%s", s->total, s->unit ? s->unit : "");
    }
}

/* Reads it in pieces of that many bytes (0: drawn), then looks at what has not ended. Appends all that was told, such as "40/100 50/100", or only the last. */
static void scan(const char *pattern, struct str text, size_t piece, uint64_t *seed, bool all, struct buf *told) {
    char why[160];
    struct progress_scan s;
    assert_int_equal(progress_scan_init(&s, pattern, why), 0);
    while (text.len) {
        size_t len = piece ? piece : 1 + (size_t) (unit_random(seed) % 7);
        len = len < text.len ? len : text.len;
        if (progress_scan_read(&s, str_n(text.p, len)) && all) {
            told_add(&s, told);
        }
        text = str_from(text, len);
    }
    bool news = progress_scan_look(&s);
    if (all ? news : s.found) {
        told_add(&s, told);
    }
    progress_scan_fini(&s);
}

static void assert_told(const char *pattern, struct str text, const char *expected) {
    struct buf told = {0};
    scan(pattern, text, 1, NULL, true, &told);
    if (strcmp(buf_z(&told), expected) != 0) {
        print_error("%.*s\n", STR_FMT(text));
    }
    assert_string_equal(buf_z(&told), expected);
    buf_fini(&told);
}

/* What is there at the end is the same however it is cut. */
static void assert_same_in_pieces(struct str text, size_t piece, uint64_t *seed) {
    struct buf whole = {0}, told = {0};
    scan(NULL, text, 4096, NULL, false, &whole);
    scan(NULL, text, piece, seed, false, &told);
    assert_string_equal(buf_z(&told), buf_z(&whole));
    buf_fini(&whole);
    buf_fini(&told);
}

static const struct {
    const char *text, *told;
} usual[] = {
    /* a bar, or nothing else in the line: at once */
    {"42%", "42%"},
    {" 42.5 %\n", "42.5%"},
    {"100 %", "100%"},
    {"3/10", "3/10"},
    {"[3/10]", "3/10"},
    {"3 of 10", "3/10"},
    {"3 / 10", "3/10"},
    {"1,024/2,048", "1024/2048"},
    {"1.2 MB / 3.4 MB", "1.2/3.4MB"},
    {"...42%", "42%"},
    {"####----42%", "42%"},
    {"(42%)", "42%"},
    {"│42%│", "42%"},
    {"Epoch 1/2:  50%|#####     | 2/4 [00:01<00:01]", "2/4"},
    {"Epoch 1/2:  50%|█████     | 2/4 [00:01<00:01, acc=91.2%]", "2/4"},
    {"Epoch 1/2 |████▌   | 420/1000 [42%] in 4s (100.0/s, eta: 5s)", "420/1000"},
    {" 42% (42 of 100) |####      | Elapsed Time: 0:00:04 ETA:  0:00:05", "42/100"},
    {"progress [=====-----] 42% | ETA: 5s | 42/100", "42/100"},
    {"  [####----]   42%  00:00:05", "42%"},
    {"<===--------> 42% EXECUTING [1s]", "42%"},
    {"    Building [=====>          ] 12/100: foo v1.2.3", "12/100"},
    {"(1/3): foo-1.2.rpm  42% [=====       ] 1.2 MB/s | 420 kB  00:05 ETA", "42%"},
    {"[00:00:12] ████░░░░ 42/100 foo", "42/100"},
    {" 420MiB 0:00:42 [10.0MiB/s] [=====>       ] 42% ETA 0:00:58", "42%"},
    {"numpy-1.2 | 12.3 MB | ######4   |  64% ", "64%"},
    {"2 of 3 files [==>     ] 300.0KiB/1.2MiB", "0.293/1.2MiB"},

    /* anything else: once it rises */
    {"done 0%\ndone 5%\n", "5%"},
    {"[12/100] Compiling part 1 of 3\n[13/100] Compiling part 2 of 3\n", "13/100"},
    {"3 of 10 files\n4 OF 10 files", "4/10"},
    {"Step 3 of 10: a\nStep 4 of 10: b\n", "4/10"},
    {"1,234,567 of 2,345,678 rows\n1,234,568 of 2,345,678 rows\n", "1.23457e+06/2.34568e+06"},
    {"got 2.5/10 MB\ngot 2.6/10 MB\n", "2.6/10MB"},
    {"#1 400.0KiB/33.2MiB(1%) DL:1\r#1 1.5MiB/33.2MiB(4%) DL:1\r", "1.5/33.2MiB"},
    {"Receiving objects:  42% (420/1000), 1.2 MiB\rReceiving objects:  43% (430/1000), 1.3 MiB", "430/1000"},
    {"progress=42% a\nprogress=43% b", "43%"},
    {"Processing a.c (42%)\nProcessing b.c (43%)\n", "43%"},
    {"Encoding: task 1 of 2, 42.00 % (25.00 fps, ETA 00h01m)\rEncoding: task 1 of 2, 42.50 % (25.00 fps, ETA 00h01m)\r", "42.5%"},
    {"In:42.0% 00:01:00.00 [00:01:23.00]\rIn:42.1% 00:01:00.10 [00:01:22.90]", "42.1%"},
    {"2026-05-01 12:00:01 INFO 42% of the rows\n2026-05-01 12:00:02 INFO 43% of the rows\n", "43%"},

    /* the ends of lines */
    {"10%\n20%\n", "10% 20%"},
    {"10%\r20%\r", "10% 20%"},
    {"10%\b\b\b15%", "10% 15%"},
    {"10%\033[3D\033[K16%", "10% 16%"},
    {"10%\033[2K16%", "10% 16%"},
    {"10%\0338\033[4;0f16%", "10% 16%"},
    {"\033[32m17\033[0m%\033[K", "17%"},
    {"\033[01;31m\033[K17\033[m\033[K%", "17%"},
    {"\033(B17\033(0%", "17%"},
    {"17\a%", "17%"},
    {"\033]0;99%\00718%", "18%"},
    {"\033]0;99%\033\\19%", "19%"},
    {"10%\nand then nothing of the kind\n", "10%"},
};

/* One kind of number, and of that one at a time. */
static const struct {
    const char *text, *told;
} runs[] = {
    /* it does not fall */
    {"42%\n41%\n43%\n42%\n44%\n", "42% 43% 44%"},
    {"a 10%\nb 50%\na 12%\nb 52%\na 13%\nb 54%\n", "12% 13%"},
    {"10%\n50%\n12%\n52%\n13%\n54%\n", "10% 50% 52% 54%"},
    /* the other kinds do not come between */
    {"1/3\n10%\n20%\n2/3\n30%\n3/3\n40%\n", "1/3 20% 30% 40%"},
    {"Step 1 of 3\ncopied 10%\nStep 2 of 3\ncopied 20%\ncopied 30%\nStep 3 of 3\n", "2/3 3/3"},
    /* what is at its end makes way */
    {"one 50%\none 99.9%\ntwo 0%\ntwo 1%\none 100%\ntwo 2%\n", "99.9% 1% 2%"},
    {"one 50%\none 90%\none... Done\ntwo 1%\ntwo 2%\n", "90% 2%"},
    {"50%\n100%\n1%\n2%\n100%\n1%\n2%\n", "50% 100% 2% 100% 2%"},
    {"0/1\n1/1\n0/1\n1/1\n", "0/1 1/1"},
    /* and what is silent while another moves */
    {"one 1%\none 2%\ntwo 1%\ntwo 2%\ntwo 3%\ntwo 4%\ntwo 5%\ntwo 6%\ntwo 7%\ntwo 8%\ntwo 9%\ntwo 10%\ntwo 11%\ntwo 12%\n", "2% 11% 12%"},
    {"one 1%\none 2%\ntwo 1%\ntwo 50%\ntwo 100%\nthree 1%\nthree 3%\n", "2% 3%"},
    /* a bar's own numbers, not those of the lines between */
    {"Epoch 1/3\n 1/4 [==>......] - ETA: 0s - acc: 25.0%\r 4/4 [=========] - 0s\nEpoch 2/3\n 1/4 [==>......]\r 2/4 [====>....]\r"
     " 4/4 [=========]\nEpoch 3/3\n 1/4 [==>......]\r 3/4 [======>..]",
     "1/4 4/4 2/4 4/4 3/4"},
};

static const char *const others[] = {
    "",
    "hello",
    "101%",
    "-5%",
    "+5%",
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
    "1/2.txt",
    "1/2-a",
    "2026/05/01",
    "2026-05/06",
    "05/12",
    "5/12 10:30",
    "01:05/10:30",
    "HTTP/1.1",
    "10.0.0.1/24",
    "3/10x",
    "3 of the 10",
    "3of10",
    "12.3MB/45",
    "12.3 MB/45 MB/s",
    "one of 3",
    "\x01 42%",
    "9999999999999999999999999999999999999999999999999/99999999999999999999999999999999999999999999999999999",
    /* in a line with something else, and never seen to rise */
    "now 50% off",
    "42% done",
    "3/10 tests",
    "ran 3 of 10 tests\nran 2 of 10 tests\n",
    "50% off a\n60% off b\n",
    "CPU 12%\nCPU 15%\nCPU 13%\n",
    "load: 12% mem=40% loss 5%\nload: 13% mem=41% loss 6%\n",
    "3 packets, 0% packet loss\n4 packets, 25% packet loss\n",
    "/dev/sda1  100G  42G   58G  42% /\n/dev/sdb1  100G  43G   57G  43% /home\n",
    "src/a.c   10   2   80%\nsrc/b.c   10   1   90%\n",
    "lines......: 80.0% (8 of 10 lines)\nfunctions..: 90.0% (9 of 10 functions)\n",
    "test[50%] ok\ntest[60%] ok\ntest[1/2] ok\ntest[2/2] ok\n",
    "see a/1/2\nsee a/2/2\n",
    "on 05/12 at 10\non 06/12 at 10\n",
    "5/12 10:30:01 started\n6/12 10:30:01 started\n",
    "version 1.2.3/4\nversion 1.2.4/5\n",
    "==== 15 passed in 0.03s ====",
    "100% tests passed, 0 tests failed out of 3",
};

static void the_usual_forms_are_found(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        assert_told(NULL, str_of(usual[i].text), usual[i].told);
    }
}

static void one_number_is_followed_at_a_time(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        assert_told(NULL, str_of(runs[i].text), runs[i].told);
    }
}

static void what_only_looks_like_it_is_not(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_told(NULL, str_of(others[i]), "");
    }
}

static void programs_are_understood(void **state) {
    (void) state;
    uint64_t seed = 11;
    for (size_t i = 0; i < sizeof recordings / sizeof *recordings; i++) {
        print_message("%s\n", recordings[i].program);
        assert_told(NULL, str_of(recordings[i].text), recordings[i].told);
        for (int round = 0; round < 5; round++) {
            assert_same_in_pieces(str_of(recordings[i].text), 0, &seed);
        }
    }
}

static void any_split_finds_the_same(void **state) {
    (void) state;
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        for (size_t piece = 1; piece <= strlen(usual[i].text); piece++) {
            assert_same_in_pieces(str_of(usual[i].text), piece, NULL);
        }
    }
    static const char alphabet[] = "0123456789%/. ,-of\n\r\b\033[]K;m\007a|##==>kMB:(\xe2\x94\x82\x81";
    for (int round = 0; round < 3000; round++) {
        char text[400];
        size_t len = (size_t) (unit_random(&seed) % sizeof text);
        for (size_t i = 0; i < len; i++) {
            text[i] = alphabet[unit_random(&seed) % (sizeof alphabet - 1)];
        }
        assert_same_in_pieces(str_n(text, len), 1, NULL);
        assert_same_in_pieces(str_n(text, len), 0, &seed);
    }
}

static void lines_drawn_at_random_do_no_harm(void **state) {
    (void) state;
    static const char *const pieces[] = {"1/4", "2/4", "50%",    "|##   |", "[==>  ]",   "a",    "b ",
                                         "\n",  "\r",  "3 of 9", "time=",   "1.5MB/3MB", "Done", " "};
    uint64_t seed = 5;
    for (int round = 0; round < 2000; round++) {
        struct buf text = {0}, told = {0};
        for (int i = 0; i < 200; i++) {
            buf_puts(&text, pieces[unit_random(&seed) % (sizeof pieces / sizeof *pieces)]);
        }
        scan(NULL, buf_view(&text), 1, NULL, true, &told);
        buf_fini(&text);
        buf_fini(&told);
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
    assert_false(progress_scan_read(&s, STR("19%\n20%\n"))); /* where it stood before */
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
    assert_told(NULL, buf_view(&text), "");
    buf_puts(&text, "\n43% ");
    assert_told(NULL, buf_view(&text), "43%");
    buf_fini(&text);
}

static void a_pattern_is_taken_instead(void **state) {
    (void) state;
    assert_told("page ([0-9]+) of about ([0-9,]+)", STR("50% page 3 of about 1,200\n"), "3/1200");
    assert_told("at ([0-9.]+) per cent", STR("99% at 12.5 per cent"), "12.5%");
    assert_told("at ([0-9.]+)", STR("at 12\nat 11\n"), "12% 11%");
    assert_told("at ([0-9.]+)", STR("99%"), "");
    assert_told("at ([0-9.]+)", STR("at 101"), "");
    assert_told("at (.*)", STR("at once"), "");
    assert_told("at (.*) of (.*)", STR("at 3 of 2"), "");
    assert_told("(a)|b([0-9]*)", STR("b7"), "");
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
        cmocka_unit_test(the_usual_forms_are_found),
        cmocka_unit_test(one_number_is_followed_at_a_time),
        cmocka_unit_test(what_only_looks_like_it_is_not),
        cmocka_unit_test(programs_are_understood),
        cmocka_unit_test(any_split_finds_the_same),
        cmocka_unit_test(lines_drawn_at_random_do_no_harm),
        cmocka_unit_test(news_is_told_once),
        cmocka_unit_test(a_long_line_does_no_harm),
        cmocka_unit_test(a_pattern_is_taken_instead),
        cmocka_unit_test(a_bad_pattern_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
