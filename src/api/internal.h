/*
 * internal.h: what the files of api/ share. A request's way: api.c (head) finds its route, credential and role; when the body is there it is decoded
 * into a command (decode*.c); the answer comes back by a message and is written by encode.c. Streams of reports have stream_reports.c, watchers watch.c.
 */
#ifndef BOWLINE_API_INTERNAL_H
#define BOWLINE_API_INTERNAL_H

#include "api/api.h"
#include "api/http_text.h"
#include "api/jwt.h"
#include "api/limit.h"
#include "api/origin.h"
#include "api/route.h"
#include "api/via.h"
#include "base/wheel.h"

/* Parsed options, shared by all loops and read-only but for the limit and the counts. */
struct api_config {
    struct origins origins;
    struct jwt_keys jwt;
    struct session_kinds kinds;
    struct limit *open_limit;
    struct via_counts via;
};

struct api {
    const struct api_shared *shared;
    unsigned loop_index;
    struct api_engine engine;
    struct http_loop *loop;
    struct channel *channels;
    struct buf openapi; /* made when first asked for */
    char host[64];      /* the one that was found to be allowed last */
    size_t host_len;
    struct timer kick; /* flushes what was sent outside of a turn */
    struct cmd_pool cmds;
    struct cmd *line; /* lines of reports are decoded in it; made with the first */
};

/* Who a command's answer belongs to: cmd.owner points to one of these. */
enum owner_kind { OWNER_CALL, OWNER_LINES };
struct owner {
    enum owner_kind kind;
};

enum cred_from { FROM_NOTHING, FROM_HEADER, FROM_QUERY, FROM_COOKIE };

/* One request from its head to its answer. Lies in the request's arena. */
struct call {
    struct owner owner;
    struct api *api;
    struct http_request *r;
    const struct route *route;
    struct route_match match;
    struct str path; /* decoded */
    struct cred cred;
    enum cred_from from;
    struct query query;
    struct problem early; /* the first thing found wrong */
    struct str origin;    /* an allowed one, to be told so */
    enum media media;     /* what the body is said to be */
    bool waits;           /* Prefer: wait is applied */
    bool sse;             /* which way of watching was chosen */
    bool page;
    bool bucket_taken; /* of the limit on open sessions */
    struct etags etags;
    struct cmd *cmd; /* with the engine */
    struct report_stream *stream;
};

/* ---- api.c ---- */

/* Sends a command to the engine; it comes back to c->owner. */
void api_submit(struct api *a, struct cmd *c);
/* The owner of a command is going. */
void api_abandon(struct api *a, struct cmd *c);
/* What was sent to the engine outside of a turn leaves soon. */
void api_kick(struct api *a);
/* A command for this call, with its credential, path and early problem; NULL when there is no memory. */
struct cmd *call_command(struct call *call, enum cmd_type type) MUST_CHECK;
/* True if what is wrong must wait until the engine has found the credential alive. */
bool call_needs_engine(const struct call *call);
/* It asks for a WebSocket. */
bool call_upgrades(const struct call *call);

/* ---- auth.c ---- */

/* Finds the credential: fills call->cred and ->from. False: *p is the answer. */
bool auth_read(struct call *call, struct problem *p) MUST_CHECK;
/* For POST /v1/session: the session that the cookie names, if it is any good. */
bool auth_read_cookie(struct call *call, struct problem *p) MUST_CHECK;
/* May this credential use the route at all? */
bool auth_role(const struct call *call);
/* Requests with the cookie that change something, or upgrade, must come from a page of ours. */
bool auth_origin(const struct call *call);

/* ---- encode.c ---- */

/* Headers that every answer has. */
void headers_common(const struct call *call);
/* The same for what is sent as it comes: nothing on the way may compress it (RFC 9111 section 5.2.2.6) or gather it. */
void headers_stream(const struct call *call);
/* The same for a file, with its own Cache-Control. */
void headers_file(const struct call *call, struct str cache_control);
/* All headers of a problem, and its body. call: NULL where it has not come so far. */
void encode_problem(struct http_request *r, const struct call *call, const struct problem *p, struct buf *body);
/* Each of these answers the request, which must not be touched afterwards. */
void call_refuse(struct call *call, const struct problem *p);
void call_refuse_with(struct call *call, const struct problem *p, struct str name,
                      struct str value); /* one header more; it must live as long as the request */
void call_refuse_err(struct call *call, enum err err);
void call_answer(struct call *call, struct answer *a);
/* Compresses a JSON body over 1 KiB for who accepts it. */
void encode_gzip(struct http_request *r, struct buf *body);
void call_json(struct call *call, int status, struct buf *body);
/* A body of ours that is no JSON. */
void call_text(struct call *call, int status, struct str content_type, struct buf *body);

/* ---- stream_reports.c ---- */

/* Begins; the lines wait until the engine has said that this credential may report. */
void stream_open(struct call *call);
void stream_opened(struct call *call, struct answer *a);
void stream_body(struct call *call, struct str piece);
void stream_end(struct call *call);
void stream_broken(struct call *call, const struct problem *p); /* its text lives for ever */
void stream_gone(struct call *call);
struct lines;
void stream_answered(struct lines *lines, struct cmd *c);

/* ---- watch.c ---- */

void watch_attach(struct api *a, struct call *call, struct cmd *c); /* ANSWER_WATCH; call is NULL if the request is gone */
void watch_head(struct call *call);                                 /* the answer to HEAD of a stream */
void watch_rotated(struct call *call, const struct cmd *c);         /* within the grace after a rotation: the event `session` */
void watch_crowded(struct call *call, const struct cmd *c);         /* by Server-Sent Events where there are too many: the event `problem` */
void watch_receive(struct api *a, struct message *m);
void watch_refilled(struct cmd *c);
void watch_refill(void *arg, struct feed *f, struct watcher *w, uint64_t cursor, uint64_t gone_from, void *user);
void watch_unwatched(void *arg, struct feed *f, void *user);
/* Decides the headers of a page that is about to leave, and compresses it for who accepts that. */
void watch_page(void *arg, struct http_request *r, struct buf *body);
void watch_destroy(struct api *a);

/* ---- web.c ---- */

/* A file that is the same for everybody. */
struct served {
    const char *type; /* literals, all but the bytes, which are copied */
    struct str cache_control;
    const char *coding; /* Content-Encoding, or NULL */
    char tag[48];       /* names these very bytes (RFC 9110 section 8.8.3), without its quotes */
    struct str bytes;
};
/* Answers with it, or with 304 to who has it; headers that only this file has were added before. */
void served_answer(struct call *call, const struct served *file);
/* The files within the program (web_files.h). */
void web_serve(struct call *call);
bool web_accepted(const struct call *call);
/* "text/javascript", without parameters. */
struct str web_media(struct str path);

/* ---- info.c, openapi.c, static.c ---- */

void info_health(struct call *call);
void info_ready(struct call *call);
void info_metrics(struct call *call);
void info_about(struct call *call);
void info_openapi(struct call *call);
void openapi_write(struct buf *out, struct str version);
/* True if the path is the demo's and the request was answered. */
bool static_serve(struct call *call) MUST_CHECK;

#endif
