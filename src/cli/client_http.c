#include "cli/client_http.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/private_file.h"
#include "cli/cli.h"
#include "cli/client_internal.h"
#include "cli/exit.h"
#include "cli/server_url.h"
#include "cli/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define URL_DEFAULT "http://127.0.0.1:8787"
#define CONNECT_MS 10000L
#define ANSWER_MS 90000L /* a waiting request is held for 60 s at most */
#define PROBLEM_DEPTH 16
#define PATH_SHOWN 60

void client_reply_fini(struct client_reply *r) {
    buf_fini(&r->body);
    *r = (struct client_reply){0};
}

const char *client_token(const struct client *c) {
    return c->is_token ? c->credential : NULL;
}

const char *client_url(const struct client *c) {
    return c->url;
}

const char *client_why(const struct client *c) {
    return c->why;
}

/* ---- opening ---- */

static struct str text_trim(struct str s) {
    while (s.len && strchr(" \t\r\n", s.p[0])) {
        s = str_from(s, 1);
    }
    while (s.len && strchr(" \t\r\n", s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

static int key_file_read(struct client *c, const struct args *a, const char *path) {
    struct buf text = {0};
    int failed = private_file_read(path, &text);
    struct str key = text_trim(buf_view(&text));
    if (!failed && key.len) {
        c->credential = mem_strdup(key);
    }
    buf_fini(&text);
    if (failed) {
        return args_wrong(a, "--key-file %s: %s", path, strerror(-failed));
    }
    return c->credential ? 0 : args_wrong(a, "--key-file %s: the file is empty", path);
}

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static int credential_pick(struct client *c, const struct args *a) {
    const char *token = args_get(a, "token"), *key = args_get(a, "key"), *file = args_get(a, "key-file");
    if (key && file) {
        return args_wrong(a, "--key and --key-file: give one of them");
    }
    if (!token && file) {
        return key_file_read(c, a, file);
    }
    if (!token && !key) {
        token = environment("BOWLINE_TOKEN");
        key = environment("BOWLINE_KEY");
    }
    if (token || key) {
        c->is_token = token;
        c->credential = mem_strdup(text_trim(str_of(token ? token : key)));
    }
    return 0;
}

static int credential_check(const struct client *c, const struct args *a) {
    for (const char *p = c->credential ? c->credential : ""; *p; p++) {
        if (*p <= ' ' || *p > '~') {
            return args_wrong(a, "the %s holds a character that none has", c->is_token ? "token" : "key");
        }
    }
    return 0;
}

static int url_pick(struct client *c, const struct args *a) {
    const char *given = args_get(a, "url"), *named = environment("BOWLINE_URL");
    struct buf url = {0}, why = {0};
    int code = 0;
    if (server_url_read(given ? given : named ? named : URL_DEFAULT, &url, &why)) {
        code = args_wrong(a, "%s is not the URL of a server: %s", given ? "--url" : "BOWLINE_URL", buf_z(&why));
    } else {
        c->url = mem_strdup(buf_view(&url));
    }
    buf_fini(&url);
    buf_fini(&why);
    return code;
}

int client_open(const struct args *a, struct client **ret_client) {
    struct client *c = mem_alloc(sizeof *c);
    int wrong = url_pick(c, a);
    wrong = wrong ? wrong : credential_pick(c, a);
    wrong = wrong ? wrong : credential_check(c, a);
    if (!wrong) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        c->curl = curl_easy_init();
        wrong = c->curl ? 0 : args_fail(a, BOWLINE_EXIT_FAILED, "libcurl cannot be started");
    }
    if (wrong) {
        client_close(c);
        return wrong;
    }
    *ret_client = c;
    return 0;
}

void client_close(struct client *c) {
    if (!c) {
        return;
    }
    if (c->curl) {
        curl_easy_cleanup(c->curl);
        curl_global_cleanup();
    }
    if (c->credential) {
        explicit_bzero(c->credential, strlen(c->credential));
    }
    mem_free(c->credential);
    mem_free(c->url);
    mem_free(c);
}

/* ---- requests ---- */

static size_t body_write(char *data, size_t size, size_t count, void *arg) {
    struct client_reply *r = arg;
    buf_put(&r->body, data, size * count);
    return r->body.failed ? 0 : size * count;
}

static bool header_is(struct str line, const char *name, struct str *ret_value) {
    size_t len = strlen(name);
    if (line.len <= len || line.p[len] != ':' || !str_ieqz(str_n(line.p, len), name)) {
        return false;
    }
    *ret_value = text_trim(str_from(line, len + 1));
    return true;
}

static int64_t number_of(struct str s) {
    char text[24];
    snprintf(text, sizeof text, "%.*s", STR_FMT(s));
    return strtoll(text, NULL, 10);
}

static size_t header_write(char *data, size_t size, size_t count, void *arg) {
    struct client_reply *r = arg;
    struct str line = str_n(data, size * count), value;
    if (header_is(line, "Date", &value)) {
        char text[64];
        snprintf(text, sizeof text, "%.*s", STR_FMT(value));
        time_t date = curl_getdate(text, NULL);
        r->date_s = date > 0 ? date : 0;
    } else if (header_is(line, "ETag", &value)) {
        snprintf(r->etag, sizeof r->etag, "%.*s", STR_FMT(value));
    } else if (header_is(line, "Retry-After", &value)) {
        r->retry_after_s = number_of(value);
    } else if (header_is(line, "Bowline-Output-Offset", &value)) {
        r->has_output_offset = true;
        r->output_offset = (uint64_t) number_of(value);
    } else if (header_is(line, "Bowline-Output-Complete", &value)) {
        r->output_complete = str_ieqz(value, "true");
    }
    return line.len;
}

static bool url_is_loopback(const char *url) {
    const char *host = strstr(url, "://") + 3;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 || strncmp(host, "localhost", 9) == 0;
}

struct curl_slist *client_prepare(const struct client *c, CURL *curl, const struct client_request *q, struct client_reply *reply, char *why) {
    curl_easy_reset(curl);
    struct buf text = {0};
    buf_printf(&text, "%s%s", c->url, q->path);
    curl_easy_setopt(curl, CURLOPT_URL, buf_z(&text));
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "bowline/" BOWLINE_VERSION);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, header_write);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, reply);
    if (url_is_loopback(c->url)) {
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
    }
    why[0] = 0;
    struct curl_slist *list = NULL;
    const char *credential = q->token ? q->token : c->credential;
    if (credential) {
        buf_clear(&text);
        buf_printf(&text, "Authorization: Bearer %s", credential);
        list = curl_slist_append(list, buf_z(&text));
        explicit_bzero(text.data, text.len);
    }
    buf_fini(&text);
    for (int i = 0; i < 4 && q->header[i]; i++) {
        list = curl_slist_append(list, q->header[i]);
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method ? q->method : "GET");
    if (q->body.p) {
        list = curl_slist_append(list, "Content-Type: application/json");
        list = curl_slist_append(list, "Expect:");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) q->body.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->body.p);
    }
    return list;
}

