#include "server/start.h"

#include "api/api.h"
#include "base/log.h"
#include "base/private_file.h"
#include "base/secret.h"
#include "net/http.h"
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_PREFIX "blk_"
#define KEY_RANDOM_BYTES 32
#define SECRET_RANDOM_BYTES 32

static int say(struct buf *err, const char *hint) {
    buf_puts(err, "\n  ");
    buf_puts(err, hint);
    return -1;
}

/* ---- address ---- */

static bool port_parse(const char *text, int *ret_port) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits]) {
        return false;
    }
    int port = atoi(text);
    *ret_port = port;
    return port <= 65535;
}

/* Where the port begins, and the host without brackets. NULL if it is not HOST:PORT. */
static const char *host_split(const char *listen, struct str *ret_host) {
    const char *end;
    if (listen[0] == '[') {
        end = strchr(listen, ']');
        if (!end || end[1] != ':') {
            return NULL;
        }
        *ret_host = str_n(listen + 1, (size_t) (end - listen) - 1);
        return end + 2;
    }
    end = strchr(listen, ':');
    if (!end || strchr(end + 1, ':')) {
        return NULL;
    }
    *ret_host = str_n(listen, (size_t) (end - listen));
    return end + 1;
}

static bool host_is_address(const char *host) {
    struct in6_addr any;
    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

int start_address(const char *listen, struct address *ret_address, struct buf *err) {
    struct address a = {.port = 0};
    struct str host;
    const char *port = host_split(listen, &host);
    if (!port || !port_parse(port, &a.port)) {
        buf_printf(err, "listen: \"%s\" is not ADDR:PORT", listen);
        return say(err, "write it as 127.0.0.1:8787, [::1]:8787 or 0.0.0.0:8787; port 0 takes a free one, the highest is 65535");
    }
    host = host.len == 0 ? STR("0.0.0.0") : str_ieqz(host, "localhost") ? STR("127.0.0.1") : host;
    snprintf(a.host, sizeof a.host, "%.*s", STR_FMT(host));
    if (!host_is_address(a.host)) {
        buf_printf(err, "listen: \"%.*s\" is not an IP address", STR_FMT(host));
        return say(err, "give an address of this machine: 127.0.0.1 for this machine only, 0.0.0.0 for every network");
    }
    *ret_address = a;
    return 0;
}

static void port_say_why(const struct address *a, int error, struct buf *err) {
    switch (error) {
    case EADDRINUSE:
        buf_printf(err, "port %d of %s is taken by another program", a->port, a->host);
        (void) say(err, "stop that one, or take another port with --listen ADDR:PORT (port 0 takes a free one)");
        break;
    case EADDRNOTAVAIL:
        buf_printf(err, "%s is not an address of this machine", a->host);
        (void) say(err, "give one of its own with --listen: 127.0.0.1 for this machine only, 0.0.0.0 for every network");
        break;
    case EACCES:
        buf_printf(err, "port %d may not be opened: ports this low are kept for privileged programs", a->port);
        (void) say(err, "take a port above 1023 with --listen, or grant the program CAP_NET_BIND_SERVICE");
        break;
    default:
        buf_printf(err, "cannot listen on %s port %d: %s", a->host, a->port, strerror(error));
        (void) say(err, "give another address with --listen ADDR:PORT");
    }
}

static socklen_t address_fill(const struct address *a, struct sockaddr_storage *ret) {
    *ret = (struct sockaddr_storage){.ss_family = AF_INET};
    struct sockaddr_in *v4 = (struct sockaddr_in *) ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) ret;
    if (inet_pton(AF_INET, a->host, &v4->sin_addr) == 1) {
        v4->sin_port = htons((uint16_t) a->port);
        return sizeof *v4;
    }
    *ret = (struct sockaddr_storage){.ss_family = AF_INET6};
    (void) inet_pton(AF_INET6, a->host, &v6->sin6_addr);
    v6->sin6_port = htons((uint16_t) a->port);
    return sizeof *v6;
}

int start_port_free(const struct address *a, struct buf *err) {
    struct sockaddr_storage where;
    socklen_t where_bytes = address_fill(a, &where);
    int fd = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1, error = 0;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || bind(fd, (struct sockaddr *) &where, where_bytes)) {
        error = errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (!error) {
        return 0;
    }
    port_say_why(a, error, err);
    return -1;
}

int start_listen(struct address *a, unsigned count, int *ret_fds, struct buf *err) {
    int failed = http_listen(a->host, a->port, count, ret_fds, &a->port);
    if (failed) {
        port_say_why(a, -failed, err);
        return -1;
    }
    return 0;
}

