#include "engine/audit.h"

#include "engine/kinds.h"

#include "base/log.h"

static void who(const struct cmd *c, struct buf *out) {
    static const char *const kinds[] = {[CRED_NONE] = "anonymous", [CRED_KEY] = "key",       [CRED_SESSION] = "session",
                                        [CRED_WATCH] = "watch",    [CRED_WORKER] = "worker", [CRED_JWT] = "jwt"};
    char id[ID_TEXT_LEN + 1];
    buf_puts(out, "by=");
    if (c->e.internal) {
        buf_puts(out, "server");
        return;
    }
    buf_puts(out, kinds[c->cred.kind]);
    if (c->cred.kind == CRED_KEY) {
        buf_puts(out, " key=");
        buf_json_str(out, c->cred.name);
    } else if (c->cred.kind == CRED_SESSION || c->cred.kind == CRED_WATCH || c->cred.kind == CRED_WORKER) {
        id_format(c->cred.id, c->cred.kind == CRED_SESSION ? ID_SESSION : ID_TASK, id);
        buf_printf(out, " credential=%s", id);
    }
}

static void put_id(struct buf *out, const char *name, enum id_kind kind, struct id id) {
    char text[ID_TEXT_LEN + 1];
    if (!id_is_none(id)) {
        id_format(id, kind, text);
        buf_printf(out, " %s=%s", name, text);
    }
}

void audit(const struct cmd *c, const char *act, struct id session, struct id task, struct id other_session, const char *reason) {
    struct buf line = {0};
    who(c, &line);
    put_id(&line, "session", ID_SESSION, session);
    put_id(&line, "task", ID_TASK, task);
    put_id(&line, "into", ID_SESSION, other_session);
    if (reason) {
        buf_printf(&line, " reason=%s", reason);
    }
    log_info(act, "%s", buf_z(&line));
    buf_fini(&line);
}
