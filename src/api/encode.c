#include "api/internal.h"

#include <zlib.h>

#define GZIP_LEAST 1024        /* a body larger than that is compressed; up to it, it is copied behind the header lines */
#define GZIP_QUICK (64 * 1024) /* past it speed counts for more than size */

#define HEADERS_MOST 760 /* that most answers have room in, with what else they say and a small body */

static void headers_begin(const struct call *call, const char *cache_control, struct buf *out) {
    (void) buf_reserve(out, HEADERS_MOST);
    buf_printf(out, "Cache-Control: %s\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n", cache_control);
    if (!call) {
        return;
    }
    if (call->api->shared->config->origins.allowed_count) {
        buf_puts(out, "Vary: Origin\r\n");
    }
    if (call->origin.p) {
        buf_printf(out, "Access-Control-Allow-Origin: %.*s\r\nAccess-Control-Allow-Credentials: true\r\n", STR_FMT(call->origin));
        buf_puts(
            out,
            "Access-Control-Expose-Headers: ETag, Location, Retry-After, Preference-Applied, Bowline-Output-Offset, Bowline-Output-Complete\r\n");
    }
    if (call->waits) {
        buf_puts(out, "Preference-Applied: wait\r\n");
    }
}

void headers_common(const struct call *call, struct buf *out) {
    headers_begin(call, "no-store", out);
}

void headers_stream(const struct call *call, struct buf *out) {
    headers_begin(call, "no-store, no-transform", out);
    buf_puts(out, "X-Accel-Buffering: no\r\n");
}

void headers_problem(const struct problem *p, struct buf *out) {
    buf_puts(out, "Content-Type: application/problem+json\r\n");
    if (p->err == ERR_UNAUTHENTICATED) {
        buf_puts(out, "WWW-Authenticate: Bearer\r\n");
    }
    int status = err_status(p->err);
    if (p->retry_after_s || status == 429 || status == 503) {
        buf_printf(out, "Retry-After: %u\r\n", p->retry_after_s ? p->retry_after_s : 1);
    }
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

static void respond(struct call *call, int status, struct buf *headers, struct buf *body) {
    if (headers->failed || body->failed) {
        buf_fini(headers);
        buf_fini(body);
        status = err_status(ERR_UNAVAILABLE);
        buf_puts(headers, "Retry-After: 1\r\n");
    }
    http_respond(call->r, status, headers, body, false);
}

void encode_gzip(const struct http_request *r, struct buf *headers, struct buf *body) {
    if (body->len > GZIP_LEAST) {
        buf_puts(headers, "Vary: Accept-Encoding\r\n");
        if (accept_gzip(r) && gzip(body)) {
            buf_puts(headers, "Content-Encoding: gzip\r\n");
        }
    }
}

static void respond_json(struct call *call, int status, struct buf *headers, struct buf *body) {
    buf_puts(headers, "Content-Type: application/json\r\n");
    encode_gzip(call->r, headers, body);
    respond(call, status, headers, body);
}

void call_refuse(struct call *call, const struct problem *p, const char *more_headers) {
    struct buf headers = {0}, body = {0};
    headers_common(call, &headers);
    headers_problem(p, &headers);
    buf_puts(&headers, more_headers ? more_headers : "");
    problem_render(p, &body);
    respond(call, err_status(p->err), &headers, &body);
}

void call_refuse_err(struct call *call, enum err err) {
    struct problem p = {.err = err};
    call_refuse(call, &p, NULL);
}

void call_json(struct call *call, int status, struct buf *body) {
    struct buf headers = {0};
    headers_common(call, &headers);
    respond_json(call, status, &headers, body);
}

void call_text(struct call *call, int status, const char *content_type, struct buf *body) {
    struct buf headers = {0};
    headers_common(call, &headers);
    buf_printf(&headers, "Content-Type: %s\r\n", content_type);
    respond(call, status, &headers, body);
}

static void headers_cookie(const struct call *call, struct str token, struct buf *out) {
    bool secure = call->api->shared->config->origins.secure;
    buf_printf(out, "Set-Cookie: %s=%.*s; Path=/; HttpOnly; SameSite=Lax%s\r\n", secure ? "__Host-bowline" : "bowline", STR_FMT(token),
               secure ? "; Secure" : "");
}

static void headers_answer(const struct call *call, const struct answer *a, struct buf *out) {
    headers_common(call, out);
    if (a->etag) {
        buf_printf(out, "ETag: \"%llu\"\r\n", (unsigned long long) a->etag);
    }
    if (a->location.p) {
        buf_printf(out, "Location: %.*s\r\n", STR_FMT(a->location));
    }
    if (a->retry_after_s) {
        buf_printf(out, "Retry-After: %u\r\n", a->retry_after_s);
    }
    if (a->cookie.p) {
        headers_cookie(call, a->cookie, out);
    }
    if (a->has_output_offset) {
        buf_printf(out, "Bowline-Output-Offset: %llu\r\n", (unsigned long long) a->output_offset);
    }
    if (a->output_complete) {
        buf_puts(out, "Bowline-Output-Complete: true\r\n");
    }
}

/* The command keeps the memory of a small body for its next answer. */
static void answer_json(struct call *call, int status, struct buf *headers, struct buf *body) {
    if (headers->failed || body->failed || body->len > GZIP_LEAST) {
        respond_json(call, status, headers, body);
        return;
    }
    buf_puts(headers, "Content-Type: application/json\r\n");
    http_respond_copied(call->r, status, headers, buf_view(body), false);
}

void call_answer(struct call *call, struct answer *a) {
    if (a->type == ANSWER_PROBLEM) {
        call_refuse(call, &a->problem, NULL);
        return;
    }
    struct buf headers = http_headers(call->r);
    headers_answer(call, a, &headers);
    bool not_modified = a->status == 200 && a->etag && etags_match(&call->etags, a->etag);
    if (a->type == ANSWER_NONE || a->status == 204 || a->status == 304 || not_modified) {
        buf_clear(&a->body);
        respond(call, not_modified ? 304 : a->status, &headers, &a->body);
    } else if (a->type == ANSWER_BYTES) {
        buf_puts(&headers, "Content-Type: application/octet-stream\r\n");
        respond(call, a->status, &headers, &a->body);
    } else {
        answer_json(call, a->status, &headers, &a->body);
    }
}
