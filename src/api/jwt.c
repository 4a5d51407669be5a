#include "api/jwt.h"

#include "api/decode.h"
#include "api/http_text.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/secret.h"

#include <math.h>

/* ---- keys ---- */

static void key_add(struct jwt_keys *keys, enum jwt_alg alg, struct str kid, struct str key) {
    struct jwt_key *more = arena_alloc(&keys->arena, (keys->count + 1) * sizeof *more);
    if (more) {
        if (keys->count) {
            memcpy(more, keys->at, keys->count * sizeof *more);
        }
        more[keys->count++] = (struct jwt_key){alg, arena_str(&keys->arena, kid), str_n(secret_strdup(key), key.len)};
        keys->at = more;
    }
}

static void kid_split(struct str item, struct str *ret_kid, struct str *ret_key) {
    const char *colon = memchr(item.p, ':', item.len);
    *ret_kid = colon ? str_n(item.p, (size_t) (colon - item.p)) : STR_NONE;
    *ret_key = colon ? str_from(item, ret_kid->len + 1) : item;
}

int jwt_keys_read(struct jwt_keys *keys, const char *secrets, const char *public_keys, struct buf *err) {
    struct str rest = str_of(secrets), item, kid, key;
    *keys = (struct jwt_keys){0};
    while (list_next(&rest, &item)) {
        kid_split(item, &kid, &key);
        if (!key.len || (kid.p && !kid.len)) {
            buf_puts(err, "jwt_secrets: each must be SECRET or KID:SECRET, and neither may be empty");
            jwt_keys_fini(keys);
            return -1;
        }
        if (key.len < JWT_SECRET_LEAST) { /* RFC 7518, section 3.2 */
            buf_printf(err, "jwt_secrets: the %u. one has %zu bytes; HS256 wants at least %d\n  ", keys->count + 1, key.len, JWT_SECRET_LEAST);
            buf_puts(err, "make a good one: head -c 32 /dev/urandom | base64");
            jwt_keys_fini(keys);
            return -1;
        }
        key_add(keys, JWT_HS256, kid, key);
    }
    rest = str_of(public_keys);
    while (list_next(&rest, &item)) {
        struct buf raw = {0};
        kid_split(item, &kid, &key);
        if (base64url_decode(key, &raw) && raw.len == 32 && !(kid.p && !kid.len)) {
            key_add(keys, JWT_EDDSA, kid, buf_view(&raw));
        } else {
            buf_puts(err, "jwt_public_keys: each must be KEY or KID:KEY, where KEY is an Ed25519 public key (32 bytes) as base64url");
        }
        buf_fini(&raw);
    }
    if (err->len) {
        jwt_keys_fini(keys);
        return -1;
    }
    return 0;
}

void jwt_keys_fini(struct jwt_keys *keys) {
    for (unsigned i = 0; i < keys->count; i++) {
        secret_free((char *) (uintptr_t) keys->at[i].key.p);
    }
    arena_fini(&keys->arena);
    *keys = (struct jwt_keys){0};
}

/* ---- structure and signature ---- */

struct jwt_parts {
    struct str header, payload, signature; /* still encoded */
    struct str message;                    /* header and payload with the dot between */
};

static bool parts_split(struct str text, struct jwt_parts *ret) {
    const char *first = memchr(text.p, '.', text.len), *end = text.p + text.len;
    const char *second = first ? memchr(first + 1, '.', (size_t) (end - first - 1)) : NULL;
    if (!second || memchr(second + 1, '.', (size_t) (end - second - 1))) {
        return false;
    }
    ret->header = str_n(text.p, (size_t) (first - text.p));
    ret->payload = str_n(first + 1, (size_t) (second - first - 1));
    ret->signature = str_n(second + 1, (size_t) (end - second - 1));
    ret->message = str_n(text.p, (size_t) (second - text.p));
    return true;
}

/* The JSON object in one part, or NULL. */
static struct json *part_parse(struct arena *a, struct str encoded) {
    struct buf raw = {0};
    struct json *root = NULL;
    struct json_error err;
    if (base64url_decode(encoded, &raw) && !raw.failed) {
        struct str text = arena_str(a, buf_view(&raw));
        if (!text.p || json_parse(a, text, 16, &root, &err) < 0 || root->type != JSON_OBJECT) {
            root = NULL;
        }
    }
    buf_fini(&raw);
    return root;
}

static bool member_is(const struct json *v, const char *text) {
    return v && v->type == JSON_STRING && str_eqz(v->string, text);
}

