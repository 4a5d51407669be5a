/* error.h: one table holds every error the outside can see (contract section 1), and the problem document of RFC 9457. */
#ifndef BOWLINE_BASE_ERROR_H
#define BOWLINE_BASE_ERROR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

/* name, code of the contract, HTTP status, title */
#define ERROR_TABLE(X)                                                                                         \
    X(INVALID_REQUEST, "invalid-request", 400, "The request is not valid")                                     \
    X(UNAUTHENTICATED, "unauthenticated", 401, "A valid credential is required")                               \
    X(FORBIDDEN, "forbidden", 403, "This credential may not do that")                                          \
    X(NOT_FOUND, "not-found", 404, "There is nothing here")                                                    \
    X(METHOD_NOT_ALLOWED, "method-not-allowed", 405, "This method is not allowed here")                        \
    X(NOT_ACCEPTABLE, "not-acceptable", 406, "None of the accepted types can be served here")                  \
    X(REQUEST_TIMEOUT, "request-timeout", 408, "The request did not arrive in time")                           \
    X(SESSION_ENDED, "session-ended", 409, "The session has ended")                                            \
    X(TASK_ENDED, "task-ended", 409, "The task has ended")                                                     \
    X(TASK_FAILED, "task-failed", 409, "The task has failed")                                                  \
    X(TASK_CANCELLED, "task-cancelled", 409, "The task was cancelled")                                         \
    X(ATTEMPT_SUPERSEDED, "attempt-superseded", 409, "This attempt is over")                                   \
    X(INVALID_TRANSITION, "invalid-transition", 409, "The state does not allow this")                          \
    X(OUTPUT_GAP, "output-gap", 409, "The output would have a hole")                                           \
    X(USER_MISMATCH, "user-mismatch", 409, "Two different users cannot be joined")                             \
    X(KEY_IN_USE, "key-in-use", 409, "Another active session has this key")                                    \
    X(QUESTION_MISMATCH, "question-mismatch", 409, "This is not the question that stands or the answer given") \
    X(GONE, "gone", 410, "This is no longer kept")                                                             \
    X(TOO_LARGE, "too-large", 413, "This is larger than the limit")                                            \
    X(URI_TOO_LONG, "uri-too-long", 414, "The request target is too long")                                     \
    X(UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", 415, "This media type is not accepted here")           \
    X(MISDIRECTED, "misdirected", 421, "This server does not answer for that host")                            \
    X(IDEMPOTENCY_MISMATCH, "idempotency-mismatch", 422, "The idempotency key was used with another body")     \
    X(UPGRADE_REQUIRED, "upgrade-required", 426, "This protocol version is not supported")                     \
    X(RATE_LIMITED, "rate-limited", 429, "Too many requests")                                                  \
    X(QUOTA_EXCEEDED, "quota-exceeded", 429, "A quota is used up")                                             \
    X(HEADERS_TOO_LARGE, "headers-too-large", 431, "The header block is too large")                            \
    X(INTERNAL, "internal", 500, "The server made a mistake")                                                  \
    X(UNAVAILABLE, "unavailable", 503, "The server cannot do this now")

enum err {
    ERR_NONE,
#define X(name, code, status, title) ERR_##name,
    ERROR_TABLE(X)
#undef X
        ERR_COUNT
};

const char *err_code(enum err e);
int err_status(enum err e);
const char *err_title(enum err e);

#define PROBLEM_PLACES 8

/* What is wrong, said to the caller. Texts live in the request's arena or are literals. */
struct problem {
    enum err err;
    struct str detail; /* STR_NONE: the title says all */
    unsigned places;   /* at most PROBLEM_PLACES; further ones are left out */
    struct problem_place {
        struct str pointer, detail;
    } * at;                 /* places in the body; in an arena */
    struct str extra;       /* more members as JSON text beginning with a comma, or STR_NONE */
    unsigned retry_after_s; /* 0: none */
};

/* Appends the problem document. */
void problem_render(const struct problem *p, struct buf *out);
/* Adds a place, in memory of the arena if there is any; arena, pointer and detail must outlive the problem. Sets err if none was set. */
void problem_add(struct problem *p, struct arena *a, enum err err, struct str pointer, struct str detail);

#endif
