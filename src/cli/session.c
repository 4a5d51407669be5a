/* session.c: `bowline session`: one function per action, each a path, a body and how its answer is shown. */
#include "cli/commands.h"

#include "cli/body.h"
#include "cli/client.h"
#include "cli/exit.h"
#include "cli/show.h"

#include <stdio.h>

static const struct member create_members[] = {
    {"session-key", "key", MEMBER_TEXT},   {"user", "user", MEMBER_TEXT},         {"idle-timeout", "idle_timeout", MEMBER_NUMBER},
    {"max-age", "max_age", MEMBER_NUMBER}, {"metadata", "metadata", MEMBER_JSON}, {NULL, NULL, MEMBER_TEXT},
};

static const struct member rotate_members[] = {
    {"session-key", "key", MEMBER_TEXT},
    {"user", "user", MEMBER_TEXT},
    {NULL, NULL, MEMBER_TEXT},
};

/* Only what whoever created it needs next: the id and the token. */
static void show_created(const struct json *session, struct buf *out) {
    show_row(out, "session", member_text(session, "id"));
    show_row(out, "token", member_text(session, "token"));
}

static int session_post(struct args *a, const char *path, struct str body, void (*show)(const struct json *, struct buf *)) {
    struct client *c;
    int code = client_open(a, &c);
    if (code) {
        return code;
    }
    struct buf line = {0};
    const char *key = args_get(a, "idempotency-key");
    buf_printf(&line, "Idempotency-Key: %s", key ? key : "");
    struct client_request q = {.method = "POST", .path = path, .body = body, .header = {key ? buf_z(&line) : NULL}};
    code = ask_and_print(c, a, &q, show);
    buf_fini(&line);
    client_close(c);
    return code;
}

/* POST with a body from flags to /v1/sessions or /v1/sessions/ID/verb. */
static int session_post_members(struct args *a, const char *verb, const struct member *members, void (*show)(const struct json *, struct buf *)) {
    struct buf path = {0}, body = {0};
    buf_puts(&path, "/v1/sessions");
    if (verb) {
        buf_char(&path, '/');
        path_put(&path, a->operand[0]);
        buf_printf(&path, "/%s", verb);
    }
    buf_char(&body, '{');
    int code = body_members(&body, a, members);
    buf_char(&body, '}');
    code = code ? code : session_post(a, buf_z(&path), buf_view(&body), show);
    buf_fini(&path);
    buf_fini(&body);
    return code;
}

static int session_create(struct args *a) {
    return session_post_members(a, NULL, create_members, show_created);
}

static int session_rotate(struct args *a) {
    return session_post_members(a, "rotate", rotate_members, show_created);
}

static int session_touch(struct args *a) {
    static const struct member none[] = {{NULL, NULL, MEMBER_TEXT}};
    return session_post_members(a, "touch", none, show_session);
}

static int session_merge(struct args *a) {
    static const struct member into[] = {{"into", "into", MEMBER_TEXT}, {NULL, NULL, MEMBER_TEXT}};
    if (!args_has(a, "into")) {
        return args_wrong(a, "into which session? --into ses_...");
    }
    return session_post_members(a, "merge", into, show_session);
}

/* GET or DELETE of one session: the one named, or the token's own. */
static int session_one(struct args *a, const char *method) {
    struct client *c;
    int code = client_open(a, &c);
    if (code) {
        return code;
    }
    struct buf path = {0};
    if (a->operand_count && !client_token(c)) {
        buf_puts(&path, "/v1/sessions/");
        path_put(&path, a->operand[0]);
    } else if (a->operand_count && strncmp(client_token(c), a->operand[0], strlen(a->operand[0])) != 0 && strncmp(client_token(c), "ses_", 4) == 0) {
        code = args_wrong(a, "the token is not that session's; with a key (--key-file) any session can be named");
    } else if (client_token(c)) {
        buf_puts(&path, "/v1/session");
    } else {
        code = args_wrong(a, "which session? Give its id, or its token with --token");
    }
    struct client_request q = {.method = method, .path = buf_z(&path)};
    code = code ? code : ask_and_print(c, a, &q, show_session);
    buf_fini(&path);
    client_close(c);
    return code;
}

