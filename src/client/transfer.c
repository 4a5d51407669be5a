#include "client/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECT_MS 10000L
#define ANSWER_BYTES_MAX ((size_t) 64 << 20) /* a page of a thousand tasks with their inputs and results of 16 KiB stays below */

/* ---- answers ---- */

void reply_clear(struct reply *r) {
    struct buf body = r->body;
    buf_clear(&body);
    *r = (struct reply){.body = body, .most = r->most};
}

void reply_fini(struct reply *r) {
    buf_fini(&r->body);
    *r = (struct reply){0};
}

int reply_text(struct reply *r, struct bowline_text *ret_text, struct bowline_problem *p) {
    buf_z(&r->body);
    if (r->body.failed || !r->body.data) {
        return problem_local(p, BOWLINE_NO_MEMORY, NULL);
    }
    *ret_text = (struct bowline_text){.data = r->body.data, .len = r->body.len};
    r->body = (struct buf){0};
    return BOWLINE_OK;
}

size_t reply_write(char *data, size_t size, size_t count, void *arg) {
    struct reply *r = arg;
    if (r->body.len + size * count > (r->most ? r->most : ANSWER_BYTES_MAX)) {
        return 0;
    }
    buf_put(&r->body, data, size * count);
    return r->body.failed ? 0 : size * count;
}

static bool header_is(struct str line, const char *name, char *ret_value, size_t cap) {
    size_t len = strlen(name);
    if (line.len <= len || line.p[len] != ':' || strncasecmp(line.p, name, len) != 0) {
        return false;
    }
    struct str value = str_from(line, len + 1);
    while (value.len && value.p[value.len - 1] == '\n') {
        value.len--;
    }
    snprintf(ret_value, cap, "%.*s", STR_FMT(str_trim(value)));
    return true;
}

size_t reply_header(char *data, size_t size, size_t count, void *arg) {
    struct reply *r = arg;
    struct str line = str_n(data, size * count);
    char value[64];
    if (header_is(line, "Retry-After", value, sizeof value)) {
        double s = strtod(value, NULL);
        r->retry_after_s = s > 0 && s < 86400 ? s : 0;
    } else if (header_is(line, "Date", value, sizeof value)) {
        time_t date = curl_getdate(value, NULL);
        r->date_ms = date > 0 ? (int64_t) date * 1000 : 0;
    } else if (header_is(line, "ETag", value, sizeof value)) {
        snprintf(r->etag, sizeof r->etag, "%.*s", (int) sizeof r->etag - 1, value);
    } else if (header_is(line, "Bowline-Output-Offset", value, sizeof value)) {
        r->output_offset = strtoull(value, NULL, 10);
        r->has_output_offset = true;
    } else if (header_is(line, "Bowline-Output-Complete", value, sizeof value)) {
        r->output_complete = strcmp(value, "true") == 0;
    }
    return line.len;
}

/* ---- requests ---- */

int header_add(struct curl_slist **list, const char *name, const char *value) {
    struct buf line = {0};
    buf_puts(&line, name);
    buf_puts(&line, ": ");
    buf_puts(&line, value);
    buf_z(&line);
    struct curl_slist *more = line.failed ? NULL : curl_slist_append(*list, line.data);
    if (line.data) {
        explicit_bzero(line.data, line.len);
    }
    buf_fini(&line);
    *list = more ? more : *list;
    return more ? BOWLINE_OK : BOWLINE_NO_MEMORY;
}

int header_add_wait(struct curl_slist **list, int wait_s) {
    char value[32];
    snprintf(value, sizeof value, "wait=%d", wait_s);
    return header_add(list, "Prefer", value);
}

static bool url_is_loopback(const char *url) {
    const char *host = strstr(url, "://") + 3;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 || strncmp(host, "localhost", 9) == 0;
}

/* A program that the application starts must not inherit an authenticated connection. */
static curl_socket_t socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
    (void) arg, (void) purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

