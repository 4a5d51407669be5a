#include "client/request.h"

static bool header_line_is_usable(const char *line) {
    const char *colon = strchr(line, ':');
    for (const char *p = line; *p; p++) {
        if ((unsigned char) *p < ' ' || *p == 127 || (p <= colon && *p == ' ')) {
            return false;
        }
    }
    return colon && colon > line;
}

int request_check(const struct bowline_request *q, struct bowline_problem *p) {
    if (q->method && (!q->method[0] || q->method[strspn(q->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")])) {
        return problem_argument(p, "method", "is no name in capitals");
    }
    if (!q->path || q->path[0] != '/' || !credential_is_usable(q->path)) {
        return problem_argument(p, "path", "is missing, does not begin with a slash, or holds what must be percent-encoded");
    }
    if (!q->body && q->body_len) {
        return problem_argument(p, "body", "is missing");
    }
    for (const char *const *h = q->headers; h && *h; h++) {
        if (!header_line_is_usable(*h)) {
            return problem_argument(p, "headers", "holds what is no header line");
        }
    }
    if (q->credential && !credential_is_usable(q->credential)) {
        return problem_argument(p, "credential", "cannot stand in a header");
    }
    return q->timeout_ms < -1 || q->silence_ms < 0 ? problem_argument(p, "timeout_ms or silence_ms", "is negative") : BOWLINE_OK;
}

int request_prepare(const bowline_client *c, CURL *curl, const struct bowline_request *q, bool copy_body, struct curl_slist **list) {
    int error = transfer_prepare(c, curl, q->path, q->credential, NULL, list);
    for (const char *const *h = q->headers; !error && h && *h; h++) {
        struct curl_slist *more = curl_slist_append(*list, *h);
        *list = more ? more : *list;
        error = more ? BOWLINE_OK : BOWLINE_NO_MEMORY;
    }
    if (!error && q->body) {
        error = header_add(list, "Content-Type", "application/json");
        error = error ? error : header_add(list, "Expect", "");
        transfer_body(curl, str_n(q->body, q->body_len));
        if (!error && copy_body && curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, q->body) != CURLE_OK) {
            error = BOWLINE_NO_MEMORY;
        }
    }
    if (!error && curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method ? q->method : "GET") != CURLE_OK) {
        error = BOWLINE_NO_MEMORY;
    }
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) (q->timeout_ms ? (q->timeout_ms > 0 ? q->timeout_ms : 0) : c->timeout_ms));
    return error;
}

struct bowline_response response_of(const struct reply *r) {
    struct bowline_response answer = {.status = r->status,
                                      .retry_after_s = r->retry_after_s,
                                      .date_ms = r->date_ms,
                                      .has_output_offset = r->has_output_offset,
                                      .output_complete = r->output_complete,
                                      .output_offset = r->output_offset};
    memcpy(answer.etag, r->etag, sizeof answer.etag);
    return answer;
}

void bowline_response_fini(struct bowline_response *response) {
    if (response) {
        bowline_text_fini(&response->body);
        *response = (struct bowline_response){0};
    }
}

int bowline_request_perform(bowline_client *client, const struct bowline_request *request, struct bowline_response *ret_response,
                            struct bowline_problem *problem) {
    int error = request_check(request, problem);
    if (error) {
        return error;
    }
    CURL *curl = client_handle_take(client);
    if (!curl) {
        return problem_local(problem, BOWLINE_NO_MEMORY, NULL);
    }
    struct reply r = {.most = request->answer_max};
    struct curl_slist *list = NULL;
    char why[CURL_ERROR_SIZE] = "";
    error = request_prepare(client, curl, request, false, &list);
    if (error) {
        problem_local(problem, error, NULL);
    } else {
        transfer_receive(curl, &r, why, list);
        error = transfer_result(curl, curl_easy_perform(curl), why, &r, problem);
    }
    client_handle_give(client, curl);
    curl_slist_free_all(list);
    if (!error) {
        struct bowline_response answer = response_of(&r);
        error = reply_text(&r, &answer.body, problem);
        if (!error) {
            *ret_response = answer;
        }
    }
    reply_fini(&r);
    return error;
}