static int session_show(struct args *a) {
    return session_one(a, "GET");
}

static int session_end(struct args *a) {
    return session_one(a, "DELETE");
}

static int session_list(struct args *a) {
    static const char *const filters[] = {"user", "state", "limit", "after"};
    struct client *c;
    int code = client_open(a, &c);
    if (code) {
        return code;
    }
    struct buf path = {0};
    buf_puts(&path, "/v1/sessions");
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *value = args_get(a, filters[i]);
        if (value) {
            query_put(&path, filters[i], value);
        }
    }
    struct client_request q = {.path = buf_z(&path)};
    code = ask_and_print(c, a, &q, show_sessions);
    buf_fini(&path);
    client_close(c);
    return code;
}

static const struct flag create_flags[] = {
    {"session-key", "KEY", "The application's own session id; a session that has it already is given back"},
    {"user", "USER", "Name that several sessions of one person share"},
    {"idle-timeout", "SECONDS", "Ends when unused for that long; 0 is never"},
    {"max-age", "SECONDS", "Ends at that age; 0 is never"},
    {"metadata", "JSON", "An object of your own: JSON, @FILE, or - for standard input"},
    {"idempotency-key", "KEY", "Asked again with the same key, the server gives the same answer"},
    {NULL, NULL, NULL},
};

static const struct flag list_flags[] = {
    {"user", "USER", "Only those of this user"},
    {"state", "STATE", "Only active or ended ones"},
    {"limit", "N", "How many (1 to 1000; 100 if not given)"},
    {"after", "CURSOR", "Go on after an earlier page"},
    {NULL, NULL, NULL},
};

static const struct flag rotate_flags[] = {
    {"session-key", "KEY", "Replaces the session's key"},
    {"user", "USER", "Who has logged in"},
    {"idempotency-key", "KEY", "Asked again with the same key, the server gives the same answer"},
    {NULL, NULL, NULL},
};

static const struct flag merge_flags[] = {
    {"into", "ID", "The session that takes the tasks"},
    {"idempotency-key", "KEY", "Asked again with the same key, the server gives the same answer"},
    {NULL, NULL, NULL},
};

static const struct action session_actions[] = {
    {"create", "", 0, 0, "Makes a session; prints its id and its token", create_flags,
     "  bowline session create\n"
     "  bowline session create --session-key \"$PHP_SESSION_ID\" --user u-17 --idle-timeout 1800\n"
     "  bowline session create --json | jq -r .token\n",
     session_create},
    {"show", "[ID]", 0, 1, "Shows a session: by id with a key, or the one whose token is given", NULL,
     "  bowline session show ses_01J...\n"
     "  bowline session show --token ses_01J....g1....\n",
     session_show},
    {"list", "", 0, 0, "Lists sessions, newest first", list_flags,
     "  bowline session list --state active\n"
     "  bowline session list --user u-17 --json\n",
     session_list},
    {"touch", "ID", 1, 1, "Restarts a session's idle clock", NULL, "  bowline session touch ses_01J...\n", session_touch},
    {"rotate", "ID", 1, 1, "For login: same session and tasks, a new token; older tokens are void", rotate_flags,
     "  bowline session rotate ses_01J... --session-key \"$NEW_SESSION_ID\" --user u-17\n", session_rotate},
    {"end", "[ID]", 0, 1, "Ends a session: by id with a key, or the one whose token is given", NULL, "  bowline session end ses_01J...\n",
     session_end},
    {"merge", "ID", 1, 1, "Moves all tasks to another session and ends this one", merge_flags,
     "  bowline session merge ses_01J... --into ses_01K...\n", session_merge},
};

const struct command session_command = {
    "session",
    "Make, show, list and end sessions",
    "A session is a user's interactive context. Its token lets a browser watch what the session started, and nothing else.\n",
    session_actions,
    sizeof session_actions / sizeof *session_actions,
    false,
    NULL};
