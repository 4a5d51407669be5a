/* Tokens that others sign are believed only if structure, signature and claims are all as they must be. */
#include "unit.h"

#include "api/jwt.h"
#include "base/crypto.h"

#define NOW_S 1300819000LL
#define SECRET "a secret of more than thirty-two bytes"

static const struct jwt_key hs_key = {JWT_HS256, {NULL, 0}, {SECRET, sizeof SECRET - 1}};

static bool verify_with(const struct jwt_key *key, unsigned count, struct str text, int64_t now_s, struct cred *ret) {
    static struct arena a;
    struct jwt_keys keys = {.at = (struct jwt_key *) (uintptr_t) key, .count = count};
    arena_fini(&a);
    return jwt_verify(&keys, text, now_s * 1000, &a, ret);
}

static void sign(const struct jwt_key *key, const char *header, const char *payload, struct buf *out) {
    uint8_t mac[SHA256_BYTES];
    buf_clear(out);
    buf_base64url(out, header, strlen(header));
    buf_char(out, '.');
    buf_base64url(out, payload, strlen(payload));
    crypto_hmac_sha256((const uint8_t *) key->key.p, key->key.len, buf_view(out), mac);
    buf_char(out, '.');
    buf_base64url(out, mac, sizeof mac);
}

static bool accepts(const char *header, const char *payload, struct cred *ret) {
    struct buf text = {0};
    struct cred cred;
    sign(&hs_key, header, payload, &text);
    bool good = verify_with(&hs_key, 1, buf_view(&text), NOW_S, ret ? ret : &cred);
    buf_fini(&text);
    return good;
}

#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define TIMES "\"iat\":1300818000,\"exp\":1300820000"
#define GOOD "{\"sid\":\"s1\",\"aud\":\"bowline\"," TIMES "}"

static void claims(void **state) {
    (void) state;
    static const struct {
        const char *payload;
        bool good;
    } cases[] = {
        {GOOD, true},
        {"{\"sid\":\"s\",\"sub\":\"u\",\"aud\":[\"x\",\"bowline\"]," TIMES ",\"more\":{}}", true},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300818000.5,\"exp\":1300820000.5,\"nbf\":1300819060}", true},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300819060,\"exp\":1300820000}", true},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300819061,\"exp\":1300820000}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\"," TIMES ",\"nbf\":1300819061}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\"," TIMES ",\"nbf\":\"now\"}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300818000,\"exp\":1300819000}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300818000,\"exp\":1300904400}", true},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300818000,\"exp\":1300904401}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300818000}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"exp\":1300820000}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":\"1300818000\",\"exp\":1300820000}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":-1,\"exp\":1300820000}", false},
        {"{\"sid\":\"s\",\"aud\":\"bowline\",\"iat\":1300818000,\"exp\":1e300}", false},
        {"{\"sid\":\"s\"," TIMES "}", false},
        {"{\"sid\":\"s\",\"aud\":\"Bowline\"," TIMES "}", false},
        {"{\"sid\":\"s\",\"aud\":[]," TIMES "}", false},
        {"{\"sid\":\"s\",\"aud\":[\"bowline\",1]," TIMES "}", false},
        {"{\"aud\":\"bowline\"," TIMES "}", false},
        {"{\"sid\":\"\",\"aud\":\"bowline\"," TIMES "}", false},
        {"{\"sid\":7,\"aud\":\"bowline\"," TIMES "}", false},
        {"{\"sid\":\"s\",\"sub\":\"\",\"aud\":\"bowline\"," TIMES "}", false},
        {"{\"sid\":\"s\",\"sub\":null,\"aud\":\"bowline\"," TIMES "}", false},
        {"{\"sid\":\"s\",\"sid\":\"t\",\"aud\":\"bowline\"," TIMES "}", false},
        {"[]", false},
        {"not json", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (accepts(HEADER, cases[i].payload, NULL) != cases[i].good) {
            fail_msg("%s", cases[i].payload);
        }
    }
    struct cred cred;
    assert_true(accepts(HEADER, cases[1].payload, &cred));
    assert_int_equal(cred.kind, CRED_JWT);
    assert_str(cred.sid, "s");
    assert_str(cred.sub, "u");
    assert_int_equal(cred.iat_s, 1300818000);
    assert_int_equal(cred.exp_ms, 1300820000000);
    assert_true(accepts(HEADER, cases[0].payload, &cred));
    assert_null(cred.sub.p);
}