int transfer_prepare(const struct bowline_client *c, CURL *curl, const char *path, const char *credential, const char *accept,
                     struct curl_slist **list) {
    curl_easy_reset(curl);
    struct buf url = {0};
    buf_puts(&url, c->url);
    buf_puts(&url, path);
    buf_z(&url);
    bool failed = url.failed || curl_easy_setopt(curl, CURLOPT_URL, url.data) != CURLE_OK;
    buf_fini(&url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, socket_open);
    failed |= curl_easy_setopt(curl, CURLOPT_USERAGENT, "libbowline/" BOWLINE_VERSION) != CURLE_OK;
    if (url_is_loopback(c->url)) {
        failed |= curl_easy_setopt(curl, CURLOPT_PROXY, "") != CURLE_OK;
    }
    if (c->ca_file) {
        failed |= curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca_file) != CURLE_OK;
    }
    const char *who = credential ? credential : c->credential;
    if (who) {
        struct buf value = {0};
        buf_puts(&value, "Bearer ");
        buf_puts(&value, who);
        failed |= header_add(list, "Authorization", buf_z(&value)) != BOWLINE_OK || value.failed;
        if (value.data) {
            explicit_bzero(value.data, value.len);
        }
        buf_fini(&value);
    }
    failed |= accept && header_add(list, "Accept", accept) != BOWLINE_OK;
    return failed ? BOWLINE_NO_MEMORY : BOWLINE_OK;
}

void transfer_body(CURL *curl, struct str body) {
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) body.len);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.p);
}

static int request_headers(const struct request *q, struct curl_slist **list) {
    int error = BOWLINE_OK;
    if (q->has_body) {
        error = header_add(list, "Content-Type", "application/json");
        error = error ? error : header_add(list, "Expect", "");
    }
    if (!error && q->idempotency_key) {
        error = header_add(list, "Idempotency-Key", q->idempotency_key);
    }
    if (!error && q->wait_s >= 0) {
        error = header_add_wait(list, q->wait_s);
    }
    if (!error && q->if_version) {
        char tag[32];
        snprintf(tag, sizeof tag, "\"%llu\"", (unsigned long long) q->if_version);
        error = header_add(list, "If-None-Match", tag);
    }
    return error;
}

static int interrupted(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void) a, (void) b, (void) c, (void) d;
    return atomic_load(&((struct bowline_client *) arg)->interrupted);
}

CURL *client_handle_take(bowline_client *c) {
    CURL *curl = NULL;
    pthread_mutex_lock(&c->lock);
    if (c->idles) {
        curl = c->idle[--c->idles];
    }
    pthread_mutex_unlock(&c->lock);
    return curl ? curl : curl_easy_init();
}

void client_handle_give(bowline_client *c, CURL *curl) {
    curl_easy_reset(curl);
    pthread_mutex_lock(&c->lock);
    bool kept = c->idles < sizeof c->idle / sizeof c->idle[0];
    if (kept) {
        c->idle[c->idles++] = curl;
    }
    pthread_mutex_unlock(&c->lock);
    if (!kept) {
        curl_easy_cleanup(curl);
    }
}

void transfer_receive(CURL *curl, struct reply *r, char why[CURL_ERROR_SIZE], struct curl_slist *list) {
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, reply_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, reply_write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
}

int transfer_result(CURL *curl, CURLcode result, const char *why, struct reply *r, struct bowline_problem *p) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int) status;
    if (result == CURLE_OUT_OF_MEMORY || r->body.failed) {
        return problem_local(p, BOWLINE_NO_MEMORY, NULL);
    }
    if (result == CURLE_ABORTED_BY_CALLBACK) {
        return problem_local(p, BOWLINE_INTERRUPTED, NULL);
    }
    if (result == CURLE_WRITE_ERROR) {
        return problem_local(p, BOWLINE_BAD_ANSWER, "The answer is larger than any that a bowline server gives");
    }
    if (result != CURLE_OK) {
        return problem_local(p, BOWLINE_UNREACHABLE, why[0] ? why : curl_easy_strerror(result));
    }
    return BOWLINE_OK;
}

static int status_check(const struct reply *r, struct bowline_problem *p) {
    if ((r->status >= 200 && r->status < 300) || r->status == 304) {
        return BOWLINE_OK;
    }
    return problem_answer(p, r->status, buf_view(&r->body), r->retry_after_s);
}

/* How long a try may take; libcurl takes 0 for no limit. */
static int64_t try_ms(const bowline_client *c, const struct request *q) {
    int64_t ms = c->timeout_ms + (q->wait_s > 0 ? q->wait_s * 1000 : 0);
    int64_t left_ms = q->until_ms ? q->until_ms - mono_ms() : ms;
    left_ms = left_ms > 0 ? left_ms : 1;
    return left_ms < ms ? left_ms : ms;
}

