#include "client/said.h"

#include "base/crypto.h"
#include "base/json.h"

#include <math.h>

void said_fini(struct said *s) {
    buf_fini(&s->data);
    buf_fini(&s->out);
    buf_fini(&s->question);
    buf_fini(&s->outcome);
}

/* ---- saying ---- */

static bool amount_fits(double v) {
    return isnan(v) || v == INFINITY || (v >= 0 && v <= PROGRESS_MAX);
}

static void amount_set(struct said *s, double *to, double v, unsigned member) {
    if (!isnan(v) && (v != *to || !(s->known & member))) {
        *to = v;
        s->known |= member;
        s->changed |= member;
    }
}

const char *said_progress(struct said *s, double current, double total) {
    if (!amount_fits(current) || !amount_fits(total)) {
        return amount_fits(current) ? "total must be 0 to 1e15, NAN or INFINITY" : "current must be 0 to 1e15, NAN or INFINITY";
    }
    amount_set(s, &s->current, current, SAID_CURRENT);
    amount_set(s, &s->total, total, SAID_TOTAL);
    return NULL;
}

/* The text as it can be sent, with at most so many characters; STR_NONE: there is no memory. Kept in *mended if it is not as it was given. */
static struct str text_fitting(const char *text, size_t chars, struct buf *mended) {
    struct str s = str_of(text);
    if (!utf8_valid(s)) {
        utf8_put(mended, s);
        s = mended->failed ? STR_NONE : buf_view(mended);
    }
    return utf8_prefix(s, chars);
}

/* False: it is longer, and may not be cut; or there is no memory. */
static bool text_set(struct said *s, char *to, const char *text, size_t chars, bool cut, unsigned member) {
    struct buf mended = {0};
    struct str fit = text_fitting(text, chars + !cut, &mended);
    bool fits = fit.p && (cut || utf8_count(fit) <= chars);
    if (fits && (!str_eqz(fit, to) || !(s->known & member))) {
        memcpy(to, fit.p, fit.len);
        to[fit.len] = 0;
        s->known |= member;
        s->changed |= member;
    }
    buf_fini(&mended);
    return fits;
}

const char *said_describe(struct said *s, const char *unit, const char *message) {
    if (unit && !text_set(s, s->unit, unit, UNIT_CHARS, false, SAID_UNIT)) {
        return "unit must have at most 32 characters";
    }
    if (message) {
        (void) text_set(s, s->message, message, MESSAGE_CHARS, true, SAID_MESSAGE);
    }
    return NULL;
}

/* What was said of the phase before. Said as null, since the server may never hear of a phase that was short. */
static void phase_forget(struct said *s) {
    s->current = s->total = INFINITY;
    s->unit[0] = s->message[0] = 0;
    buf_fini(&s->data);
    s->changed |= s->known & ~SAID_PHASE;
}

const char *said_phase(struct said *s, const char *phase) {
    unsigned changed = s->changed;
    bool first_none = !(s->known & SAID_PHASE) && !(phase && phase[0]); /* whether that differs, the server knows */
    s->changed &= ~SAID_PHASE;
    if (!text_set(s, s->phase, phase ? phase : "", PHASE_CHARS, false, SAID_PHASE)) {
        s->changed = changed;
        return "phase must have at most 80 characters";
    }
    if (s->changed & SAID_PHASE && !first_none) {
        phase_forget(s);
    }
    s->changed |= changed;
    return NULL;
}

void said_data(struct said *s, struct buf *json) {
    bool same = s->known & SAID_DATA && str_eq(buf_view(&s->data), buf_view(json));
    buf_fini(&s->data);
    s->data = *json;
    *json = (struct buf){0};
    s->known |= SAID_DATA;
    s->changed |= same ? 0 : SAID_DATA;
}

static void report_take(struct buf *to, struct buf *report) {
    buf_fini(to);
    *to = *report;
    *report = (struct buf){0};
}

void said_ask(struct said *s, struct buf *report) {
    report_take(&s->question, report);
    s->question_changed = s->question_sending;
}

void said_end(struct said *s, struct buf *report) {
    report_take(&s->outcome, report);
}

bool said_anything(const struct said *s) {
    return s->changed || s->out.len || s->question.len || s->outcome.len;
}

bool said_urgent(const struct said *s) {
    return s->question.len || s->outcome.len || s->out.len >= OUTPUT_PIECE;
}

/* ---- sending ---- */

static void comma(struct buf *body) {
    if (body->len && body->data[body->len - 1] != '[') {
        buf_char(body, ',');
    }
}

static void write_amount(struct buf *body, const char *name, double v) {
    buf_printf(body, ",\"%s\":", name);
    buf_json_num(body, v); /* infinite comes out as null */
}

static void write_text(struct buf *body, const char *name, const char *text) {
    buf_printf(body, ",\"%s\":", name);
    buf_json_str(body, text[0] ? str_of(text) : STR_NONE);
}

