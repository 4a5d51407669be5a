/*
 * decode.h: bodies and queries of the contract turned into commands. Every member is typed and bounded; what is wrong is said with
 * its place in c->early, and decoding goes on so that several places can be named at once. A command with c->early.err set is not to be carried out.
 */
#ifndef BOWLINE_API_DECODE_H
#define BOWLINE_API_DECODE_H

#include "api/query.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/options.h"
#include "engine/cmd.h"

/* What a body may hold. */
enum body_rule {
    BODY_NONE,        /* nothing, or an object without members */
    BODY_SESSION_NEW, /* c->session_new */
    BODY_ROTATE,      /* c->session_new.key and .user */
    BODY_MERGE,       /* c->into */
    BODY_TASK_NEW,    /* c->ref, c->task_new */
    BODY_TASK_START,  /* c->task_new, filled from the kind's configuration */
    BODY_CANCEL,      /* c->reason */
    BODY_ANSWER,      /* c->request, c->answer_value */
    BODY_BIND,        /* c->ref */
    BODY_REPORTS,     /* c->reports: one, or an array */
    BODY_REPORT_LINE, /* c->reports: one, with c->task and perhaps c->cred from its members */
    BODY_CLAIM,       /* c->max, c->worker, c->lease_ms */
    BODY_RELEASE,     /* c->token */
    BODY_RULES
};

#define REPORTS_MAX 10000     /* in one array */
#define BODY_NODES_MAX 100000 /* values in a body, not counting what lies within opaque ones */

/* A kind that a session may start itself (option session_kinds). */
struct session_kind {
    struct str kind;
    struct task_new task;
};
struct session_kinds {
    struct session_kind *at;
    unsigned count;
    struct arena arena;
    struct buf text; /* copy of the option, which raw values point into */
};

struct decode_env {
    const struct options *options;
    const struct keyring *keys;
    const struct session_kinds *kinds;
};

/* Decodes c->body (in memory that lives as long as c). */
void decode_body(struct cmd *c, enum body_rule rule, const struct decode_env *env);

/* Reads the option session_kinds. 0, or -1 with a sentence. */
int session_kinds_read(struct session_kinds *kinds, const struct options *o, struct buf *err) MUST_CHECK;
void session_kinds_fini(struct session_kinds *kinds);

/* ---- queries ---- */

enum query_param {
    Q_LIMIT = 1,
    Q_AFTER_ID = 2,       /* after: cursor of a list of sessions or tasks */
    Q_AFTER_NAME = 4,     /* after: cursor of a list of queues */
    Q_AFTER_CURSOR = 8,   /* after: of a feed */
    Q_AFTER_VERSION = 16, /* after: of a task */
    Q_USER = 32,
    Q_SESSION_STATE = 64,
    Q_TASK_STATE = 128,
    Q_KIND = 256,
    Q_QUEUE = 512,
    Q_SESSION = 1024,
    Q_OFFSET = 2048,
    Q_OUTPUT = 4096,
    Q_ACCESS_TOKEN = 8192, /* read by auth.c */
    Q_VERSION = 16384,     /* read by web.c */
    Q_VIA = 32768,         /* counted by watch.c */
};
struct query_param_row {
    unsigned bit;
    const char *name, *schema, *text; /* schema: JSON text for the OpenAPI document */
};
extern const struct query_param_row query_params[];
extern const unsigned query_param_count;

/* Fills c->list, c->watch, c->offset, c->after_version by what `allowed` (bits of query_param) permits. Values are copied into c's arena. */
void decode_query(struct cmd *c, unsigned allowed, const struct query *q);
/* True if every parameter is among those allowed; else *p is filled (texts in a). */
bool query_known(const struct query *q, unsigned allowed, struct arena *a, struct problem *p) MUST_CHECK;

/* ^[a-z0-9][a-z0-9._-]{0,63}$: kinds, queues, types of errors */
bool name_valid(struct str s);
/* Names of users: 1 to 256 bytes of UTF-8 without control characters. */
bool user_valid(struct str s);

/* ---- for the decoders ---- */

struct decode {
    struct arena *arena;
    const struct options *options;
    struct problem *problem;
    const struct json *obj;
    struct str at; /* pointer of obj */
};

/* Pointer of a member of d->obj. */
struct str decode_pointer(const struct decode *d, const char *name);
/* Says what is wrong with a member. */
void decode_refuse(struct decode *d, enum err err, const char *name, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* d->obj must be an object with no other members than these. False if it is none. */
bool decode_members(struct decode *d, const char *const *names, unsigned count);
#define DECODE_MEMBERS(d, ...) \
    decode_members(d, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))
/* The member, or NULL if it is left out or null. */
const struct json *decode_get(const struct decode *d, const char *name);
/* The same, but it must be there. */
const struct json *decode_need(struct decode *d, const char *name);

/*
 * Each sets *ret and returns true if the member is there and good; otherwise *ret is untouched, and what is wrong has been said.
 * decode_chars gives a text without U+0000; decode_bytes any.
 */
bool decode_chars(struct decode *d, const char *name, size_t least, size_t most, struct str *ret);
bool decode_bytes(struct decode *d, const char *name, size_t least, size_t most, struct str *ret);
bool decode_user(struct decode *d, const char *name, struct str *ret);
bool decode_name(struct decode *d, const char *name, struct str *ret);
bool decode_duration(struct decode *d, const char *name, double least_s, double most_s, int64_t *ret_ms);
bool decode_count(struct decode *d, const char *name, uint64_t least, uint64_t most, uint64_t *ret);
bool decode_bool(struct decode *d, const char *name, bool *ret);
bool decode_time(struct decode *d, const char *name, int64_t *ret_ms);
bool decode_id(struct decode *d, const char *name, enum id_kind kind, struct id *ret);
bool decode_choice(struct decode *d, const char *name, const char *const *names, unsigned count, int *ret);
/* The exact text of any value but null. */
bool decode_raw(struct decode *d, const char *name, int64_t most_bytes, struct str *ret);
bool decode_raw_object(struct decode *d, const char *name, int64_t most_bytes, struct str *ret);

void decode_session(struct cmd *c, enum body_rule rule, struct decode *d);
void decode_session_ref(struct decode *d, const char *name, struct session_ref *ret);
void decode_task(struct cmd *c, enum body_rule rule, struct decode *d, const struct decode_env *env);
void decode_worker(struct cmd *c, enum body_rule rule, struct decode *d, const struct decode_env *env);

#endif
