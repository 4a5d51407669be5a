/* Tokens: what this installation signed counts, and nothing that was touched since. */
#include "unit.h"

#include "domain/session.h"
#include "domain/token.h"

static struct keyring ring_of(const char *text) {
    struct keyring ring;
    char err[160];
    assert_int_equal(keyring_read(&ring, str_of(text), err), 0);
    return ring;
}

#define SECRET_A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
#define SECRET_B "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210\n"

static void a_token_reads_back(void **state) {
    (void) state;
    struct keyring ring = ring_of(SECRET_A);
    for (int kind = TOKEN_SESSION; kind <= TOKEN_WORKER; kind++) {
        struct token t = {.kind = (enum token_kind) kind, .id = {{1, 2, 3}}, .gen = 4294967295u}, back;
        struct buf text = {0};
        token_write(&ring, t, &text);
        assert_true(token_verify(&ring, buf_view(&text), &back));
        assert_int_equal(back.kind, kind);
        assert_int_equal(back.gen, t.gen);
        assert_true(id_eq(back.id, t.id));
        assert_true(text.len <= TOKEN_TEXT_MAX);
        buf_fini(&text);
    }
}

static void any_change_of_any_byte_kills_it(void **state) {
    (void) state;
    struct keyring ring = ring_of(SECRET_A);
    struct buf text = {0};
    struct token back;
    token_write(&ring, (struct token){TOKEN_WATCH, {{9}}, 12}, &text);
    for (size_t i = 0; i < text.len; i++) {
        char was = text.data[i];
        for (int c = 33; c < 127; c++) {
            text.data[i] = (char) c;
            assert_int_equal(token_verify(&ring, buf_view(&text), &back), c == was);
        }
        text.data[i] = was;
    }
    for (size_t len = 0; len < text.len; len++) {
        assert_false(token_verify(&ring, str_n(text.data, len), &back));
    }
    buf_fini(&text);
}

static void the_first_secret_signs_and_all_verify(void **state) {
    (void) state;
    struct keyring old = ring_of(SECRET_A), both = ring_of(SECRET_B SECRET_A), fresh = ring_of(SECRET_B);
    struct buf text = {0};
    struct token back;
    token_write(&old, (struct token){TOKEN_SESSION, {{9}}, 1}, &text);
    assert_true(token_verify(&both, buf_view(&text), &back));
    assert_false(token_verify(&fresh, buf_view(&text), &back));
    buf_clear(&text);
    token_write(&both, (struct token){TOKEN_SESSION, {{9}}, 1}, &text);
    assert_true(token_verify(&fresh, buf_view(&text), &back));
    assert_false(token_verify(&old, buf_view(&text), &back));
    buf_fini(&text);
}

static void a_session_ends_by_the_earlier_of_its_clocks(void **state) {
    (void) state;
    enum end_reason reason;
    struct session s = {.created_at = 1000, .active_at = 5000, .idle_timeout_ms = 100, .max_age_ms = 10000};
    assert_int_equal(session_expires_at(&s, &reason), 5100);
    assert_int_equal(reason, REASON_IDLE);
    s.active_at = 10950;
    assert_int_equal(session_expires_at(&s, &reason), 11000);
    assert_int_equal(reason, REASON_MAX_AGE);
    s.max_age_ms = 0;
    assert_int_equal(session_expires_at(&s, &reason), 11050);
    s.idle_timeout_ms = 0;
    assert_int_equal(session_expires_at(&s, &reason), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_reads_back),
        cmocka_unit_test(any_change_of_any_byte_kills_it),
        cmocka_unit_test(the_first_secret_signs_and_all_verify),
        cmocka_unit_test(a_session_ends_by_the_earlier_of_its_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
