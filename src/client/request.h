/* request.h: a request of the caller's own making, as request.c performs it and loop.c beside others. */
#ifndef BOWLINE_CLIENT_REQUEST_H
#define BOWLINE_CLIENT_REQUEST_H

#include "client/internal.h"

/* OK, or BAD_ARGUMENT with the problem filled. */
int request_check(const struct bowline_request *q, struct bowline_problem *p) MUST_CHECK;
/*
 * Sets everything on the handle but where the answer's body goes. The body is copied if asked to, else it must live until the transfer is over. The headers
 * are appended to *list, which the caller frees in any case. OK or NO_MEMORY.
 */
int request_prepare(const bowline_client *c, CURL *curl, const struct bowline_request *q, bool copy_body, struct curl_slist **list) MUST_CHECK;
/* What the reply says beside its body, which stays in it. */
struct bowline_response response_of(const struct reply *r);

#endif
