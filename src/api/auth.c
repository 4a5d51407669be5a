#include "api/internal.h"

#include "base/clock.h"
#include "domain/token.h"

static bool refuse(struct problem *p, enum err err, struct str detail) {
    *p = (struct problem){.err = err, .detail = detail};
    return false;
}

static bool key_find(const struct api_shared *s, struct str text, struct cred *ret) {
    uint8_t hash[SHA256_BYTES];
    const struct api_key *found = NULL;
    crypto_sha256(text, hash);
    for (unsigned i = 0; i < s->api_key_count; i++) { /* all of them, so that the time says nothing */
        if (crypto_equal(hash, s->api_keys[i].hash, SHA256_BYTES)) {
            found = &s->api_keys[i];
        }
    }
    if (found) {
        *ret = (struct cred){.kind = CRED_KEY, .roles = found->roles, .name = str_of(found->name)};
    }
    return found != NULL;
}

static bool token_read(const struct api_shared *s, struct str text, struct cred *ret) {
    static const enum cred_kind kinds[] = {[TOKEN_SESSION] = CRED_SESSION, [TOKEN_WATCH] = CRED_WATCH, [TOKEN_WORKER] = CRED_WORKER};
    struct token t;
    if (!token_verify(s->keys, text, &t)) {
        return false;
    }
    *ret = (struct cred){.kind = kinds[t.kind], .id = t.id, .gen = t.gen};
    return true;
}

static bool credential_read(struct call *call, struct str text, struct cred *ret) {
    const struct api_shared *s = call->api->shared;
    if (str_starts(text, "blk_")) {
        return key_find(s, text, ret);
    }
    if (str_starts(text, "ses_") || str_starts(text, "tsk_")) {
        return token_read(s, text, ret);
    }
    return jwt_verify(&s->config->jwt, text, clock_wall_ms(), &call->r->arena, ret);
}

/* Browsers carry sessions, watch tokens and JWTs only: what they hold is easily leaked. */
static bool for_browsers(const struct cred *c) {
    return c->kind == CRED_SESSION || c->kind == CRED_WATCH || c->kind == CRED_JWT;
}

static bool header_text(struct call *call, struct str *ret_text) {
    struct str value = http_header(call->r, "authorization");
    if (http_header_count(call->r, "authorization") != 1 || value.len < 8 || value.p[6] != ' ' || !str_ieqz(str_n(value.p, 6), "bearer")) {
        return false;
    }
    *ret_text = str_trim(str_from(value, 7));
    return true;
}

static struct str query_text(const struct call *call) {
    return call->route->produce == PRODUCE_EVENTS ? query_get(&call->query, "access_token") : STR_NONE;
}

static bool cookie_text(struct call *call, struct str *ret_text, struct problem *p) {
    unsigned count = cookie_find(call->r, call->api->shared->config->origins.secure ? "__Host-bowline" : "bowline", ret_text);
    if (count > 1) {
        return refuse(p, ERR_INVALID_REQUEST, STR("There are two cookies with the credential"));
    }
    return count == 1;
}

bool auth_read(struct call *call, struct problem *p) {
    struct str text = STR_NONE;
    bool good;
    if (http_header_count(call->r, "authorization")) {
        call->from = FROM_HEADER;
        good = header_text(call, &text) && credential_read(call, text, &call->cred);
    } else if ((text = query_text(call)).p) {
        call->from = FROM_QUERY;
        good = credential_read(call, text, &call->cred) && for_browsers(&call->cred);
    } else {
        *p = (struct problem){0};
        if (!cookie_text(call, &text, p)) {
            return p->err != ERR_NONE ? false : refuse(p, ERR_UNAUTHENTICATED, STR_NONE);
        }
        call->from = FROM_COOKIE;
        good = credential_read(call, text, &call->cred) && for_browsers(&call->cred);
    }
    return good || refuse(p, ERR_UNAUTHENTICATED, STR("The credential is malformed or not known here"));
}

bool auth_read_cookie(struct call *call, struct problem *p) {
    struct str text;
    *p = (struct problem){0};
    if (!cookie_text(call, &text, p)) {
        return p->err == ERR_NONE;
    }
    if (credential_read(call, text, &call->cred) && (call->cred.kind == CRED_SESSION || call->cred.kind == CRED_JWT)) {
        call->from = FROM_COOKIE;
    } else {
        call->cred = (struct cred){0};
    }
    return true;
}

bool auth_role(const struct call *call) {
    unsigned who = call->route->who;
    switch (call->cred.kind) {
    case CRED_KEY: return (call->cred.roles & who & WHO_KEYS) != 0;
    case CRED_SESSION:
    case CRED_JWT: return (who & WHO_SESSION) != 0;
    case CRED_WATCH: return (who & WHO_WATCH) != 0;
    case CRED_WORKER: return (who & WHO_ATTEMPT) != 0;
    case CRED_NONE: break;
    }
    return (who & WHO_ANYONE) != 0;
}

bool auth_origin(const struct call *call) {
    const struct http_request *r = call->r;
    const struct origins *o = &call->api->shared->config->origins;
    bool safe = (r->method == HTTP_GET || r->method == HTTP_HEAD) && !(r->upgrade_websocket && call->route->produce == PRODUCE_EVENTS);
    bool asked = call->from == FROM_COOKIE || (call->route->flags & ROUTE_OPEN_SESSIONS);
    if (!asked || safe) {
        return true;
    }
    struct str origin = http_header(r, "origin");
    return http_header_count(r, "origin") == 1 && (origin_own(o, origin, call->api->shared->port) || origin_allowed(o, origin));
}
