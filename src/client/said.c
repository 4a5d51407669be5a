#include "client/said.h"

#include "base/crypto.h"
#include "base/json.h"

#include <math.h>

void said_fini(struct said *s) {
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

bool said_progress(struct said *s, double current, double total) {
    if (!amount_fits(current) || !amount_fits(total)) {
        return false;
    }
    amount_set(s, &s->current, current, SAID_CURRENT);
    amount_set(s, &s->total, total, SAID_TOTAL);
    return true;
}

static bool text_fits(const char *text, size_t chars) {
    if (!text) {
        return true;
    }
    struct str s = str_of(text);
    return s.len <= 4 * chars && utf8_valid(s) && utf8_count(s) <= chars;
}

static void text_set(struct said *s, char *to, const char *text, unsigned member) {
    if (text && (strcmp(to, text) != 0 || !(s->known & member))) {
        memcpy(to, text, strlen(text) + 1); /* text_fits has measured it */
        s->known |= member;
        s->changed |= member;
    }
}

bool said_describe(struct said *s, const char *unit, const char *message) {
    if (!text_fits(unit, UNIT_CHARS) || !text_fits(message, MESSAGE_CHARS)) {
        return false;
    }
    text_set(s, s->unit, unit, SAID_UNIT);
    text_set(s, s->message, message, SAID_MESSAGE);
    return true;
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
