/* What a worker has said and the server does not have: coalesced, in order, at the right offsets, and said again after a loss. */
#include "unit.h"

#include <math.h>

#include "alloc_fail.h"
#include "base/json.h"
#include "client/said.h"

static void said_is(struct said *s, const char *expected) {
    struct buf body = {0};
    assert_true(said_write(s, &body));
    assert_buf(&body, expected);
    buf_fini(&body);
}

static void output(struct said *s, const char *text) {
    buf_puts(&s->out, text);
}

static void report(struct said *s, void (*say)(struct said *, struct buf *), const char *text) {
    struct buf b = {0};
    buf_puts(&b, text);
    say(s, &b);
}

static void progress_is_coalesced_to_the_newest(void **state) {
    (void) state;
    struct said s = {0};
    assert_false(said_anything(&s));
    for (int i = 1; i <= 1000; i++) {
        assert_null(said_progress(&s, i, 1000));
    }
    assert_null(said_describe(&s, "pages", "rendering \"x\""));
    assert_true(said_anything(&s));
    assert_false(said_urgent(&s));
    said_is(&s, "[{\"type\":\"progress\",\"current\":1000,\"total\":1000,\"unit\":\"pages\",\"message\":\"rendering \\\"x\\\"\"}]");
    said_stored(&s);
    assert_false(said_anything(&s));
    assert_null(said_progress(&s, 1000, NAN));
    assert_false(said_anything(&s)); /* nothing new */
    assert_null(said_progress(&s, 1001.5, INFINITY));
    assert_null(said_describe(&s, NULL, ""));
    said_is(&s, "[{\"type\":\"progress\",\"current\":1001.5,\"total\":null,\"message\":null}]");
    said_fini(&s);
}

static void what_is_out_of_bounds_changes_nothing(void **state) {
    (void) state;
    struct said s = {0};
    char text[PHASE_CHARS + 2];
    memset(text, 'x', sizeof text);
    text[PHASE_CHARS + 1] = 0;
    assert_non_null(strstr(said_progress(&s, -1, 10), "current"));
    assert_non_null(strstr(said_progress(&s, 1, 2e15), "total"));
    assert_non_null(strstr(said_progress(&s, 1, -INFINITY), "total"));
    assert_non_null(strstr(said_describe(&s, text, "m"), "unit"));
    assert_non_null(strstr(said_phase(&s, text), "phase"));
    assert_false(said_anything(&s));
    text[PHASE_CHARS] = 0;
    assert_null(said_phase(&s, text));
    said_fini(&s);
}

static void texts_are_made_sendable(void **state) {
    (void) state;
    struct said s = {0};
    char text[2 * MESSAGE_CHARS + 8];
    for (size_t i = 0; i < sizeof text - 1; i += 2) {
        memcpy(text + i, "\xc3\xa9", 2);
    }
    text[2 * MESSAGE_CHARS + 2] = 0;
    assert_null(said_describe(&s, NULL, text));
    assert_int_equal(strlen(s.message), 2 * MESSAGE_CHARS); /* cut at a whole character */
    assert_null(said_describe(&s, "\xff\xfe", "caf\xe9 \xed\xa0\x80."));
    assert_null(said_phase(&s, "\xc3"));
    assert_null(said_describe(&s, "\xff\xfe", "caf\xe9 \xed\xa0\x80."));
    said_is(&s, "[{\"type\":\"progress\",\"phase\":\"\xef\xbf\xbd\",\"unit\":\"\xef\xbf\xbd\xef\xbf\xbd\","
                "\"message\":\"caf\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd.\"}]");
    said_stored(&s);
    assert_null(said_describe(&s, "\xff\xfe", NULL));
    assert_false(said_anything(&s)); /* nothing new */
    said_fini(&s);
}

static void data_say(struct said *s, const char *json) {
    struct buf b = {0};
    buf_puts(&b, json);
    said_data(s, &b);
    assert_null(b.data);
}

static void a_phase_begins_anew(void **state) {
    (void) state;
    struct said s = {0};
    assert_null(said_phase(&s, NULL));
    assert_null(said_progress(&s, 7, 8));
    assert_null(said_phase(&s, "load")); /* what was said before it goes unsent */
    assert_null(said_progress(&s, 1, NAN));
    data_say(&s, "{\"a\" : 1}");
    assert_null(said_phase(&s, "load"));
    said_is(&s, "[{\"type\":\"progress\",\"phase\":\"load\",\"current\":1,\"total\":null,\"data\":{\"a\" : 1}}]");
    said_stored(&s);
    assert_null(said_phase(&s, "load"));
    data_say(&s, "{\"a\" : 1}");
    assert_false(said_anything(&s)); /* nothing new */
    assert_null(said_phase(&s, "save"));
    assert_null(said_progress(&s, 5, 9));
    assert_null(said_phase(&s, "load")); /* the server has never heard of the one between */
    said_is(&s, "[{\"type\":\"progress\",\"phase\":\"load\",\"current\":null,\"total\":null,\"data\":null}]");
    assert_null(said_progress(&s, 2, NAN)); /* while it is under way */
    said_unsent(&s);
    said_is(&s, "[{\"type\":\"progress\",\"phase\":\"load\",\"current\":2,\"total\":null,\"data\":null}]");
    said_stored(&s);
    data_say(&s, "1");
    assert_null(said_phase(&s, ""));
    said_is(&s, "[{\"type\":\"progress\",\"phase\":null,\"current\":null,\"total\":null,\"data\":null}]");
    said_fini(&s);
}