static void write_progress(const struct said *s, struct buf *body) {
    comma(body);
    buf_puts(body, "{\"type\":\"progress\"");
    if (s->changed & SAID_PHASE) {
        write_text(body, "phase", s->phase);
    }
    if (s->changed & SAID_CURRENT) {
        write_amount(body, "current", s->current);
    }
    if (s->changed & SAID_TOTAL) {
        write_amount(body, "total", s->total);
    }
    if (s->changed & SAID_UNIT) {
        write_text(body, "unit", s->unit);
    }
    if (s->changed & SAID_MESSAGE) {
        write_text(body, "message", s->message);
    }
    if (s->changed & SAID_DATA) {
        buf_puts(body, ",\"data\":");
        buf_str(body, s->data.len ? buf_view(&s->data) : STR("null"));
    }
    buf_char(body, '}');
}

/* How many bytes the next piece has: text ends with a whole character if it can. */
static struct str output_piece(const struct said *s) {
    struct str piece = str_n(s->out.data, s->out.len < OUTPUT_PIECE ? s->out.len : OUTPUT_PIECE);
    size_t text = utf8_valid_length(piece);
    bool cut = text && piece.len - text < 4;
    return cut ? str_n(piece.p, text) : piece;
}

static size_t write_output(const struct said *s, struct buf *body) {
    struct str piece = output_piece(s);
    comma(body);
    if (utf8_valid(piece)) {
        buf_puts(body, "{\"type\":\"output\",\"data\":");
        buf_json_str(body, piece);
    } else {
        buf_puts(body, "{\"type\":\"output\",\"data_base64\":\"");
        buf_base64(body, piece.p, piece.len);
        buf_char(body, '"');
    }
    buf_puts(body, ",\"offset\":");
    buf_u64(body, s->out_base);
    buf_char(body, '}');
    return piece.len;
}

bool said_write(struct said *s, struct buf *body) {
    size_t output = 0;
    buf_char(body, '[');
    if (s->out.len) {
        output = write_output(s, body);
    }
    bool all_output = output == s->out.len;
    if (s->changed) {
        write_progress(s, body);
    }
    if (s->question.len && all_output) {
        comma(body);
        buf_str(body, buf_view(&s->question));
    }
    if (s->outcome.len && all_output) {
        comma(body);
        buf_str(body, buf_view(&s->outcome));
    }
    if (body->len && body->data[body->len - 1] == '[') {
        buf_puts(body, "{\"type\":\"heartbeat\"}");
    }
    buf_char(body, ']');
    if (body->failed) {
        return false;
    }
    s->out_sending = output;
    s->sending = s->changed;
    s->sending_at = output ? 1 : 0;
    s->changed = 0;
    s->question_sending = s->question.len && all_output;
    s->outcome_sending = s->outcome.len && all_output;
    s->question_changed = false;
    return true;
}

static void sending_done(struct said *s) {
    s->sending = 0;
    s->out_sending = 0;
    s->question_sending = s->outcome_sending = s->question_changed = false;
}

void said_stored(struct said *s) {
    if (s->question_sending && !s->question_changed) {
        buf_fini(&s->question);
    }
    if (s->outcome_sending) {
        buf_fini(&s->outcome);
    }
    buf_drop_front(&s->out, s->out_sending);
    s->out_base += s->out_sending;
    sending_done(s);
}

void said_unsent(struct said *s) {
    s->changed = s->known;
    sending_done(s);
}

/* Which members of progress a place is of; 0: of none. */
static unsigned members_at(const struct said *s, struct str pointer) {
    static const char *const names[] = {"current", "total", "unit", "message", "data", "phase"}; /* in the order of SAID_ */
    if (!s->sending || pointer.len < 2 || pointer.p[0] != '/' || pointer.p[1] != (char) ('0' + s->sending_at)) {
        return 0;
    }
    struct str rest = str_from(pointer, 2);
    if (rest.len && rest.p[0] != '/') {
        return 0;
    }
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct str name = str_from(rest, 1);
        size_t len = strlen(names[i]);
        if (str_starts(name, names[i]) && (name.len == len || name.p[len] == '/')) {
            return 1u << i;
        }
    }
    return s->sending;
}

bool said_refused(struct said *s, struct str pointer) {
    unsigned wrong = members_at(s, pointer);
    s->known &= ~wrong;
    if (wrong) {
        said_unsent(s);
    }
    return wrong;
}

bool said_output_stored(struct said *s, uint64_t offset) {
    if (offset < s->out_base) {
        return s->out_base == 0;
    }
    uint64_t more = offset - s->out_base;
    size_t drop = more < s->out.len ? (size_t) more : s->out.len;
    buf_drop_front(&s->out, drop);
    s->out_base += drop;
    return true;
}

void said_unask(struct said *s) {
    buf_fini(&s->question);
    s->question_sending = s->question_changed = false;
}

void said_unend(struct said *s) {
    buf_fini(&s->outcome);
    s->outcome_sending = false;
}
