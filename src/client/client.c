#include "client/internal.h"

#include <stdlib.h>

const char *bowline_version(void) {
    return BOWLINE_VERSION;
}

void bowline_text_fini(struct bowline_text *text) {
    if (text) {
        free(text->data);
        *text = (struct bowline_text){0};
    }
}

static bool has_part(CURLU *u, CURLUPart part) {
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK && text[0];
    curl_free(text);
    return has;
}

/* Requests begin with /v1 themselves: with one in the URL none would arrive. */
static bool path_has_v1(const char *path) {
    for (const char *p = path; (p = strstr(p, "/v1")); p++) {
        if (p[3] == '/' || !p[3]) {
            return true;
        }
    }
    return false;
}

/* http or https, a host, perhaps a port and a path; and that libcurl takes it. */
static bool url_is_usable(const char *url) {
    bool scheme = url && (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0);
    for (const char *p = scheme ? url : ""; *p; p++) {
        if (*p <= ' ' || *p > '~' || *p == '?' || *p == '#') {
            return false;
        }
    }
    const char *host = scheme ? strstr(url, "://") + 3 : "";
    if (!*host || *host == '/' || *host == ':') {
        return false;
    }
    CURLU *u = curl_url();
    bool usable = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && has_part(u, CURLUPART_HOST) && !has_part(u, CURLUPART_USER) &&
                  !has_part(u, CURLUPART_PASSWORD) && !path_has_v1(host);
    curl_url_cleanup(u);
    return usable;
}

bool credential_is_usable(const char *text) {
    for (; *text; text++) {
        if (*text <= ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

static bool seconds_are_usable(double s) {
    return s >= 0 && s <= 1e9;
}

static int options_take(struct bowline_client *c, const struct bowline_client_options *o) {
    size_t len = strlen(o->url);
    while (len && o->url[len - 1] == '/') {
        len--;
    }
    c->url = strndup(o->url, len);
    c->credential = o->credential ? strdup(o->credential) : NULL;
    c->ca_file = o->ca_file ? strdup(o->ca_file) : NULL;
    c->timeout_ms = o->timeout_s > 0 ? (int64_t) (o->timeout_s * 1000) : 30000;
    c->retry_ms = (int64_t) (o->retry_s * 1000);
    return c->url && !c->credential == !o->credential && !c->ca_file == !o->ca_file ? BOWLINE_OK : BOWLINE_NO_MEMORY;
}

static void client_free(struct bowline_client *c) {
    if (c->credential) {
        explicit_bzero(c->credential, strlen(c->credential));
    }
    free(c->credential);
    free(c->ca_file);
    free(c->url);
    free(c);
}

static int options_check(const struct bowline_client_options *o) {
    if (!url_is_usable(o->url)) {
        return problem_argument(o->problem, "url", "is missing, or is not http or https with a host, without a user, a query and /v1");
    }
    if (o->credential && !credential_is_usable(o->credential)) {
        return problem_argument(o->problem, "credential", "holds a space, a line's end or another character that none has");
    }
    if (!seconds_are_usable(o->timeout_s) || !seconds_are_usable(o->retry_s)) {
        return problem_argument(o->problem, seconds_are_usable(o->timeout_s) ? "retry_s" : "timeout_s", "is out of its bounds");
    }
    return BOWLINE_OK;
}

int bowline_client_open(const struct bowline_client_options *options, bowline_client **ret_client) {
    int error = options ? options_check(options) : BOWLINE_BAD_ARGUMENT;
    if (error) {
        return error;
    }
    struct bowline_client *c = calloc(1, sizeof *c);
    if (!c) {
        return problem_local(options->problem, BOWLINE_NO_MEMORY, NULL);
    }
    error = options_take(c, options);
    if (!error && pthread_mutex_init(&c->lock, NULL) != 0) {
        error = BOWLINE_SYSTEM;
    }
    if (error) {
        client_free(c);
        return problem_local(options->problem, error, NULL);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        pthread_mutex_destroy(&c->lock);
        client_free(c);
        return problem_local(options->problem, BOWLINE_NO_MEMORY, NULL);
    }
    *ret_client = c;
    return BOWLINE_OK;
}

void bowline_client_close(bowline_client *client) {
    if (!client) {
        return;
    }
    mux_stop(client->mux);
    for (unsigned i = 0; i < client->idles; i++) {
        curl_easy_cleanup(client->idle[i]);
    }
    pthread_mutex_destroy(&client->lock);
    curl_global_cleanup();
    client_free(client);
}

void bowline_client_interrupt(bowline_client *client) {
    atomic_store(&client->interrupted, true);
}

int bowline_call(bowline_client *client, const char *method, const char *path, const char *body_json, struct bowline_text *ret_body,
                 struct bowline_problem *problem) {
    if (!method || !method[0] || method[strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")]) {
        return problem_argument(problem, "method", "is missing or no name in capitals");
    }
    if (!path || path[0] != '/' || !credential_is_usable(path)) {
        return problem_argument(problem, "path", "is missing, does not begin with a slash, or holds what must be percent-encoded");
    }
    struct request q = {.method = method, .wait_s = -1, .repeatable = strcmp(method, "GET") == 0, .has_body = body_json};
    buf_puts(&q.path, path);
    if (body_json) {
        buf_puts(&q.body.text, body_json);
    }
    struct reply r = {0};
    int error = client_perform(client, &q, &r, problem);
    if (!error && ret_body) {
        error = reply_text(&r, ret_body, problem);
    }
    reply_fini(&r);
    return error;
}
