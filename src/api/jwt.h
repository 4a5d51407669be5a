/* jwt.h: session tokens that applications mint themselves (contract section 2): RFC 7519 signed by HS256 or EdDSA (RFC 7515, 8037). */
#ifndef BOWLINE_API_JWT_H
#define BOWLINE_API_JWT_H

#include "base/arena.h"
#include "base/buf.h"
#include "engine/cmd.h"

#define JWT_TEXT_MAX 8192
#define JWT_SKEW_S 60
#define JWT_LIFE_S 86400
#define JWT_SECRET_LEAST 32 /* bytes of a secret for HS256 */

enum jwt_alg { JWT_HS256, JWT_EDDSA };

struct jwt_key {
    enum jwt_alg alg;
    struct str kid; /* none: serves tokens with any kid or none; otherwise only those that name it */
    struct str key; /* in memory for secrets (base/secret.h). HS256: the secret's bytes; EdDSA: 32 bytes */
};
struct jwt_keys {
    struct jwt_key *at;
    unsigned count;
    struct arena arena;
};

/* Reads the options jwt_secrets and jwt_public_keys. 0, or -1 with a sentence that names the option. */
int jwt_keys_read(struct jwt_keys *keys, const char *secrets, const char *public_keys, struct buf *err) MUST_CHECK;
void jwt_keys_fini(struct jwt_keys *keys);

/*
 * True if the structure, the signature and the claims are good at wall_ms; ret_cred is then a CRED_JWT whose texts lie in a.
 * Whether its session lives is for the engine to say.
 */
bool jwt_verify(const struct jwt_keys *keys, struct str text, int64_t wall_ms, struct arena *a, struct cred *ret_cred) MUST_CHECK;

#endif