static void a_refused_member_is_left_out(void **state) {
    (void) state;
    struct said s = {0};
    output(&s, "out");
    assert_null(said_phase(&s, "load"));
    assert_null(said_progress(&s, 1, 2));
    data_say(&s, "[1]");
    report(&s, said_end, "{\"type\":\"succeed\"}");
    struct buf body = {0};
    assert_true(said_write(&s, &body));
    assert_false(said_refused(&s, STR("")));
    assert_false(said_refused(&s, STR("/0/data"))); /* of the output */
    assert_false(said_refused(&s, STR("/2/result")));
    assert_false(said_refused(&s, STR("/12")));
    assert_true(said_refused(&s, STR("/1/data/a")));
    said_is(&s, "[{\"type\":\"output\",\"data\":\"out\",\"offset\":0},{\"type\":\"progress\",\"phase\":\"load\",\"current\":1,\"total\":2},"
                "{\"type\":\"succeed\"}]");
    assert_true(said_refused(&s, STR("/1/another"))); /* none that is known */
    said_is(&s, "[{\"type\":\"output\",\"data\":\"out\",\"offset\":0},{\"type\":\"succeed\"}]");
    assert_false(said_refused(&s, STR("/1")));
    buf_fini(&body);
    said_fini(&s);
}

static void after_a_loss_progress_is_said_as_a_whole(void **state) {
    (void) state;
    struct said s = {0};
    assert_null(said_progress(&s, 1, 10));
    said_is(&s, "[{\"type\":\"progress\",\"current\":1,\"total\":10}]");
    said_stored(&s);
    assert_null(said_progress(&s, 2, NAN));
    said_is(&s, "[{\"type\":\"progress\",\"current\":2}]");
    assert_null(said_progress(&s, 3, NAN)); /* while it is under way */
    said_unsent(&s);
    said_is(&s, "[{\"type\":\"progress\",\"current\":3,\"total\":10}]");
    said_fini(&s);
}

static void output_goes_in_order_and_is_kept_until_it_is_stored(void **state) {
    (void) state;
    struct said s = {.out_base = 100};
    output(&s, "one\n");
    said_is(&s, "[{\"type\":\"output\",\"data\":\"one\\n\",\"offset\":100}]");
    output(&s, "two\n");
    said_unsent(&s);
    said_is(&s, "[{\"type\":\"output\",\"data\":\"one\\ntwo\\n\",\"offset\":100}]");
    output(&s, "three\n");
    said_stored(&s);
    assert_true(said_output_stored(&s, 108));
    said_is(&s, "[{\"type\":\"output\",\"data\":\"three\\n\",\"offset\":108}]");
    said_unsent(&s);
    assert_true(said_output_stored(&s, 111)); /* half of it was heard */
    said_is(&s, "[{\"type\":\"output\",\"data\":\"ee\\n\",\"offset\":111}]");
    said_stored(&s);
    assert_false(said_anything(&s));
    assert_false(said_output_stored(&s, 50)); /* what is no longer kept here */
    said_fini(&s);
}

static void large_output_goes_in_pieces_and_never_cuts_a_character(void **state) {
    (void) state;
    struct said s = {0};
    output(&s, "x");
    while (s.out.len < 2 * OUTPUT_PIECE) {
        output(&s, "\xe2\x82\xac");
    }
    report(&s, said_end, "{\"type\":\"succeed\"}");
    size_t total = s.out.len, pieces = 0;
    while (s.out.len) {
        struct buf body = {0};
        assert_true(said_urgent(&s));
        assert_true(said_write(&s, &body));
        assert_non_null(strstr(buf_z(&body), "\"data\":\""));
        assert_int_equal(s.outcome_sending, s.out_sending == s.out.len); /* the outcome is the last thing said */
        said_stored(&s);
        buf_fini(&body);
        pieces++;
    }
    assert_int_equal(s.out_base, total);
    assert_int_equal(pieces, 3);
    assert_false(said_anything(&s));
    said_fini(&s);
}

