#include "api/decode.h"
#include "api/http_text.h"
#include "api/via.h"
#include "domain/session.h"
#include "domain/task.h"

#define TEXT_SCHEMA "{\"type\":\"string\"}"
#define NAME_SCHEMA "{\"type\":\"string\",\"pattern\":\"^[a-z0-9][a-z0-9._-]{0,63}$\"}"

const struct query_param_row query_params[] = {
    {Q_LIMIT, "limit", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":100}", "How many items a page holds at most"},
    {Q_AFTER_ID, "after", TEXT_SCHEMA, "Cursor of the page before (its next)"},
    {Q_AFTER_NAME, "after", TEXT_SCHEMA, "Cursor of the page before (its next)"},
    {Q_AFTER_CURSOR, "after", TEXT_SCHEMA, "Cursor of the last event seen; the header Last-Event-ID wins over it"},
    {Q_AFTER_VERSION, "after", "{\"type\":\"integer\",\"minimum\":0}", "Only what is newer than this version"},
    {Q_USER, "user", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}", "Only those of this user"},
    {Q_SESSION_STATE, "state", "{\"type\":\"string\",\"enum\":[\"active\",\"ended\"]}", "Only those in this state"},
    {Q_TASK_STATE, "state", "{\"$ref\":\"#/components/schemas/TaskState\"}", "Only those in this state"},
    {Q_KIND, "kind", NAME_SCHEMA, "Only those of this kind"},
    {Q_QUEUE, "queue", NAME_SCHEMA, "Only those of this queue"},
    {Q_SESSION, "session", "{\"$ref\":\"#/components/schemas/SessionId\"}", "Only those of this session"},
    {Q_OFFSET, "offset", "{\"type\":\"integer\",\"minimum\":0,\"default\":0}", "First byte wanted"},
    {Q_OUTPUT, "output", "{\"type\":\"string\",\"enum\":[\"0\",\"1\"]}", "1: with the output of the session's tasks"},
    {Q_ACCESS_TOKEN, "access_token", TEXT_SCHEMA, "The credential, where no header can be sent (RFC 6750 section 2.3)"},
    {Q_VIA, "via", "{\"type\":\"string\",\"enum\":[\"sse\",\"websocket\",\"poll\",\"sse-fallback\",\"websocket-fallback\",\"poll-fallback\"]}",
     "The way the client took, with -fallback where another did not work; counted"},
    {Q_VERSION, "v", TEXT_SCHEMA, "This program's version: the answer may be kept for a year; another one is not found"},
};
const unsigned query_param_count = sizeof query_params / sizeof *query_params;

static const struct query_param_row *param_find(struct str name, unsigned allowed) {
    for (unsigned i = 0; i < query_param_count; i++) {
        if ((query_params[i].bit & allowed) && str_eqz(name, query_params[i].name)) {
            return &query_params[i];
        }
    }
    return NULL;
}

static struct str quoted(struct arena *a, const char *before, struct str name, const char *after) {
    struct buf b = {0};
    buf_puts(&b, before);
    buf_put(&b, name.p, name.len > 80 && utf8_valid(str_n(name.p, 80)) ? 80 : name.len > 80 ? 0 : name.len);
    buf_puts(&b, after);
    struct str kept = arena_str(a, buf_view(&b));
    buf_fini(&b);
    return kept;
}

bool query_known(const struct query *q, unsigned allowed, struct arena *a, struct problem *p) {
    for (unsigned i = 0; i < q->count; i++) {
        const struct query_param_row *row = param_find(q->at[i].name, allowed);
        bool cursor = row && row->bit == Q_AFTER_CURSOR; /* any will do: one that says nothing is answered with `reset` */
        if (!row) {
            p->err = ERR_INVALID_REQUEST;
            p->detail = quoted(a, "There is no query parameter \"", q->at[i].name, "\" here");
        } else if (q->at[i].undecoded && !cursor) {
            *p = (struct problem){.err = ERR_INVALID_REQUEST, .detail = QUERY_MALFORMED};
        }
        if (p->err) {
            return false;
        }
    }
    return true;
}

static void query_refuse(struct cmd *c, const char *name, const char *what) {
    if (c->early.err == ERR_NONE) {
        c->early.err = ERR_INVALID_REQUEST;
        c->early.detail = quoted(&c->arena, "The query parameter ", str_of(name), what);
    }
}

/* One parameter; the value is good for as long as c. */
static void param_read(struct cmd *c, unsigned bit, const char *name, struct str value) {
    bool good = true;
    uint64_t number = 0;
    switch (bit) {
    case Q_LIMIT:
        good = digits_parse(value, 1000, &number) && number >= 1;
        c->list.limit = (unsigned) number;
        break;
    case Q_AFTER_ID: good = id_parse(value, c->type == CMD_SESSION_LIST ? ID_SESSION : ID_TASK, &c->list.after); break;
    case Q_AFTER_NAME:
        good = name_valid(value);
        c->list.after_name = value;
        break;
    case Q_AFTER_CURSOR: c->watch.cursor = value; break;
    case Q_AFTER_VERSION: good = c->has_after_version = digits_parse(value, INT64_MAX, &c->after_version); break;
    case Q_USER:
        good = user_valid(value);
        c->list.user = value;
        break;
    case Q_SESSION_STATE:
    case Q_TASK_STATE:
        c->list.state = bit == Q_TASK_STATE ? task_state_parse(value) : session_state_parse(value);
        good = c->list.state >= 0;
        break;
    case Q_KIND:
        good = name_valid(value);
        c->list.kind = value;
        break;
    case Q_QUEUE:
        good = name_valid(value);
        c->list.queue = value;
        break;
    case Q_SESSION:
        good = id_parse(value, ID_SESSION, &c->list.session);
        if (good && id_is_none(c->list.session)) { /* which further in means no filter: one that is never made stands for it */
            memset(&c->list.session, 0xff, sizeof(c->list.session));
        }
        break;
    case Q_OFFSET: good = digits_parse(value, INT64_MAX, &c->offset); break;
    case Q_OUTPUT:
        good = str_eqz(value, "1") || str_eqz(value, "0");
        c->watch.output = str_eqz(value, "1");
        break;
    case Q_VIA: good = via_parse(value) >= 0; break;
    default: break;
    }
    if (!good) {
        query_refuse(c, name, " does not have a value that is allowed here");
    }
}

void decode_query(struct cmd *c, unsigned allowed, const struct query *q) {
    c->list.limit = 100;
    c->list.state = -1;
    for (unsigned i = 0; i < q->count; i++) {
        const struct query_param_row *row = param_find(q->at[i].name, allowed);
        if (row && !(row->bit & (Q_ACCESS_TOKEN | Q_VERSION))) {
            struct str value = arena_str(&c->arena, q->at[i].value);
            if (value.p) {
                param_read(c, row->bit, row->name, value);
            } else {
                c->early.err = ERR_UNAVAILABLE;
            }
        }
    }
}
