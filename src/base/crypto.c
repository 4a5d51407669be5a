#define OPENSSL_API_COMPAT 10101 /* SHA256_Init and its kin: "deprecated" in 3.0 in favour of what allocates memory for each hash */
#include "base/crypto.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void crypto_random(void *arg, void *out, size_t len) {
    (void) arg;
    unsigned char *p = out;
    while (len) {
        size_t want = len < 256 ? len : 256; /* never interrupted up to here, once the pool is ready (getrandom(2)) */
        ssize_t n = getrandom(p, want, 0);
        if (n < 0) {
            fprintf(stderr, "bowline: the kernel gives no randomness\n");
            abort();
        }
        p += n;
        len -= (size_t) n;
    }
}

/* ---- hashes ---- */

/*
 * Through the functions that need no context from the heap: fetching the algorithm and making a context cost more than hashing a token, and OpenSSL's
 * providers, which only that would load, 1.6 MB. They cannot fail.
 */
void crypto_sha1_two(struct str first, struct str second, uint8_t out[SHA1_BYTES]) {
    SHA_CTX ctx;
    SHA1_Init(&ctx);
    SHA1_Update(&ctx, first.p ? first.p : "", first.len);
    SHA1_Update(&ctx, second.p ? second.p : "", second.len);
    SHA1_Final(out, &ctx);
}

void crypto_sha256(struct str data, uint8_t out[SHA256_BYTES]) {
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    if (data.len) {
        SHA256_Update(&ctx, data.p, data.len);
    }
    SHA256_Final(out, &ctx);
}

static void pad_hash(SHA256_CTX *ctx, const uint8_t block[SHA256_CBLOCK], uint8_t with) {
    uint8_t pad[SHA256_CBLOCK];
    for (int i = 0; i < SHA256_CBLOCK; i++) {
        pad[i] = block[i] ^ with;
    }
    SHA256_Init(ctx);
    SHA256_Update(ctx, pad, sizeof(pad));
    OPENSSL_cleanse(pad, sizeof(pad));
}

void crypto_hmac_init(struct hmac_key *ret_key, const uint8_t *key, size_t key_len) {
    uint8_t block[SHA256_CBLOCK] = {0};
    if (key_len > sizeof(block)) {
        crypto_sha256(str_n((const char *) key, key_len), block);
    } else if (key_len) {
        memcpy(block, key, key_len);
    }
    pad_hash(&ret_key->inner, block, 0x36);
    pad_hash(&ret_key->outer, block, 0x5c);
    OPENSSL_cleanse(block, sizeof(block));
}

void crypto_hmac(const struct hmac_key *key, struct str data, uint8_t out[SHA256_BYTES]) {
    SHA256_CTX ctx = key->inner;
    if (data.len) {
        SHA256_Update(&ctx, data.p, data.len);
    }
    SHA256_Final(out, &ctx);
    ctx = key->outer;
    SHA256_Update(&ctx, out, SHA256_BYTES);
    SHA256_Final(out, &ctx);
}

void crypto_hmac_sha256(const uint8_t *key, size_t key_len, struct str data, uint8_t out[SHA256_BYTES]) {
    struct hmac_key made;
    crypto_hmac_init(&made, key, key_len);
    crypto_hmac(&made, data, out);
    OPENSSL_cleanse(&made, sizeof(made));
}

void crypto_hkdf_sha256(struct str secret, struct str info, uint8_t out[SHA256_BYTES]) {
    static const uint8_t no_salt[SHA256_BYTES];
    uint8_t prk[SHA256_BYTES];
    crypto_hmac_sha256(no_salt, sizeof(no_salt), secret, prk);
    struct buf b = {0};
    buf_str(&b, info);
    buf_char(&b, 1);
    assert(!b.failed);
    crypto_hmac_sha256(prk, sizeof(prk), buf_view(&b), out);
    buf_fini(&b);
    OPENSSL_cleanse(prk, sizeof(prk));
}

bool crypto_equal(const void *a, const void *b, size_t len) {
    return CRYPTO_memcmp(a, b, len) == 0;
}

bool crypto_ed25519_verify(const uint8_t public_key[32], struct str message, struct str signature) {
    if (signature.len != 64) {
        return false;
    }
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestVerify(ctx, (const unsigned char *) signature.p, signature.len, (const unsigned char *) (message.p ? message.p : ""),
                               message.len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok;
}

/* ---- the installation's keys ---- */

static void key_derive(struct hmac_key *ret_key, struct str secret, struct str purpose) {
    uint8_t key[SHA256_BYTES];
    crypto_hkdf_sha256(secret, purpose, key);
    crypto_hmac_init(ret_key, key, sizeof(key));
    OPENSSL_cleanse(key, sizeof(key));
}

static void keyset_derive(struct keyset *set, struct str secret) {
    key_derive(&set->tokens, secret, STR("bowline 1 tokens"));
    key_derive(&set->session_keys, secret, STR("bowline 1 session keys"));
    key_derive(&set->idempotency, secret, STR("bowline 1 idempotency"));
}

static int keyring_add(struct keyring *ring, struct str secret, unsigned line, char err[160]) {
    if (secret.len == 0 || secret.p[0] == '#') {
        return 0;
    }
    if (secret.len < 32) {
        snprintf(err, 160, "line %u of the secret file is shorter than 32 characters", line);
        return -1;
    }
    if (ring->count == SECRET_LINES_MAX) {
        snprintf(err, 160, "the secret file has more than %d secrets", SECRET_LINES_MAX);
        return -1;
    }
    keyset_derive(&ring->set[ring->count++], secret);
    return 0;
}

int keyring_read(struct keyring *ring, struct str text, char err[160]) {
    struct keyring made = {0};
    for (unsigned line = 1; text.len; line++) {
        const char *end = memchr(text.p, '\n', text.len);
        size_t len = end ? (size_t) (end - text.p) : text.len;
        if (keyring_add(&made, str_trim(str_n(text.p, len)), line, err) != 0) {
            OPENSSL_cleanse(&made, sizeof(made));
            return -1;
        }
        text = str_from(text, end ? len + 1 : len);
    }
    if (made.count == 0) {
        snprintf(err, 160, "the secret file has no secret");
        return -1;
    }
    *ring = made;
    OPENSSL_cleanse(&made, sizeof(made));
    return 0;
}
