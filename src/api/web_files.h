/* web_files.h: the files within the program, which web/embed.sh writes as a C source when it is built. */
#ifndef BOWLINE_API_WEB_FILES_H
#define BOWLINE_API_WEB_FILES_H

#include "base/str.h"

struct web_file {
    const char *path, *type;
    const char *tag;                /* names the plain bytes: 32 characters */
    struct str plain, gzip, brotli; /* brotli: RFC 7932 */
};
extern const struct web_file web_files[];
extern const unsigned web_file_count;

#endif
