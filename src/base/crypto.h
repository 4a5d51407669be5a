/* crypto.h: the few primitives that we take from OpenSSL, and the installation's keys derived from its secret. */
#ifndef BOWLINE_BASE_CRYPTO_H
#define BOWLINE_BASE_CRYPTO_H

#include "base/buf.h"
#include "base/str.h"

#include <openssl/sha.h>
#include <stdint.h>

#define SHA1_BYTES SHA_DIGEST_LENGTH
#define SHA256_BYTES SHA256_DIGEST_LENGTH
#define SECRET_LINES_MAX 16

void crypto_random(void *arg, void *out, size_t len);                               /* arg unused; aborts if the kernel has no randomness */
void crypto_sha1_two(struct str first, struct str second, uint8_t out[SHA1_BYTES]); /* of both together; for WebSocket's handshake only */
void crypto_sha256(struct str data, uint8_t out[SHA256_BYTES]);
/* HMAC (RFC 2104) with SHA-256. A key that is used again and again is made ready once. */
struct hmac_key {
    SHA256_CTX inner, outer; /* behind the block that holds the key */
};
void crypto_hmac_init(struct hmac_key *ret_key, const uint8_t *key, size_t key_len);
void crypto_hmac(const struct hmac_key *key, struct str data, uint8_t out[SHA256_BYTES]);
void crypto_hmac_sha256(const uint8_t *key, size_t key_len, struct str data, uint8_t out[SHA256_BYTES]); /* both */
/* RFC 5869 with an empty salt; 32 bytes. */
void crypto_hkdf_sha256(struct str secret, struct str info, uint8_t out[SHA256_BYTES]);
bool crypto_equal(const void *a, const void *b, size_t len); /* constant time */
/* Ed25519 (RFC 8032): public key 32 bytes, signature 64 bytes. */
bool crypto_ed25519_verify(const uint8_t public_key[32], struct str message, struct str signature);

/* base64url without padding (RFC 4648 section 5) */
#define BASE64URL_LEN(bytes) (((bytes) *4 + 2) / 3)
void base64url_write(const void *data, size_t len, char *out); /* BASE64URL_LEN(len) characters */
void buf_base64url(struct buf *b, const void *data, size_t len);
/* Standard base64 with padding (section 4). */
void buf_base64(struct buf *b, const void *data, size_t len);
/* Strict: no padding, no stray bits. Appends to out. */
bool base64url_decode(struct str text, struct buf *out) MUST_CHECK;
/* Strict: padding required, no white space, no stray bits. Appends to out. */
bool base64_decode(struct str text, struct buf *out) MUST_CHECK;

/* One set per line of the secret file; the first signs, all verify. */
struct keyring {
    unsigned count;
    struct keyset {
        struct hmac_key tokens;       /* MAC of tokens */
        struct hmac_key session_keys; /* hash of session keys */
        struct hmac_key idempotency;  /* hash of idempotency scopes */
    } set[SECRET_LINES_MAX];
};

/*
 * Reads the text of a secret file: one secret per line (at least 32 characters after trimming), blank lines and lines
 * that start with # passed over. 0, or -1 with a sentence in err.
 */
int keyring_read(struct keyring *ring, struct str text, char err[160]) MUST_CHECK;

#endif
