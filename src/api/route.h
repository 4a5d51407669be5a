/* route.h: every route of the contract is one row (routes.c). The router, the Allow header, preflights and the OpenAPI document come from this table. */
#ifndef BOWLINE_API_ROUTE_H
#define BOWLINE_API_ROUTE_H

#include "api/decode.h"
#include "net/http.h"

/* Who may: API keys by their role, tokens by their kind. A JWT counts as a session token. */
enum who {
    WHO_BACKEND = ROLE_BACKEND,
    WHO_WORKER = ROLE_WORKER,
    WHO_OPERATOR = ROLE_OPERATOR,
    WHO_KEYS = ROLE_BACKEND | ROLE_WORKER | ROLE_OPERATOR,
    WHO_SESSION = 8,
    WHO_WATCH = 16,
    WHO_ATTEMPT = 32, /* worker token */
    WHO_ANYONE = 64,  /* no credential is looked at */
};

enum produce { PRODUCE_JSON, PRODUCE_BYTES, PRODUCE_METRICS, PRODUCE_NOTHING, PRODUCE_EVENTS, PRODUCE_FILE };

enum route_flag {
    ROUTE_IDEMPOTENT = 1,     /* Idempotency-Key is honoured */
    ROUTE_NO_KEY = 2,         /* Idempotency-Key is refused */
    ROUTE_WAITS = 4,          /* Prefer: wait */
    ROUTE_OWN = 8,            /* of the credential's own session */
    ROUTE_OPEN_SESSIONS = 16, /* exists with the option open_sessions only */
    ROUTE_ANY_HOST = 32,      /* also for hosts that are not ours; serves whatever Accept says */
    ROUTE_METRICS = 64,       /* anyone with the option metrics_open */
};

/* How the body is read. */
enum body_read {
    READ_WHOLE,          /* gathered, then looked at */
    READ_WHOLE_OR_LINES, /* streamed, if it is application/x-ndjson */
    READ_LINES,          /* streamed, and nothing but application/x-ndjson is taken */
};

struct call;

struct route {
    enum http_method method;
    const char *pattern; /* {session}, {task}, {queue} stand for a segment */
    enum cmd_type cmd;   /* CMD_TYPES: answered by `local` */
    unsigned who, query, flags;
    enum body_rule body;
    enum body_read read;
    enum produce produce;
    enum watch_target watch;
    void (*local)(struct call *call);
    /* for the document */
    int status;
    const char *id, *tag, *summary, *schema; /* schema of the answer, or NULL */
};

#define ROUTES_MAX 64
extern const struct route routes[];
extern const unsigned route_count;

#define SEGMENTS_MAX 6
/* A path cut at its slashes. */
struct segments {
    unsigned count;
    struct str at[SEGMENTS_MAX];
};
/* False if it does not begin with a slash or has too many segments. */
bool path_split(struct str path, struct segments *ret) MUST_CHECK;

struct route_match {
    const struct route *route;       /* NULL: none for this method */
    unsigned methods;                /* bits of enum http_method that the path knows; 0: there is no such path */
    bool off;                        /* the option that this route needs is not set: as if there were no such path */
    struct str session, task, queue; /* what stands in the path, none if nothing does */
};
/* HEAD is answered wherever GET is. Without the option open_sessions its route is not found. */
void route_find(struct str path, enum http_method method, bool open_sessions, struct route_match *ret);
/* "GET, HEAD, POST" */
void methods_write(unsigned methods, struct buf *out);
const char *method_name(enum http_method m);

#endif
