/* client_internal.h: what the two ways of asking, one at a time (client_http.c) and several at once (client_async.c), share. */
#ifndef BOWLINE_CLI_CLIENT_INTERNAL_H
#define BOWLINE_CLI_CLIENT_INTERNAL_H

#include "cli/client_http.h"

#include <curl/curl.h>

struct client {
    CURL *curl;
    char *url;        /* without a slash at its end */
    char *credential; /* or NULL */
    bool is_token;
    char why[CURL_ERROR_SIZE + 64];
};

/*
 * Everything about a request but its time limit and its list of headers, which is given back, the caller's to set and to free. The body, the reply and `why`
 * (CURL_ERROR_SIZE) must live until the request is over.
 */
struct curl_slist *client_prepare(const struct client *c, CURL *curl, const struct client_request *q, struct client_reply *reply, char *why);

#endif
