#include "base/error.h"

static const struct {
    const char *code;
    int status;
    const char *title;
} err_table[ERR_COUNT] = {[ERR_NONE] = {"none", 200, "No error"},
#define X(name, code, status, title) [ERR_##name] = {code, status, title},
                          ERROR_TABLE(X)
#undef X
};

const char *err_code(enum err e) {
    return err_table[e].code;
}

int err_status(enum err e) {
    return err_table[e].status;
}

const char *err_title(enum err e) {
    return err_table[e].title;
}

void problem_add(struct problem *p, struct arena *a, enum err err, struct str pointer, struct str detail) {
    if (p->err == ERR_NONE) {
        p->err = err;
    }
    if (!p->places) {
        p->at = arena_take(a, PROBLEM_PLACES * sizeof(*p->at));
    }
    if (p->at && p->places < PROBLEM_PLACES) {
        p->at[p->places++] = (struct problem_place){pointer, detail};
    }
}

void problem_render(const struct problem *p, struct buf *out) {
    buf_printf(out, "{\"type\":\"urn:bowline:problem:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":", err_code(p->err), err_title(p->err),
               err_status(p->err));
    if (p->detail.p) {
        buf_json_str(out, p->detail);
    } else if (p->places) {
        buf_json_str(out, p->at[0].detail);
    } else {
        buf_json_str(out, str_of(err_title(p->err)));
    }
    buf_printf(out, ",\"code\":\"%s\"", err_code(p->err));
    if (p->places) {
        buf_puts(out, ",\"errors\":[");
        for (unsigned i = 0; i < p->places; i++) {
            buf_puts(out, i ? ",{\"pointer\":" : "{\"pointer\":");
            buf_json_str(out, p->at[i].pointer);
            buf_puts(out, ",\"detail\":");
            buf_json_str(out, p->at[i].detail);
            buf_char(out, '}');
        }
        buf_char(out, ']');
    }
    if (p->extra.p) {
        buf_str(out, p->extra);
    }
    buf_char(out, '}');
}
