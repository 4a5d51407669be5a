#include "unit.h"

#include "base/crypto.h"

#include <pthread.h>

static size_t unhex(const char *z, uint8_t *out) {
    size_t n = strlen(z) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(z + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t) v;
    }
    return n;
}

static void assert_hex(const uint8_t *got, const char *hex) {
    uint8_t want[256];
    size_t n = unhex(hex, want);
    assert_memory_equal(got, want, n);
}

static void sha256_vectors(void **state) { /* FIPS 180-4 */
    (void) state;
    uint8_t out[32];
    crypto_sha256(STR("abc"), out);
    assert_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_sha256(STR(""), out);
    assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_sha256(STR_NONE, out);
    assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_sha256(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), out);
    assert_hex(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void hmac_vectors(void **state) { /* RFC 4231 */
    (void) state;
    static const struct {
        const char *key, *data, *mac;
    } rows[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
         "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        {"0102030405060708090a0b0c0d0e0f10111213141516171819",
         "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
         "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
        {"0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c", "546573742057697468205472756e636174696f6e", "a3b6167473100ee06e0c796c2955552b"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t key[64], data[64], out[32];
        size_t key_len = unhex(rows[i].key, key), len = unhex(rows[i].data, data);
        crypto_hmac_sha256(key, key_len, str_n((const char *) data, len), out);
        assert_hex(out, rows[i].mac);
    }
    uint8_t key[131], out[32];
    memset(key, 0xaa, sizeof(key));
    crypto_hmac_sha256(key, sizeof(key), STR("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    assert_hex(out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    crypto_hmac_sha256(key, sizeof(key),
                       STR("This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
                           "hashed before being used by the HMAC algorithm."),
                       out);
    assert_hex(out, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
    crypto_hmac_sha256(NULL, 0, STR(""), out);
    assert_hex(out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void hkdf_vector(void **state) { /* RFC 5869, A.3: empty salt and info; the first 32 of its 42 bytes */
    (void) state;
    uint8_t secret[22], out[32];
    memset(secret, 0x0b, sizeof(secret));
    crypto_hkdf_sha256(str_n((const char *) secret, sizeof(secret)), STR(""), out);
    assert_hex(out, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

static void ed25519_vectors(void **state) { /* RFC 8032, 7.1 */
    (void) state;
    static const struct {
        const char *key, *message, *signature;
    } rows[] = {
        {"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
        {"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
        {"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t key[32], message[8], signature[64];
        unhex(rows[i].key, key);
        size_t len = unhex(rows[i].message, message);
        unhex(rows[i].signature, signature);
        struct str m = str_n((const char *) message, len), s = str_n((const char *) signature, 64);
        assert_true(crypto_ed25519_verify(key, m, s));
        assert_false(crypto_ed25519_verify(key, m, str_n(s.p, 63)));
        signature[i] ^= 1;
        assert_false(crypto_ed25519_verify(key, m, s));
        signature[i] ^= 1;
        assert_false(crypto_ed25519_verify(key, STR("other"), s));
        key[0] ^= 1;
        assert_false(crypto_ed25519_verify(key, m, s));
    }
    assert_false(crypto_ed25519_verify((uint8_t[32]){0}, STR_NONE, STR_NONE));
}

static void base64_vectors(void **state) { /* RFC 4648, section 10 */
    (void) state;
    static const struct {
        const char *plain, *padded, *url;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xfb\xff\xbf", "+/+/", "-_-_"},
    };
    struct buf b = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_clear(&b);
        buf_base64(&b, rows[i].plain, strlen(rows[i].plain));
        assert_buf(&b, rows[i].padded);
        buf_clear(&b);
        buf_base64url(&b, rows[i].plain, strlen(rows[i].plain));
        assert_buf(&b, rows[i].url);
        buf_clear(&b);
        buf_puts(&b, "before:");
        assert_true(base64_decode(str_of(rows[i].padded), &b));
        assert_true(base64url_decode(str_of(rows[i].url), &b));
        assert_int_equal(b.len, 7 + 2 * strlen(rows[i].plain));
        assert_memory_equal(b.data + 7, rows[i].plain, strlen(rows[i].plain));
    }
    buf_fini(&b);
}

static void base64_is_strict(void **state) {
    (void) state;
    static const char *const padded[] = {
        "Zg", "Zg=", "Z===", "Zg==Zg==", "====", "=", "Zh==", "Zm9=", "Zm9v\n", " Zm9v", "Zm-_", "Zm9vYg==\n", "Zm9*"};
    static const char *const url[] = {"Z", "Zg==", "Zh", "Zm9", "Zm+/", "Zm9vY", "Zm 9", "Zm9v="};
    struct buf b = {0};
    buf_puts(&b, "x");
    for (size_t i = 0; i < sizeof(padded) / sizeof(padded[0]); i++) {
        assert_false(base64_decode(str_of(padded[i]), &b));
        assert_int_equal(b.len, 1);
    }
    for (size_t i = 0; i < sizeof(url) / sizeof(url[0]); i++) {
        assert_false(base64url_decode(str_of(url[i]), &b));
        assert_int_equal(b.len, 1);
    }
    assert_false(base64url_decode(str_n("Zm9\0", 4), &b));
    assert_true(base64url_decode(STR_NONE, &b));
    buf_fini(&b);
}

static void base64_reads_back(void **state) {
    (void) state;
    uint64_t seed = 9;
    struct buf text = {0}, back = {0};
    for (size_t len = 0; len < 300; len++) {
        uint8_t data[300];
        for (size_t i = 0; i < len; i++) {
            data[i] = (uint8_t) (unit_random(&seed) >> 40);
        }
        buf_clear(&text);
        buf_clear(&back);
        buf_base64(&text, data, len);
        assert_true(base64_decode(buf_view(&text), &back));
        buf_clear(&text);
        buf_base64url(&text, data, len);
        assert_true(base64url_decode(buf_view(&text), &back));
        assert_int_equal(back.len, 2 * len);
        if (len) {
            assert_memory_equal(back.data, data, len);
            assert_memory_equal(back.data + len, data, len);
        }
    }
    buf_fini(&text);
    buf_fini(&back);
}

static void a_secret_file_gives_a_set_per_line(void **state) {
    (void) state;
    struct keyring ring, one;
    char err[160] = "";
    assert_int_equal(keyring_read(&ring, STR("# comment\n\n  0123456789abcdef0123456789abcdef \r\n\tABCDEF0123456789ABCDEF0123456789"), err), 0);
    assert_int_equal(ring.count, 2);
    assert_memory_not_equal(&ring.set[0].tokens, &ring.set[1].tokens, sizeof ring.set[0].tokens);
    assert_memory_not_equal(&ring.set[0].tokens, &ring.set[0].session_keys, sizeof ring.set[0].tokens);
    assert_memory_not_equal(&ring.set[0].tokens, &ring.set[0].idempotency, sizeof ring.set[0].tokens);
    assert_memory_not_equal(&ring.set[0].session_keys, &ring.set[0].idempotency, sizeof ring.set[0].session_keys);
    assert_int_equal(keyring_read(&one, STR("0123456789abcdef0123456789abcdef"), err), 0);
    assert_memory_equal(&one.set[0].tokens, &ring.set[0].tokens, sizeof one.set[0].tokens);
}

static void a_bad_secret_file_is_refused(void **state) {
    (void) state;
    struct keyring ring = {.count = 7};
    char err[160] = "";
    assert_int_equal(keyring_read(&ring, STR(""), err), -1);
    assert_string_equal(err, "the secret file has no secret");
    assert_int_equal(keyring_read(&ring, STR("# only\n"), err), -1);
    assert_int_equal(keyring_read(&ring, STR("\n0123456789abcdef0123456789abcde \n"), err), -1);
    assert_string_equal(err, "line 2 of the secret file is shorter than 32 characters");
    struct buf many = {0};
    for (int i = 0; i < SECRET_LINES_MAX + 1; i++) {
        buf_puts(&many, "0123456789abcdef0123456789abcdef\n");
    }
    assert_int_equal(keyring_read(&ring, buf_view(&many), err), -1);
    assert_string_equal(err, "the secret file has more than 16 secrets");
    buf_fini(&many);
    assert_int_equal(ring.count, 7);
}

/* NULL when all was right. */
static void *hash_in_a_thread(void *arg) {
    uint8_t out[32];
    for (int i = 0; i < 2000; i++) {
        crypto_hmac_sha256((const uint8_t *) "Jefe", 4, STR("what do ya want for nothing?"), out);
        if (out[0] != 0x5b || out[31] != 0x43) {
            return arg;
        }
    }
    return NULL;
}

static void threads_hash_side_by_side(void **state) {
    (void) state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hash_in_a_thread, threads), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

static void random_bytes_differ(void **state) {
    (void) state;
    uint8_t a[600] = {0}, b[600] = {0};
    crypto_random(NULL, a, sizeof(a));
    crypto_random(NULL, b, sizeof(b));
    assert_memory_not_equal(a, b, 300);
    assert_memory_not_equal(a + 300, b + 300, 300);
    assert_true(crypto_equal(a, a, 600));
    assert_false(crypto_equal(a, b, 600));
    assert_true(crypto_equal(a, b, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_vectors),
        cmocka_unit_test(hmac_vectors),
        cmocka_unit_test(hkdf_vector),
        cmocka_unit_test(ed25519_vectors),
        cmocka_unit_test(base64_vectors),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(base64_reads_back),
        cmocka_unit_test(a_secret_file_gives_a_set_per_line),
        cmocka_unit_test(a_bad_secret_file_is_refused),
        cmocka_unit_test(threads_hash_side_by_side),
        cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