static int curl_result(struct client *c, CURLcode result, struct client_reply *reply) {
    long status = 0;
    if (result == CURLE_OK) {
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
        reply->status = (int) status;
        return 0;
    }
    if (!c->why[0]) {
        snprintf(c->why, sizeof c->why, "%s", curl_easy_strerror(result));
    }
    return BOWLINE_EXIT_UNREACHABLE;
}

int client_call(struct client *c, const struct client_request *q, struct client_reply *reply) {
    client_reply_fini(reply);
    struct curl_slist *list = client_prepare(c, c->curl, q, reply, c->why);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, list);
    int result = curl_result(c, curl_easy_perform(c->curl), reply);
    curl_slist_free_all(list);
    return result;
}

/* ---- streams ---- */

struct follow {
    struct client *client;
    const struct client_stream *stream;
    struct client_reply *reply;
    int64_t heard_ms;
    bool stopped;
};

static size_t follow_write(char *data, size_t size, size_t count, void *arg) {
    struct follow *f = arg;
    long status = 0;
    f->heard_ms = clock_ms();
    curl_easy_getinfo(f->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        return body_write(data, size, count, f->reply);
    }
    f->stopped = !f->stream->data(f->stream->arg, str_n(data, size * count));
    return f->stopped ? 0 : size * count;
}

/* Turns the handle until it is done, stopped or silent. */
static CURLcode follow_run(struct follow *f, CURLM *multi) {
    int running = 1;
    while (running) {
        if (curl_multi_perform(multi, &running)) {
            return CURLE_RECV_ERROR;
        }
        int64_t wait_ms = running ? f->stream->tick(f->stream->arg) : 0;
        if (wait_ms == CLIENT_STOP) {
            f->stopped = true;
            return CURLE_OK;
        }
        if (clock_ms() - f->heard_ms > f->stream->silence_ms) {
            snprintf(f->client->why, sizeof f->client->why, "nothing was heard for %lld s", (long long) f->stream->silence_ms / 1000);
            return CURLE_OPERATION_TIMEDOUT;
        }
        if (running) {
            curl_multi_poll(multi, NULL, 0, wait_ms > 1000 ? 1000 : (int) wait_ms, NULL);
        }
    }
    int left;
    CURLMsg *message = curl_multi_info_read(multi, &left);
    return message ? message->data.result : CURLE_RECV_ERROR;
}

