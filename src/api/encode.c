#include "api/internal.h"

#include <zlib.h>

#define GZIP_LEAST 1024        /* a body larger than that is compressed; up to it, it is copied behind the header lines */
#define GZIP_QUICK (64 * 1024) /* past it speed counts for more than size */

static void headers_begin(struct http_request *r, const struct call *call, struct str cache_control) {
    http_add(r, STR("Cache-Control"), cache_control);
    http_add(r, STR("Referrer-Policy"), STR("no-referrer"));
    http_add(r, STR("X-Content-Type-Options"), STR("nosniff"));
    if (!call) {
        return;
    }
    if (call->api->shared->config->origins.allowed_count) {
        http_add(r, STR("Vary"), STR("Origin"));
    }
    if (call->origin.p) {
        http_add(r, STR("Access-Control-Allow-Origin"), call->origin);
        http_add(r, STR("Access-Control-Allow-Credentials"), STR("true"));
        http_add(r, STR("Access-Control-Expose-Headers"),
                 STR("ETag, Location, Retry-After, Preference-Applied, Bowline-Output-Offset, Bowline-Output-Complete"));
    }
    if (call->waits) {
        http_add(r, STR("Preference-Applied"), STR("wait"));
    }
}

void headers_common(const struct call *call) {
    headers_begin(call->r, call, STR("no-store"));
}

void headers_stream(const struct call *call) {
    headers_begin(call->r, call, STR("no-store, no-transform"));
    http_add(call->r, STR("X-Accel-Buffering"), STR("no"));
}

void headers_file(const struct call *call, struct str cache_control) {
    headers_begin(call->r, call, cache_control);
}

static void headers_retry_after(struct http_request *r, unsigned seconds) {
    http_addf(r, STR("Retry-After"), "%u", seconds);
}

static void headers_of_problem(struct http_request *r, const struct problem *p) {
    http_add(r, STR("Content-Type"), STR("application/problem+json"));
    if (p->err == ERR_UNAUTHENTICATED) {
        http_add(r, STR("WWW-Authenticate"), STR("Bearer"));
    }
    int status = err_status(p->err);
    if (p->retry_after_s || status == 429 || status == 503) {
        headers_retry_after(r, p->retry_after_s ? p->retry_after_s : 1);
    }
}

void encode_problem(struct http_request *r, const struct call *call, const struct problem *p, struct buf *body) {
    headers_begin(r, call, STR("no-store"));
    headers_of_problem(r, p);
    problem_render(p, body);
}

/* Replaces body by its gzip form (RFC 1952); leaves it alone when there is no memory. */
static bool gzip(struct buf *body) {
    z_stream z = {0};
    struct buf out = {0};
    if (deflateInit2(&z, body->len > GZIP_QUICK ? 1 : 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return false;
    }
    size_t bound = deflateBound(&z, body->len);
    bool good = bound <= UINT32_MAX && body->len <= UINT32_MAX && buf_reserve(&out, bound);
    if (good) {
        z.next_in = (Bytef *) body->data;
        z.avail_in = (uInt) body->len;
        z.next_out = (Bytef *) out.data;
        z.avail_out = (uInt) bound;
        good = deflate(&z, Z_FINISH) == Z_STREAM_END;
        out.len = z.total_out;
    }
    deflateEnd(&z);
    if (!good) {
        buf_fini(&out);
        return false;
    }
    buf_fini(body);
    *body = out;
    return true;
}

static void respond(struct call *call, int status, struct buf *body) {
    if (body->failed) {
        buf_fini(body);
        status = err_status(ERR_UNAVAILABLE);
        http_clear_headers(call->r);
        headers_retry_after(call->r, 1);
    }
    http_respond(call->r, status, body, false);
}

void encode_gzip(struct http_request *r, struct buf *body) {
    if (body->len > GZIP_LEAST) {
        http_add(r, STR("Vary"), STR("Accept-Encoding"));
        if (accept_gzip(r) && gzip(body)) {
            http_add(r, STR("Content-Encoding"), STR("gzip"));
        }
    }
}

static void respond_json(struct call *call, int status, struct buf *body) {
    http_add(call->r, STR("Content-Type"), STR("application/json"));
    encode_gzip(call->r, body);
    respond(call, status, body);
}

void call_refuse_with(struct call *call, const struct problem *p, struct str name, struct str value) {
    struct buf body = {0};
    encode_problem(call->r, call, p, &body);
    if (name.len) {
        http_add(call->r, name, value);
    }
    respond(call, err_status(p->err), &body);
}

void call_refuse(struct call *call, const struct problem *p) {
    call_refuse_with(call, p, STR_NONE, STR_NONE);
}

void call_refuse_err(struct call *call, enum err err) {
    struct problem p = {.err = err};
    call_refuse(call, &p);
}

void call_json(struct call *call, int status, struct buf *body) {
    headers_common(call);
    respond_json(call, status, body);
}

void call_text(struct call *call, int status, struct str content_type, struct buf *body) {
    headers_common(call);
    http_add(call->r, STR("Content-Type"), content_type);
    respond(call, status, body);
}

static void headers_cookie(const struct call *call, struct str token) {
    bool secure = call->api->shared->config->origins.secure;
    http_addf(call->r, STR("Set-Cookie"), "%s=%.*s; Path=/; HttpOnly; SameSite=Lax%s", secure ? "__Host-bowline" : "bowline", STR_FMT(token),
              secure ? "; Secure" : "");
}

static void headers_answer(const struct call *call, const struct answer *a) {
    struct http_request *r = call->r;
    headers_common(call);
    if (a->etag) {
        http_addf(r, STR("ETag"), "\"%llu\"", (unsigned long long) a->etag);
    }
    if (a->location.p) {
        http_add_copy(r, STR("Location"), a->location);
    }
    if (a->retry_after_s) {
        headers_retry_after(r, a->retry_after_s);
    }
    if (a->cookie.p) {
        headers_cookie(call, a->cookie);
    }
    if (a->has_output_offset) {
        http_addf(r, STR("Bowline-Output-Offset"), "%llu", (unsigned long long) a->output_offset);
    }
    if (a->output_complete) {
        http_add(r, STR("Bowline-Output-Complete"), STR("true"));
    }
}

/* The command keeps the memory of a small body for its next answer. */
static void answer_json(struct call *call, int status, struct buf *body) {
    if (body->failed || body->len > GZIP_LEAST) {
        respond_json(call, status, body);
        return;
    }
    http_add(call->r, STR("Content-Type"), STR("application/json"));
    http_respond_copied(call->r, status, buf_view(body), false);
}

void call_answer(struct call *call, struct answer *a) {
    if (a->type == ANSWER_PROBLEM) {
        call_refuse(call, &a->problem);
        return;
    }
    headers_answer(call, a);
    bool not_modified = a->status == 200 && a->etag && etags_match(&call->etags, a->etag);
    if (a->type == ANSWER_NONE || a->status == 204 || a->status == 304 || not_modified) {
        buf_clear(&a->body);
        respond(call, not_modified ? 304 : a->status, &a->body);
    } else if (a->type == ANSWER_BYTES) {
        http_add(call->r, STR("Content-Type"), STR("application/octet-stream"));
        respond(call, a->status, &a->body);
    } else {
        answer_json(call, a->status, &a->body);
    }
}
