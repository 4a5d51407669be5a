#include "unit.h"

#include "base/hash.h"
#include "base/id.h"

static void draw(void *arg, void *out, size_t len) {
    uint64_t *seed = arg;
    for (size_t i = 0; i < len; i++) {
        ((unsigned char *) out)[i] = (unsigned char) (unit_random(seed) >> 32);
    }
}

static void all_ones(void *arg, void *out, size_t len) {
    (void) arg;
    memset(out, 0xff, len);
}

static void ids_rise_also_when_the_clock_steps_back(void **state) {
    (void) state;
    uint64_t seed = 5;
    struct id_maker maker = {.random = draw, .random_arg = &seed};
    struct id last = id_make(&maker, 1767323045678);
    int64_t now = 1767323045678;
    for (int i = 0; i < 100000; i++) {
        now += (int64_t) (unit_random(&seed) % 5) - 2;
        struct id id = id_make(&maker, now);
        assert_true(id_cmp(id, last) > 0);
        char a[ID_TEXT_LEN + 1], b[ID_TEXT_LEN + 1];
        id_format(last, ID_TASK, a);
        id_format(id, ID_TASK, b);
        assert_true(strcmp(a, b) < 0);
        last = id;
    }
}

static void counting_up_leaves_room_within_a_millisecond(void **state) {
    (void) state;
    struct id_maker maker = {.random = all_ones};
    struct id a = id_make(&maker, 1000), b = id_make(&maker, 1000);
    assert_true(id_cmp(a, b) < 0);
    assert_memory_equal(a.b, b.b, 6); /* the same millisecond still */
}

static void text_is_what_the_specification_says(void **state) {
    (void) state;
    struct id id = {{0x01, 0x56, 0x3d, 0xf3, 0x64, 0x81, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, back;
    char text[ID_TEXT_LEN + 1];
    id_format(id, ID_SESSION, text);
    assert_string_equal(text, "ses_01ARYZ6S41041061050R3GG28A"); /* the time part is the one of the ULID specification's example */
    assert_true(id_parse(str_of(text), ID_SESSION, &back));
    assert_true(id_eq(id, back));
    memset(id.b, 0xff, 16);
    id_format(id, ID_TASK, text);
    assert_string_equal(text, "tsk_7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    assert_true(id_is_none((struct id){{0}}));
}

static void text_and_bytes_agree(void **state) {
    (void) state;
    uint64_t seed = 11;
    for (int i = 0; i < 20000; i++) {
        struct id id, back;
        char text[ID_TEXT_LEN + 1];
        draw(&seed, id.b, 16);
        id_format(id, ID_TASK, text);
        assert_true(id_parse(str_of(text), ID_TASK, &back));
        assert_true(id_eq(id, back));
    }
}

static void anything_else_is_refused(void **state) {
    (void) state;
    static const char *const rows[] = {
        "",
        "tsk_",
        "tsk_01ARYZ6S41041061050R3GG28",
        "tsk_01ARYZ6S41041061050R3GG28A0",
        "ses_01ARYZ6S41041061050R3GG28A",
        "TSK_01ARYZ6S41041061050R3GG28A",
        "tsk-01ARYZ6S41041061050R3GG28A",
        "tsk_81ARYZ6S410420C1G50R3GG28A",
        "tsk_01ARYZ6S41041061050R3GG28a",
        "tsk_01ARYZ6S41041061050R3GG28I",
        "tsk_01ARYZ6S41041061050R3GG28L",
        "tsk_O1ARYZ6S410420C1G50R3GG28A",
        "tsk_01ARYZ6S410410610U0R3GG28A",
        "tsk_01ARYZ6S41041061050R3GG2-A",
    };
    struct id id = {{42}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_false(id_parse(str_of(rows[i]), ID_TASK, &id));
    }
    assert_false(id_parse(str_n("tsk_01ARYZ6S41041061050R3GG28\0", 30), ID_TASK, &id));
    assert_int_equal(id.b[0], 42);
}

/* Also names can be as long as an id: users of one company, say. */
static void keys_that_begin_or_end_alike_are_spread(void **state) {
    (void) state;
    static const char *const forms[] = {"%08u@acme.io", "acme.io/%08u", "user%08u.org", "%08u", "%07u!", "aaaa%012u"};
    for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
        unsigned chains[256] = {0}, longest = 0;
        for (unsigned i = 0; i < 1024; i++) {
            char name[32];
            int len = snprintf(name, sizeof(name), forms[f], i);
            unsigned hash;
            HASH_FUNCTION(name, (unsigned) len, hash);
            unsigned n = ++chains[hash & 255];
            longest = n > longest ? n : longest;
        }
        assert_in_range(longest, 4, 24);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_rise_also_when_the_clock_steps_back),
        cmocka_unit_test(counting_up_leaves_room_within_a_millisecond),
        cmocka_unit_test(text_is_what_the_specification_says),
        cmocka_unit_test(text_and_bytes_agree),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(keys_that_begin_or_end_alike_are_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