int client_follow(struct client *c, const struct client_stream *s, struct client_reply *reply) {
    client_reply_fini(reply);
    struct follow f = {.client = c, .stream = s, .reply = reply, .heard_ms = clock_ms()};
    struct client_request q = {.path = s->path, .header = {"Accept: text/event-stream"}};
    struct curl_slist *list = client_prepare(c, c->curl, &q, reply, c->why);
    if (s->last_event_id) {
        struct buf line = {0};
        buf_printf(&line, "Last-Event-ID: %s", s->last_event_id);
        list = curl_slist_append(list, buf_z(&line));
        buf_fini(&line);
    }
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, follow_write);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &f);
    CURLM *multi = curl_multi_init();
    curl_multi_add_handle(multi, c->curl);
    CURLcode result = follow_run(&f, multi);
    int code = curl_result(c, f.stopped ? CURLE_OK : result, reply);
    curl_multi_remove_handle(multi, c->curl);
    curl_multi_cleanup(multi);
    curl_slist_free_all(list);
    return code;
}

/* ---- saying what went wrong ---- */

int client_say_unreachable(const struct client *c, const struct args *a) {
    args_fail(a, BOWLINE_EXIT_UNREACHABLE, "%s does not answer: %s", c->url, c->why);
    fputs("  is the server running (`bowline serve`), and is this its URL (--url or BOWLINE_URL)?\n", stderr);
    return BOWLINE_EXIT_UNREACHABLE;
}

static struct str json_text(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

static void problem_write(const struct json *root, int status, struct buf *out) {
    struct str detail = json_text(root, "detail"), title = json_text(root, "title");
    buf_printf(out, "%d ", status);
    text_put_clean(out, json_text(root, "code"));
    buf_puts(out, ": ");
    text_put_clean(out, detail.len ? detail : title);
    const struct json *places = json_get(root, "errors");
    for (const struct json *p = places ? places->child : NULL; p; p = p->next) {
        buf_puts(out, "\n  ");
        text_put_clean(out, json_text(p, "pointer"));
        buf_puts(out, ": ");
        text_put_clean(out, json_text(p, "detail"));
    }
}

/* Nothing is there: perhaps because the URL leads to another place than was meant. */
static void path_hint(const struct args *a) {
    const char *url = args_get(a, "url") ? args_get(a, "url") : environment("BOWLINE_URL");
    struct buf path = {0};
    text_put_cut(&path, str_of(server_url_path(url ? url : "")), PATH_SHOWN);
    if (path.len > 1) {
        fprintf(stderr, "  the URL has the path %s, so requests go to what is below it: is the server there?\n", buf_z(&path));
    }
    buf_fini(&path);
}

static const char *status_hint(const struct client_reply *r, const struct args *a) {
    if (r->status == 404) {
        path_hint(a);
    }
    if (r->status != 401) {
        return NULL;
    }
    bool any = args_has(a, "token") || args_has(a, "key") || args_has(a, "key-file") || environment("BOWLINE_TOKEN") || environment("BOWLINE_KEY");
    return any ? "the key or token is unknown here, or no longer valid"
               : "give a key (--key-file DIR/api.key, BOWLINE_KEY) or a token (--token, BOWLINE_TOKEN)";
}

int client_say_problem(const struct args *a, const struct client_reply *r) {
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error error;
    struct buf text = {0};
    if (json_parse(&arena, buf_view(&r->body), PROBLEM_DEPTH, &root, &error) == 0 && root->type == JSON_OBJECT) {
        problem_write(root, r->status, &text);
    } else {
        buf_printf(&text, "the server answered %d", r->status);
    }
    args_fail(a, 0, "%s", buf_z(&text));
    const char *hint = status_hint(r, a);
    if (hint) {
        fprintf(stderr, "  %s\n", hint);
    }
    struct str code = json_text(root, "code");
    int exit_code = str_eqz(code, "task-failed")      ? BOWLINE_EXIT_TASK_FAILED
                    : str_eqz(code, "task-cancelled") ? BOWLINE_EXIT_TASK_CANCELLED
                    : r->status >= 500                ? BOWLINE_EXIT_FAILED
                                                      : BOWLINE_EXIT_REFUSED;
    buf_fini(&text);
    arena_fini(&arena);
    return exit_code;
}

int client_ask(struct client *c, const struct args *a, const struct client_request *q, struct client_reply *reply) {
    if (client_call(c, q, reply)) {
        return client_say_unreachable(c, a);
    }
    if (reply->status >= 400) {
        return client_say_problem(a, reply);
    }
    if (reply->status < 200 || (reply->status >= 300 && reply->status != 304)) {
        return args_fail(a, BOWLINE_EXIT_FAILED, "the server answered %d, which a bowline server never does: is the URL right?", reply->status);
    }
    return 0;
}

/* ---- paths ---- */

void path_put(struct buf *path, const char *text) {
    static const char hex[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char) *text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (plain) {
            buf_char(path, (char) c);
        } else {
            buf_char(path, '%');
            buf_char(path, hex[c >> 4]);
            buf_char(path, hex[c & 15]);
        }
    }
}

void query_put(struct buf *path, const char *name, const char *value) {
    bool first = !memchr(path->data ? path->data : "", '?', path->len);
    buf_printf(path, "%c%s=", first ? '?' : '&', name);
    path_put(path, value);
}