static int perform_once(bowline_client *c, struct request *q, struct reply *r, struct bowline_problem *p) {
    struct curl_slist *list = NULL;
    char why[CURL_ERROR_SIZE] = "";
    CURL *curl = client_handle_take(c);
    if (!curl) {
        return problem_local(p, BOWLINE_NO_MEMORY, NULL);
    }
    reply_clear(r);
    int error = transfer_prepare(c, curl, buf_z(&q->path), q->credential, q->octets ? "*/*" : "application/json", &list);
    error = error ? error : request_headers(q, &list);
    if (error) {
        problem_local(p, error, NULL);
        goto out;
    }
    transfer_receive(curl, r, why, list);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) try_ms(c, q));
    if (!q->octets) {
        curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    }
    if (q->wait_s > 0) {
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, interrupted);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, c);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    }
    if (q->has_body) {
        transfer_body(curl, buf_view(&q->body.text));
    }
    if (q->method) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
    }
    CURLcode result = curl_easy_perform(curl);
    error = transfer_result(curl, result, why, r, p);
    if (result == CURLE_OPERATION_TIMEDOUT && q->until_ms && mono_ms() + 10 >= q->until_ms) { /* libcurl's clock is not quite ours */
        error = problem_local(p, BOWLINE_TIMED_OUT, NULL);
    }
    error = error ? error : status_check(r, p);
out:
    client_handle_give(c, curl);
    curl_slist_free_all(list);
    return error;
}

/* Header values of the caller's must not begin lines of their own. */
static bool header_is_usable(const char *text) {
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char) text[i] < ' ' || text[i] == 127) {
            return false;
        }
    }
    return len >= 1 && len <= 255;
}

static int fields_check(const struct request *q, struct bowline_problem *p) {
    int error = body_check(&q->body, p);
    if (!error && q->path.failed) {
        error = problem_local(p, BOWLINE_NO_MEMORY, NULL);
    }
    if (!error && q->idempotency_key && !header_is_usable(q->idempotency_key)) {
        error = problem_argument(p, "idempotency_key", "is not 1 to 255 bytes that a header can carry");
    }
    if (!error && q->credential && !credential_is_usable(q->credential)) {
        error = problem_argument(p, "worker_token", "cannot stand in a header");
    }
    return error;
}

/* Who waits may be interrupted; other calls go on. */
static void pause_until(const bowline_client *c, const struct request *q, int64_t until_ms) {
    if (q->wait_s >= 0) {
        client_sleep(c, until_ms);
        return;
    }
    int64_t ms = until_ms - mono_ms();
    struct timespec t = {.tv_sec = ms > 0 ? ms / 1000 : 0, .tv_nsec = ms > 0 ? ms % 1000 * 1000000 : 0};
    while (nanosleep(&t, &t) != 0) {
    }
}

int client_perform(bowline_client *c, struct request *q, struct reply *r, struct bowline_problem *p) {
    struct bowline_problem own = {0};
    int64_t deadline_ms = mono_ms() + c->retry_ms, pause = 0;
    p = p ? p : &own;
    int error = fields_check(q, p);
    deadline_ms = q->until_ms && q->until_ms < deadline_ms ? q->until_ms : deadline_ms;
    while (!error) {
        error = perform_once(c, q, r, p);
        if (!error_is_passing(error) || error == BOWLINE_QUOTA_EXCEEDED || !(q->repeatable || q->idempotency_key)) {
            break;
        }
        int64_t wait_ms = backoff_next(&pause, BACKOFF_MAX_MS), asked_ms = (int64_t) (p->retry_after_s * 1000);
        wait_ms = wait_ms > asked_ms ? wait_ms : asked_ms;
        if (mono_ms() + wait_ms > deadline_ms) {
            break;
        }
        pause_until(c, q, mono_ms() + wait_ms);
        error = q->wait_s >= 0 && atomic_load(&c->interrupted) ? problem_local(p, BOWLINE_INTERRUPTED, NULL) : BOWLINE_OK;
    }
    buf_fini(&q->path);
    buf_fini(&q->body.text);
    return error;
}

int client_perform_blind(bowline_client *c, struct request *q, struct bowline_problem *p) {
    struct reply r = {0};
    int error = client_perform(c, q, &r, p);
    reply_fini(&r);
    return error;
}
