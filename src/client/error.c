#include "base/error.h"

#include "client/internal.h"

#include <stdio.h>

/* The server's errors stand in the header in the order of base/error.h, from 101 on. */
#define SERVER_FIRST (BOWLINE_INVALID_REQUEST - ERR_INVALID_REQUEST)
_Static_assert(BOWLINE_UNAVAILABLE == SERVER_FIRST + (int) ERR_UNAVAILABLE, "an error of the table is missing in bowline.h");
_Static_assert(BOWLINE_GONE == SERVER_FIRST + (int) ERR_GONE, "the errors in bowline.h are in another order than the table");
_Static_assert(BOWLINE_TASK_ENDED == SERVER_FIRST + (int) ERR_TASK_ENDED, "the errors in bowline.h are in another order than the table");

static const struct {
    const char *code, *text;
} local[] = {
    [BOWLINE_OK] = {"ok", "No error"},
    [BOWLINE_NO_MEMORY] = {"no-memory", "There is not enough memory"},
    [BOWLINE_BAD_ARGUMENT] = {"bad-argument", "An argument is not valid"},
    [BOWLINE_UNREACHABLE] = {"unreachable", "The server does not answer"},
    [BOWLINE_TIMED_OUT] = {"timed-out", "The time is up"},
    [BOWLINE_INTERRUPTED] = {"interrupted", "The waiting was interrupted"},
    [BOWLINE_BAD_ANSWER] = {"bad-answer", "The answer is not one of a bowline server"},
    [BOWLINE_FULL] = {"full", "The buffer has no room"},
    [BOWLINE_NOT_YET] = {"not-yet", "There is nothing yet"},
    [BOWLINE_OVER] = {"over", "The watch has come to its end"},
    [BOWLINE_SYSTEM] = {"system", "The system refused a descriptor or a thread"},
};

static bool is_server(int error) {
    return error >= BOWLINE_INVALID_REQUEST && error <= BOWLINE_UNAVAILABLE;
}

static bool is_local(int error) {
    return error >= 0 && error < (int) (sizeof local / sizeof local[0]);
}

const char *bowline_strerror(int error) {
    return is_server(error) ? err_title((enum err)(error - SERVER_FIRST)) : is_local(error) ? local[error].text : "Not an error of this library";
}

const char *bowline_error_code(int error) {
    return is_server(error) ? err_code((enum err)(error - SERVER_FIRST)) : is_local(error) ? local[error].code : "unknown";
}

bool error_is_passing(int error) {
    return error == BOWLINE_UNREACHABLE || error == BOWLINE_REQUEST_TIMEOUT || error == BOWLINE_RATE_LIMITED || error == BOWLINE_QUOTA_EXCEEDED ||
           error == BOWLINE_INTERNAL || error == BOWLINE_UNAVAILABLE;
}

/* Copies what fits, without cutting a character in two. */
static void text_copy(char *to, size_t cap, struct str text) {
    struct str cut = str_n(text.p, text.len < cap ? text.len : cap - 1);
    cut.len = utf8_valid_length(cut);
    if (cut.p && cut.len) {
        memcpy(to, cut.p, cut.len);
    }
    to[cut.len] = 0;
}

int problem_local(struct bowline_problem *p, int error, const char *detail) {
    if (p) {
        *p = (struct bowline_problem){.error = error};
        text_copy(p->code, sizeof p->code, str_of(bowline_error_code(error)));
        text_copy(p->detail, sizeof p->detail, str_of(detail && detail[0] ? detail : bowline_strerror(error)));
    }
    return error;
}

int problem_argument(struct bowline_problem *p, const char *name, const char *what) {
    char detail[160];
    snprintf(detail, sizeof detail, "%s %s", name, what);
    return problem_local(p, BOWLINE_BAD_ARGUMENT, detail);
}

static int error_of(struct str code, int status) {
    for (int e = ERR_NONE + 1; e < ERR_COUNT; e++) {
        if (str_eqz(code, err_code((enum err) e))) {
            return SERVER_FIRST + e;
        }
    }
    /* Without a code of ours it was something on the way, such as a proxy whose upstream is away. */
    return status == 408 ? BOWLINE_REQUEST_TIMEOUT : status == 429 ? BOWLINE_RATE_LIMITED : status >= 500 ? BOWLINE_UNAVAILABLE : BOWLINE_BAD_ANSWER;
}

static struct str member(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

int problem_answer(struct bowline_problem *p, int status, struct str body, double retry_after_s) {
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error error;
    if (json_parse(&arena, body, JSON_DEPTH, &root, &error) != 0) {
        root = NULL;
    }
    struct str code = member(root, "code"), detail = member(root, "detail");
    int result = error_of(code, status);
    if (p) {
        char plain[64];
        snprintf(plain, sizeof plain, "The server answered %d", status);
        *p = (struct bowline_problem){.error = result, .status = status, .retry_after_s = retry_after_s};
        text_copy(p->code, sizeof p->code, code.len ? code : str_of(bowline_error_code(result)));
        text_copy(p->detail, sizeof p->detail, detail.len ? detail : str_of(plain));
        const struct json *places = json_get(root, "errors");
        if (places && places->type == JSON_ARRAY && places->child) {
            text_copy(p->pointer, sizeof p->pointer, member(places->child, "pointer"));
        }
    }
    arena_fini(&arena);
    return result;
}
