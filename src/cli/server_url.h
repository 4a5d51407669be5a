/* server_url.h: the URL of a server as somebody wrote it. */
#ifndef BOWLINE_CLI_SERVER_URL_H
#define BOWLINE_CLI_SERVER_URL_H

#include "base/buf.h"

/*
 * http or https, a host, perhaps a port and a path, which is kept as a prefix of all requests. Gives it back without white space around it and slashes at
 * its end; or -1 with half a sentence that begins with what is wrong. It never repeats a password.
 */
int server_url_read(const char *text, struct buf *ret_url, struct buf *why) MUST_CHECK;
/* The path of such a URL; "" if it has none. */
const char *server_url_path(const char *url);

#endif