static void bytes_that_are_no_text_go_as_base64(void **state) {
    (void) state;
    struct said s = {0};
    buf_put(&s.out, "\xff\xfe\x00\x01\x02", 5);
    said_is(&s, "[{\"type\":\"output\",\"data_base64\":\"//4AAQI=\",\"offset\":0}]");
    said_fini(&s);
}

static void a_question_and_an_outcome_come_behind_the_output(void **state) {
    (void) state;
    struct said s = {0};
    output(&s, "a");
    assert_null(said_progress(&s, 1, NAN));
    report(&s, said_ask, "{\"type\":\"input_request\"}");
    report(&s, said_end, "{\"type\":\"cancelled\"}");
    said_is(&s, "[{\"type\":\"output\",\"data\":\"a\",\"offset\":0},{\"type\":\"progress\",\"current\":1},{\"type\":\"input_request\"},{\"type\":"
                "\"cancelled\"}]");
    said_unsent(&s);
    said_is(&s, "[{\"type\":\"output\",\"data\":\"a\",\"offset\":0},{\"type\":\"progress\",\"current\":1},{\"type\":\"input_request\"},{\"type\":"
                "\"cancelled\"}]");
    said_stored(&s);
    assert_false(said_anything(&s));
    said_is(&s, "[{\"type\":\"heartbeat\"}]");
    said_fini(&s);
}

static void a_question_that_replaces_one_under_way_is_sent_too(void **state) {
    (void) state;
    struct said s = {0};
    report(&s, said_ask, "{\"q\":1}");
    said_is(&s, "[{\"q\":1}]");
    report(&s, said_ask, "{\"q\":2}");
    said_stored(&s);
    said_is(&s, "[{\"q\":2}]");
    said_stored(&s);
    assert_false(said_anything(&s));
    said_fini(&s);
}

/* Random talk and random losses: what a server makes of it is what was said. */
static void any_run_of_losses_leaves_the_output_whole(void **state) {
    (void) state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t random = seed;
        struct said s = {0};
        struct buf spoken = {0}, stored = {0};
        while (spoken.len < 4000 || s.out.len) {
            if (spoken.len < 4000) {
                char c = (char) unit_random(&random);
                buf_char(&s.out, c);
                buf_char(&spoken, c);
            }
            if (unit_random(&random) % 5 && s.out.len) {
                continue;
            }
            struct buf body = {0};
            assert_true(said_write(&s, &body));
            bool applied = unit_random(&random) % 3, answered = unit_random(&random) % 3;
            if (applied && s.out_sending) {
                assert_true(s.out_base <= stored.len);
                size_t skip = stored.len - (size_t) s.out_base;
                if (skip < s.out_sending) {
                    buf_put(&stored, s.out.data + skip, s.out_sending - skip);
                }
            }
            if (applied && answered) {
                said_stored(&s);
            } else {
                said_unsent(&s);
            }
            if (answered) {
                assert_true(said_output_stored(&s, stored.len));
            }
            buf_fini(&body);
        }
        assert_int_equal(stored.len, spoken.len);
        assert_memory_equal(stored.data, spoken.data, spoken.len);
        buf_fini(&spoken);
        buf_fini(&stored);
        said_fini(&s);
    }
}

static void without_memory_nothing_is_marked(void **state) {
    (void) state;
    for (unsigned skip = 0;; skip++) {
        struct said s = {0};
        struct buf body = {0};
        output(&s, "some output that is longer than the first sixty-four bytes of a buffer, so that it has to grow once");
        assert_null(said_progress(&s, 1, 2));
        alloc_fail_after(skip, 0);
        bool ok = said_write(&s, &body);
        unsigned refused = alloc_fail_stop();
        assert_int_equal(ok, !refused);
        if (!ok) {
            assert_int_equal(s.out_sending, 0);
            assert_true(s.changed);
        }
        buf_fini(&body);
        said_fini(&s);
        if (!refused) {
            break;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_is_coalesced_to_the_newest),
        cmocka_unit_test(what_is_out_of_bounds_changes_nothing),
        cmocka_unit_test(texts_are_made_sendable),
        cmocka_unit_test(a_phase_begins_anew),
        cmocka_unit_test(a_refused_member_is_left_out),
        cmocka_unit_test(after_a_loss_progress_is_said_as_a_whole),
        cmocka_unit_test(output_goes_in_order_and_is_kept_until_it_is_stored),
        cmocka_unit_test(large_output_goes_in_pieces_and_never_cuts_a_character),
        cmocka_unit_test(bytes_that_are_no_text_go_as_base64),
        cmocka_unit_test(a_question_and_an_outcome_come_behind_the_output),
        cmocka_unit_test(a_question_that_replaces_one_under_way_is_sent_too),
        cmocka_unit_test(any_run_of_losses_leaves_the_output_whole),
        cmocka_unit_test(without_memory_nothing_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