static void headers(void **state) {
    (void) state;
    assert_true(accepts("{\"alg\":\"HS256\"}", GOOD, NULL));
    assert_true(accepts("{\"alg\":\"HS256\",\"kid\":\"any\"}", GOOD, NULL));
    assert_false(accepts("{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", GOOD, NULL));
    assert_false(accepts("{\"alg\":\"HS256\",\"crit\":null}", GOOD, NULL));
    assert_false(accepts("{\"alg\":\"HS256\",\"kid\":1}", GOOD, NULL));
    assert_false(accepts("{\"alg\":\"none\"}", GOOD, NULL));
    assert_false(accepts("{\"alg\":\"hs256\"}", GOOD, NULL));
    assert_false(accepts("{\"alg\":\"HS512\"}", GOOD, NULL));
    assert_false(accepts("{\"alg\":\"EdDSA\"}", GOOD, NULL));
    assert_false(accepts("{}", GOOD, NULL));
}

/* RFC 7515 appendix A.1: the signature is good, so changing anything in it is what must be noticed; the claims are not ours. */
static void rfc7515_a1(void **state) {
    (void) state;
    static const char message[] = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
                                  "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    struct buf key = {0}, mac_text = {0};
    uint8_t mac[SHA256_BYTES];
    struct cred cred;
    assert_true(base64url_decode(STR("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"), &key));
    crypto_hmac_sha256((const uint8_t *) key.data, key.len, str_of(message), mac);
    buf_base64url(&mac_text, mac, sizeof mac);
    assert_buf(&mac_text, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    /* with claims of ours under the same key */
    struct jwt_key k = {JWT_HS256, STR_NONE, buf_view(&key)};
    struct buf text = {0};
    sign(&k, "{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}", GOOD, &text);
    assert_true(verify_with(&k, 1, buf_view(&text), NOW_S, &cred));
    buf_fini(&text);
    buf_fini(&key);
    buf_fini(&mac_text);
}

/* RFC 8037 appendix A.4: the signature of that example, with its key; its payload is no object, so it goes no further than that. */
static void rfc8037_a4(void **state) {
    (void) state;
    struct buf key = {0}, signature = {0};
    assert_true(base64url_decode(STR("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), &key));
    assert_true(base64url_decode(STR("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"), &signature));
    assert_true(
        crypto_ed25519_verify((const uint8_t *) key.data, STR("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"), buf_view(&signature)));
    struct jwt_key k = {JWT_EDDSA, STR_NONE, buf_view(&key)};
    struct cred cred;
    assert_false(verify_with(&k, 1,
                             STR("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
                                 "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"),
                             NOW_S, &cred));
    buf_fini(&key);
    buf_fini(&signature);
}

static void public_keys_are_no_secrets(void **state) {
    (void) state;
    struct buf key = {0}, text = {0};
    struct cred cred;
    assert_true(base64url_decode(STR("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), &key));
    struct jwt_key as_secret = {JWT_HS256, STR_NONE, buf_view(&key)}, as_public = {JWT_EDDSA, STR_NONE, buf_view(&key)};
    sign(&as_secret, HEADER, GOOD, &text);
    assert_true(verify_with(&as_secret, 1, buf_view(&text), NOW_S, &cred));
    assert_false(verify_with(&as_public, 1, buf_view(&text), NOW_S, &cred));
    buf_fini(&text);
    buf_fini(&key);
}

static void keys_serve_the_tokens_that_name_them(void **state) {
    (void) state;
    struct jwt_keys keys;
    struct buf err = {0}, text = {0};
    struct cred cred;
    assert_int_equal(
        jwt_keys_read(&keys, "k1:" SECRET ", k2:another secret: with a colon in it", "k3:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", &err), 0);
    assert_int_equal(keys.count, 3);
    assert_str(keys.at[1].key, "another secret: with a colon in it");
    sign(&hs_key, "{\"alg\":\"HS256\",\"kid\":\"k1\"}", GOOD, &text);
    assert_true(verify_with(keys.at, 3, buf_view(&text), NOW_S, &cred));
    sign(&hs_key, "{\"alg\":\"HS256\",\"kid\":\"k2\"}", GOOD, &text);
    assert_false(verify_with(keys.at, 3, buf_view(&text), NOW_S, &cred));
    sign(&hs_key, "{\"alg\":\"HS256\",\"kid\":\"k9\"}", GOOD, &text);
    assert_false(verify_with(keys.at, 3, buf_view(&text), NOW_S, &cred));
    sign(&hs_key, HEADER, GOOD, &text);
    assert_false(verify_with(keys.at, 3, buf_view(&text), NOW_S, &cred));
    jwt_keys_fini(&keys);
    assert_int_equal(jwt_keys_read(&keys, "k2:another secret that is long enough, " SECRET, "", &err), 0);
    sign(&hs_key, "{\"alg\":\"HS256\",\"kid\":\"k2\"}", GOOD, &text);
    assert_false(verify_with(keys.at, 2, buf_view(&text), NOW_S, &cred)); /* a name that is known is that key's alone */
    sign(&hs_key, "{\"alg\":\"HS256\",\"kid\":\"k9\"}", GOOD, &text);
    assert_true(verify_with(keys.at, 2, buf_view(&text), NOW_S, &cred));
    jwt_keys_fini(&keys);
    assert_int_equal(jwt_keys_read(&keys, "a:", "", &err), -1);
    buf_clear(&err);
    assert_int_equal(jwt_keys_read(&keys, "k2:thirty-one bytes are one too few.", "", &err), 0);
    jwt_keys_fini(&keys);
    assert_int_equal(jwt_keys_read(&keys, "k2:thirty-one bytes are one too ..", "", &err), -1);
    buf_clear(&err);
    assert_int_equal(jwt_keys_read(&keys, "", "short", &err), -1);
    buf_fini(&err);
    buf_fini(&text);
}

static void malformed_and_oversized(void **state) {
    (void) state;
    struct buf text = {0}, bad = {0};
    struct cred cred;
    sign(&hs_key, HEADER, GOOD, &text);
    assert_true(verify_with(&hs_key, 1, buf_view(&text), NOW_S, &cred));
    for (size_t i = 0; i < text.len; i++) { /* cut short */
        assert_false(verify_with(&hs_key, 1, str_n(text.data, i), NOW_S, &cred));
    }
    for (size_t i = 0; i < text.len; i++) { /* one character changed */
        buf_clear(&bad);
        buf_str(&bad, buf_view(&text));
        bad.data[i] = bad.data[i] == 'A' ? 'B' : 'A';
        assert_false(verify_with(&hs_key, 1, buf_view(&bad), NOW_S, &cred));
    }
    static const char *const ends[] = {".", "=", ".x", "\n", " "};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        buf_clear(&bad);
        buf_str(&bad, buf_view(&text));
        buf_puts(&bad, ends[i]);
        assert_false(verify_with(&hs_key, 1, buf_view(&bad), NOW_S, &cred));
    }
    struct buf payload = {0};
    buf_puts(&payload, "{\"sid\":\"s1\",\"aud\":\"bowline\"," TIMES ",\"pad\":\"");
    for (int i = 0; i < JWT_TEXT_MAX; i++) {
        buf_char(&payload, 'x');
    }
    buf_puts(&payload, "\"}");
    assert_false(accepts(HEADER, buf_z(&payload), NULL));
    struct jwt_keys none = {0};
    struct arena a = {0};
    assert_false(jwt_verify(&none, buf_view(&text), NOW_S * 1000, &a, &cred));
    buf_fini(&payload);
    buf_fini(&text);
    buf_fini(&bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims),
        cmocka_unit_test(headers),
        cmocka_unit_test(rfc7515_a1),
        cmocka_unit_test(rfc8037_a4),
        cmocka_unit_test(public_keys_are_no_secrets),
        cmocka_unit_test(keys_serve_the_tokens_that_name_them),
        cmocka_unit_test(malformed_and_oversized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
