#include "base/crypto.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define SHA256_BLOCK 64

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

/* ---- SHA-256 ---- */

/*
 * Fetching the algorithm and making a context cost more than hashing a token, so one is fetched for all and each thread keeps one context.
 */
static EVP_MD *sha256_md;
static pthread_key_t sha256_key;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static _Thread_local EVP_MD_CTX *sha256_ctx;

static void sha256_free(void *ctx) {
    EVP_MD_CTX_free(ctx);
}

static void sha256_start(void) {
    sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!sha256_md || pthread_key_create(&sha256_key, sha256_free) != 0) {
        fprintf(stderr, "bowline: OpenSSL has no SHA-256\n");
        abort();
    }
}

static EVP_MD_CTX *sha256_thread_ctx(void) {
    if (!sha256_ctx) {
        pthread_once(&sha256_once, sha256_start);
        sha256_ctx = EVP_MD_CTX_new();
        if (!sha256_ctx || pthread_setspecific(sha256_key, sha256_ctx) != 0) {
            fprintf(stderr, "bowline: out of memory\n");
            abort();
        }
    }
    return sha256_ctx;
}

/* The hash of first followed by data. */
static void sha256_two(const void *first, size_t first_len, const void *data, size_t len, uint8_t out[SHA256_BYTES]) {
    EVP_MD_CTX *ctx = sha256_thread_ctx();
    int ok = EVP_DigestInit_ex2(ctx, sha256_md, NULL);
    ok = ok && (first_len == 0 || EVP_DigestUpdate(ctx, first, first_len));
    ok = ok && (len == 0 || EVP_DigestUpdate(ctx, data, len));
    ok = ok && EVP_DigestFinal_ex(ctx, out, NULL);
    assert(ok);
}

void crypto_sha256(struct str data, uint8_t out[SHA256_BYTES]) {
    sha256_two(NULL, 0, data.p, data.len, out);
}

/* RFC 2104 */
void crypto_hmac_sha256(const uint8_t *key, size_t key_len, struct str data, uint8_t out[SHA256_BYTES]) {
    uint8_t block[SHA256_BLOCK] = {0}, pad[SHA256_BLOCK], inner[SHA256_BYTES];
    if (key_len > SHA256_BLOCK) {
        crypto_sha256(str_n((const char *) key, key_len), block);
    } else if (key_len) {
        memcpy(block, key, key_len);
    }
    for (int i = 0; i < SHA256_BLOCK; i++) {
        pad[i] = block[i] ^ 0x36;
    }
    sha256_two(pad, sizeof(pad), data.p, data.len, inner);
    for (int i = 0; i < SHA256_BLOCK; i++) {
        pad[i] = block[i] ^ 0x5c;
    }
    sha256_two(pad, sizeof(pad), inner, sizeof(inner), out);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(pad, sizeof(pad));
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

static void keyset_derive(struct keyset *set, struct str secret) {
    crypto_hkdf_sha256(secret, STR("bowline 1 tokens"), set->tokens);
    crypto_hkdf_sha256(secret, STR("bowline 1 session keys"), set->session_keys);
    crypto_hkdf_sha256(secret, STR("bowline 1 idempotency"), set->idempotency);
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
