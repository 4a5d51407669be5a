#include "domain/session.h"

#include "base/clock.h"
#include "base/mem.h"

static const char *const state_names[] = {[SESSION_ACTIVE] = "active", [SESSION_ENDED] = "ended"};
static const char *const reason_names[] = {
    [REASON_NONE] = NULL,       [REASON_LOGOUT] = "logout",     [REASON_IDLE] = "idle",  [REASON_MAX_AGE] = "max_age",
    [REASON_MERGED] = "merged", [REASON_OPERATOR] = "operator", [REASON_LIMIT] = "limit"};
static const char *const gone_names[] = {[GONE_MOVED] = "moved", [GONE_DELETED] = "deleted", [GONE_EXPIRED] = "expired"};

const char *session_state_name(enum session_state s) {
    return state_names[s];
}

int session_state_parse(struct str name) {
    for (int i = 0; i < SESSION_STATES; i++) {
        if (str_eqz(name, state_names[i])) {
            return i;
        }
    }
    return -1;
}

const char *end_reason_name(enum end_reason r) {
    return reason_names[r];
}

const char *gone_reason_name(enum gone_reason r) {
    return gone_names[r];
}

void session_fini(struct session *s) {
    mem_free(s->user);
    mem_free(s->metadata);
}

int64_t session_expires_at(const struct session *s, enum end_reason *ret_reason) {
    int64_t idle = s->idle_timeout_ms ? s->active_at + s->idle_timeout_ms : 0;
    int64_t age = s->max_age_ms ? s->created_at + s->max_age_ms : 0;
    bool by_idle = idle && (!age || idle < age);
    if (ret_reason) {
        *ret_reason = by_idle ? REASON_IDLE : age ? REASON_MAX_AGE : REASON_NONE;
    }
    return by_idle ? idle : age;
}

void session_write(const struct session *s, struct str token, uint32_t unfinished, uint32_t ended, struct buf *out) {
    char id[ID_TEXT_LEN + 1];
    id_format(s->id, ID_SESSION, id);
    buf_printf(out, "{\"id\":\"%s\",\"state\":\"%s\",\"user\":", id, state_names[s->state]);
    buf_json_str(out, str_of(s->user));
    if (token.p) {
        buf_puts(out, ",\"token\":");
        buf_json_str(out, token);
    }
    buf_puts(out, ",\"created_at\":");
    buf_json_time(out, s->created_at);
    buf_puts(out, ",\"expires_at\":");
    buf_json_time(out, session_expires_at(s, NULL));
    buf_puts(out, ",\"ended_at\":");
    buf_json_time(out, s->ended_at);
    buf_puts(out, ",\"reason\":");
    buf_json_str(out, str_of(reason_names[s->reason]));
    buf_puts(out, ",\"idle_timeout\":");
    buf_json_num(out, (double) s->idle_timeout_ms / 1000);
    buf_puts(out, ",\"max_age\":");
    buf_json_num(out, (double) s->max_age_ms / 1000);
    buf_puts(out, ",\"metadata\":");
    buf_puts(out, s->metadata ? s->metadata : "{}");
    buf_printf(out, ",\"tasks\":{\"unfinished\":%u,\"ended\":%u}}", unfinished, ended);
}