/* alg and kid; an extension that must be understood is refused. */
static bool header_read(const struct json *header, enum jwt_alg *ret_alg, struct str *ret_kid) {
    const struct json *alg = json_get(header, "alg"), *kid = json_get(header, "kid");
    if (json_get(header, "crit") || (kid && kid->type != JSON_STRING) || !(member_is(alg, "HS256") || member_is(alg, "EdDSA"))) {
        return false;
    }
    *ret_alg = member_is(alg, "HS256") ? JWT_HS256 : JWT_EDDSA;
    *ret_kid = kid ? kid->string : STR_NONE;
    return true;
}

static bool key_signed(const struct jwt_key *key, struct str message, struct str signature) {
    if (key->alg == JWT_EDDSA) {
        return signature.len == 64 && crypto_ed25519_verify((const uint8_t *) key->key.p, message, signature);
    }
    uint8_t mac[SHA256_BYTES];
    crypto_hmac_sha256((const uint8_t *) key->key.p, key->key.len, message, mac);
    return signature.len == SHA256_BYTES && crypto_equal(mac, signature.p, SHA256_BYTES);
}

static bool key_is(const struct jwt_key *key, enum jwt_alg alg, struct str kid) {
    return key->alg == alg && key->key.p && kid.p && key->kid.p && str_eq(key->kid, kid);
}

/* The keys of that name, where it has one that we know; else those without a name. */
static bool signature_good(const struct jwt_keys *keys, enum jwt_alg alg, struct str kid, const struct jwt_parts *parts) {
    struct buf signature = {0};
    bool good = false, known = false;
    for (unsigned i = 0; i < keys->count; i++) {
        known |= key_is(&keys->at[i], alg, kid);
    }
    if (base64url_decode(parts->signature, &signature) && !signature.failed) {
        for (unsigned i = 0; i < keys->count && !good; i++) {
            const struct jwt_key *key = &keys->at[i];
            if (known ? key_is(key, alg, kid) : key->alg == alg && key->key.p && !key->kid.p) {
                good = key_signed(key, parts->message, buf_view(&signature));
            }
        }
    }
    buf_fini(&signature);
    return good;
}

/* ---- claims ---- */

static bool date_read(const struct json *v, double *ret) {
    if (!v || v->type != JSON_NUMBER || !(v->num >= 0) || !(v->num < 253402300800.0)) {
        return false;
    }
    *ret = v->num;
    return true;
}

static bool times_good(const struct json *claims, double now_s, double *ret_iat, double *ret_exp) {
    double nbf = 0;
    if (!date_read(json_get(claims, "iat"), ret_iat) || !date_read(json_get(claims, "exp"), ret_exp) ||
        (json_get(claims, "nbf") && !date_read(json_get(claims, "nbf"), &nbf))) {
        return false;
    }
    return *ret_iat <= now_s + JWT_SKEW_S && nbf <= now_s + JWT_SKEW_S && *ret_exp > now_s && *ret_exp > *ret_iat &&
           *ret_exp - *ret_iat <= JWT_LIFE_S;
}

static bool audience_good(const struct json *aud) {
    bool found = member_is(aud, "bowline");
    for (const struct json *v = aud && aud->type == JSON_ARRAY ? aud->child : NULL; v; v = v->next) {
        if (v->type != JSON_STRING) {
            return false;
        }
        found |= member_is(v, "bowline");
    }
    return found;
}

static bool claims_read(const struct json *claims, int64_t wall_ms, struct cred *ret) {
    const struct json *sid = json_get(claims, "sid"), *sub = json_get(claims, "sub");
    double iat, exp;
    if (!times_good(claims, (double) wall_ms / 1000, &iat, &exp) || !audience_good(json_get(claims, "aud")) || !sid || sid->type != JSON_STRING ||
        sid->string.len < 1 || sid->string.len > 512 || (sub && (sub->type != JSON_STRING || !user_valid(sub->string)))) {
        return false;
    }
    *ret = (struct cred){.kind = CRED_JWT, .sid = sid->string, .sub = sub ? sub->string : STR_NONE};
    ret->iat_s = (int64_t) floor(iat);
    ret->exp_ms = (int64_t) (exp * 1000);
    return true;
}

bool jwt_verify(const struct jwt_keys *keys, struct str text, int64_t wall_ms, struct arena *a, struct cred *ret_cred) {
    struct jwt_parts parts;
    enum jwt_alg alg;
    struct str kid;
    if (!keys->count || text.len > JWT_TEXT_MAX || !parts_split(text, &parts) || !parts.signature.len) {
        return false;
    }
    const struct json *header = part_parse(a, parts.header);
    if (!header || !header_read(header, &alg, &kid) || !signature_good(keys, alg, kid, &parts)) {
        return false;
    }
    const struct json *claims = part_parse(a, parts.payload);
    return claims && claims_read(claims, wall_ms, ret_cred);
}