void start_url(const struct address *a, struct buf *out) {
    bool v6 = strchr(a->host, ':');
    buf_printf(out, "http://%s%s%s:%d", v6 ? "[" : "", a->host, v6 ? "]" : "", a->port);
}

/* ---- data folder ---- */

static int folder_say_why(const char *dir, int error, struct buf *err) {
    switch (error) {
    case ENOENT:
        buf_printf(err, "data folder %s cannot be made: the folder it should lie in does not exist", dir);
        return say(err, "make that folder first, or choose another with --data DIR");
    case ENOTDIR:
    case EEXIST:
        buf_printf(err, "data folder %s is not a folder", dir);
        return say(err, "choose a folder with --data DIR, or move the file out of the way");
    case EACCES:
    case EPERM:
    case EROFS:
        buf_printf(err, "data folder %s is not writable: %s", dir, strerror(error));
        return say(err, "give this user the right to write there (chown, chmod, mount), or choose another with --data DIR");
    case ENOSPC:
    case EDQUOT:
        buf_printf(err, "the disk of data folder %s is full", dir);
        return say(err, "free some space, or choose a folder on another disk with --data DIR");
    default: buf_printf(err, "data folder %s cannot be used: %s", dir, strerror(error)); return say(err, "choose another with --data DIR");
    }
}

/* Whoever owns it, or may write to it, could have put a secret and keys of their own there, or could do so later. */
static int not_others(const char *what, const char *path, const struct stat *st, struct buf *err) {
    if (st->st_uid != geteuid() && st->st_uid != 0) {
        buf_printf(err, "%s %s belongs to user %u, not to this one (%u) or root", what, path, (unsigned) st->st_uid, (unsigned) geteuid());
        return say(err, "whoever made it may have put a secret and API keys of their own there: choose another folder with --data DIR, or check what "
                        "is in it and chown it");
    }
    if (st->st_mode & 022) {
        buf_printf(err, "%s %s may be written to by others: its mode is %04o", what, path, (unsigned) st->st_mode & 07777);
        return say(err, "check that nobody else has put anything there, then take that right away (chmod go-w)");
    }
    return 0;
}

int start_folder(const char *dir, struct buf *err) {
    if (!dir[0]) {
        buf_puts(err, "data: the name of the data folder is empty");
        return say(err, "give one with --data DIR");
    }
    if (mkdir(dir, 0700) && errno != EEXIST) {
        return folder_say_why(dir, errno, err);
    }
    struct stat st;
    if (stat(dir, &st)) {
        return folder_say_why(dir, errno, err);
    }
    if (!S_ISDIR(st.st_mode)) {
        return folder_say_why(dir, ENOTDIR, err);
    }
    return not_others("data folder", dir, &st, err) || (access(dir, R_OK | W_OK | X_OK) ? folder_say_why(dir, errno, err) : 0) ? -1 : 0;
}

/* ---- files in it ---- */

/* Refuses a file that others may have written; warns of one that they may read. */
static int file_check(const char *path, const char *name, struct buf *err) {
    struct stat st;
    if (stat(path, &st)) {
        buf_printf(err, "%s cannot be looked at: %s", path, strerror(errno));
        return say(err, "make it a file that this user may read and nobody else (chmod 600)");
    }
    if (not_others("the file", path, &st, err)) {
        return -1;
    }
    if (st.st_mode & 077) {
        log_warn("file-readable-by-others", "file=%s mode=%04o wanted=0600", name, (unsigned) st.st_mode & 07777);
    }
    return 0;
}

/* Reads DIR/name into out, made from `fresh` if it is not there. */
static int file_read_or_make(const char *dir, const char *name, struct str fresh, struct buf *out, struct buf *err) {
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, name);
    int result = private_file_read(buf_z(&path), out);
    if (result == -ENOENT) {
        result = private_file_create(buf_z(&path), fresh);
        if (!result || result == -EEXIST) {
            result = private_file_read(buf_z(&path), out);
        }
    }
    if (!result) {
        result = file_check(buf_z(&path), name, err);
    } else if (result == -ENOSPC || result == -EDQUOT || result == -EROFS) {
        (void) folder_say_why(dir, -result, err);
    } else {
        buf_printf(err, "%s cannot be read or made: %s", buf_z(&path), strerror(-result));
        (void) say(err, "make it a file that this user may read and nobody else (chmod 600)");
    }
    buf_fini(&path);
    return result ? -1 : 0;
}

