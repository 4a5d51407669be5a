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
    int64_t age = s->max_age_ms ? s->created_at - s->created_apart + s->max_age_ms : 0;
    bool by_idle = idle && (!age || idle < age);
    if (ret_reason) {
        *ret_reason = by_idle ? REASON_IDLE : age ? REASON_MAX_AGE : REASON_NONE;
    }
    return by_idle ? idle : age;
}

int64_t session_ended_ms(const struct session *s) {
    return s->ended_at - s->ended_apart;
}

void session_bound(struct session *s, int64_t now_ms) {
    int64_t created_ahead = s->created_at - s->created_apart - now_ms, ended_ahead = s->ended_at - s->ended_apart - now_ms;
    s->created_apart += created_ahead > 0 ? created_ahead : 0;
    s->ended_apart += ended_ahead > 0 ? ended_ahead : 0;
    s->active_at = s->active_at < now_ms ? s->active_at : now_ms;
    s->rotated_at = s->rotated_at < now_ms ? s->rotated_at : now_ms;
}

bool session_put_back(struct session *s, int64_t wall_ms, int64_t jwt_skew_s) {
    int64_t created_ahead = s->created_at - wall_ms, ended_ahead = s->ended_at - wall_ms, now_s = wall_ms / 1000;
    if (created_ahead > 0) {
        s->created_at -= created_ahead;
        s->created_apart -= created_ahead;
    }
    if (ended_ahead > 0) {
        s->ended_at -= ended_ahead;
        s->ended_apart -= ended_ahead;
    }
    bool jwt_ahead = s->jwt_from_s > now_s + 1 + jwt_skew_s;
    if (jwt_ahead) {
        s->jwt_from_s = s->rotated_at ? now_s : now_s + 1; /* since its rotation, or since another lost its key */
    }
    return created_ahead > 0 || ended_ahead > 0 || jwt_ahead;
}

void session_write(const struct session *s, int64_t apart_ms, struct str token, uint32_t unfinished, uint32_t ended, struct buf *out) {
    char id[ID_TEXT_LEN + 1];
    int64_t expires_at = session_expires_at(s, NULL);
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
    buf_json_time(out, expires_at ? expires_at + apart_ms : 0);
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
