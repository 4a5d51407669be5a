#include "cli/job_result.h"

#include "base/crypto.h"
#include "base/json.h"
#include "cli/text.h"

#define POINTER_SHOWN 60

/* Is it JSON but for its depth, or a name or half a character that nobody could read back? Says which. */
static void nearly_json_say(const struct json_error *error, struct buf *note) {
    if (!error->by_rule) {
        return;
    }
    buf_printf(note, "standard output is JSON that cannot be a result: %s", error->detail);
    if (error->too_deep) {
        buf_printf(note, " (more than %d levels)", RESULT_DEPTH);
    } else {
        buf_puts(note, " (");
        text_put_cut(note, str_of(error->pointer[0] ? error->pointer : "the whole"), POINTER_SHOWN);
        buf_char(note, ')');
    }
    buf_puts(note, ". The result is a text with it");
}

static void text_result(struct str text, const struct json_error *error, struct buf *report, struct buf *note) {
    while (text.len && strchr("\r\n", text.p[text.len - 1])) {
        text.len--;
    }
    nearly_json_say(error, note);
    buf_puts(report, "{\"type\":\"succeed\",\"result\":");
    buf_json_str(report, text);
    buf_char(report, '}');
}

static void binary_result(struct str output, struct buf *report, struct buf *note) {
    buf_printf(note,
               "standard output is neither JSON nor text in UTF-8 (byte %zu of %zu begins no character), so it cannot be the result; --output keeps "
               "any bytes as "
               "the task's output",
               utf8_valid_length(output), output.len);
    buf_puts(report, "{\"type\":\"fail\",\"error\":{\"type\":\"result-not-text\",\"message\":");
    buf_json_str(report, buf_view(note));
    buf_puts(report, "}}");
}

bool job_result_put(struct str output, struct buf *report, struct buf *note) {
    struct arena arena = {0};
    struct json *root;
    struct json_error error;
    struct str text = output;
    bool is_text = utf8_valid(output);
    while (text.len && strchr("\n\r\t ", text.p[text.len - 1])) {
        text.len--;
    }
    if (!text.len) {
        buf_puts(report, "{\"type\":\"succeed\"}");
    } else if (!is_text) {
        binary_result(output, report, note);
    } else if (json_parse(&arena, text, RESULT_DEPTH, &root, &error) == 0) {
        buf_puts(report, "{\"type\":\"succeed\",\"result\":");
        buf_str(report, root->raw);
        buf_char(report, '}');
    } else {
        text_result(output, &error, report, note);
    }
    arena_fini(&arena);
    return is_text;
}

void job_stderr_put(struct str tail, bool cut, struct buf *more) {
    for (int i = 0; i < 3 && cut && tail.len && ((unsigned char) tail.p[0] & 0xc0) == 0x80; i++) {
        tail = str_from(tail, 1);
    }
    if (utf8_valid(tail)) {
        buf_puts(more, ",\"stderr\":");
        buf_json_str(more, tail);
    } else {
        buf_puts(more, ",\"stderr_base64\":\"");
        buf_base64(more, tail.p, tail.len);
        buf_char(more, '"');
    }
}