static void secret_make(struct buf *out) {
    unsigned char bytes[SECRET_RANDOM_BYTES];
    crypto_random(NULL, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        buf_printf(out, "%02x", bytes[i]);
    }
    buf_char(out, '\n');
    explicit_bzero(bytes, sizeof bytes);
}

int start_secret(const char *dir, struct keyring *ret_keys, struct buf *err) {
    struct buf fresh = {0}, text = {0};
    secret_make(&fresh);
    int result = file_read_or_make(dir, "secret", buf_view(&fresh), &text, err);
    char why[160] = "";
    if (!result && keyring_read(ret_keys, buf_view(&text), why)) {
        buf_printf(err, "%s/secret is not a secret file: %s", dir, why);
        result = say(err, "put the file back from a backup; without it every token and session key given out so far is void");
    }
    secret_wipe(&fresh);
    secret_wipe(&text);
    return result;
}

static struct str line_trim(struct str s) {
    while (s.len && strchr(" \t\r\n", s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

int start_api_key(const char *dir, char ret_key[API_KEY_MAX], struct buf *err) {
    struct buf fresh = {0}, text = {0};
    unsigned char bytes[KEY_RANDOM_BYTES];
    crypto_random(NULL, bytes, sizeof bytes);
    buf_puts(&fresh, KEY_PREFIX);
    buf_base64url(&fresh, bytes, sizeof bytes);
    buf_char(&fresh, '\n');
    int result = file_read_or_make(dir, "api.key", buf_view(&fresh), &text, err);
    struct str key = line_trim(buf_view(&text));
    if (!result && !api_key_valid(key)) {
        buf_printf(err, "%s/api.key does not hold an API key: it wants one line, blk_ and at least 32 letters, digits, - or _", dir);
        result = say(err, "put the right key into it, or remove the file: the next start then makes a new key");
    }
    if (!result) {
        snprintf(ret_key, API_KEY_MAX, "%.*s", STR_FMT(key));
    }
    secret_wipe(&fresh);
    secret_wipe(&text);
    return result;
}

/* ---- store ---- */

static const char *store_hint(enum sqlite_open_error why) {
    switch (why) {
    case SQLITE_OPEN_NOT_WRITABLE:
        return "give this user the right to read and write the files in the data folder, or choose another with --data DIR";
    case SQLITE_OPEN_NEWER: return "start that newer version, or choose another folder with --data DIR; nothing was changed";
    case SQLITE_OPEN_FOREIGN: return "choose another folder with --data DIR, or move that file away; nothing was changed";
    case SQLITE_OPEN_FULL: return "free some space on its disk, or choose a folder on another one with --data DIR";
    case SQLITE_OPEN_LOCKED: return "stop the server that uses it, or choose another folder with --data DIR";
    case SQLITE_OPEN_OK:
    case SQLITE_OPEN_FAILED: break;
    }
    return "look at the data folder and its disk; the last backup may be needed";
}

struct store *start_store(const char *dir, struct store_sink sink, struct buf *err) {
    struct buf path = {0};
    buf_printf(&path, "%s/bowline.db", dir);
    enum sqlite_open_error why = SQLITE_OPEN_FAILED;
    struct store *store = sqlite_store_open(buf_z(&path), sink, &why, err);
    if (!store) {
        (void) say(err, store_hint(why));
    }
    buf_fini(&path);
    return store;
}

/* ---- limits ---- */

#define FILES_OF_SERVER 32 /* database, log, listeners and the like */
#define FILES_OF_LOOP 8

int start_raise_limits(unsigned loops, struct buf *err) {
    struct rlimit limit;
    rlim_t least = FILES_OF_SERVER + (rlim_t) FILES_OF_LOOP * loops;
    if (getrlimit(RLIMIT_NOFILE, &limit)) {
        return 0;
    }
    rlim_t now = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (now < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit)) {
        log_warn("file-limit-not-raised", "errno=%d", errno);
        limit.rlim_cur = now;
    }
    if (limit.rlim_cur >= least) {
        return 0;
    }
    buf_printf(err, "only %llu files may be open at once, and the server itself needs %llu", (unsigned long long) limit.rlim_cur,
               (unsigned long long) least);
    return say(err, "raise the limit (ulimit -n, LimitNOFILE= of systemd): each connection takes one more");
}

unsigned start_loops(int64_t wished) {
    cpu_set_t set;
    int64_t loops = wished;
    if (loops <= 0) {
        loops = (sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN)) - 1;
    }
    return (unsigned) (loops < 1 ? 1 : loops > LOOPS_MAX ? LOOPS_MAX : loops);
}
