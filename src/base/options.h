/*
 * options.h: every option is one row. Flags (--idle-timeout), environment (BOWLINE_IDLE_TIMEOUT), the file named by --config
 * (idle_timeout = 1800), `bowline config`, the manual and docs/options.md all come from this table.
 * Order of precedence: flag, environment, file, default.
 */
#ifndef BOWLINE_BASE_OPTIONS_H
#define BOWLINE_BASE_OPTIONS_H

#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

enum option_type {
    OPT_TEXT,     /* char *, never NULL */
    OPT_DURATION, /* int64_t milliseconds; written in seconds, fractions allowed */
    OPT_SIZE,     /* int64_t bytes */
    OPT_COUNT,    /* int64_t */
    OPT_SWITCH,   /* int64_t 0 or 1; bare or true/false */
    OPT_WHEN      /* int64_t enum option_when, by its word; bare or true is always, false is never */
};

enum option_when { WHEN_UNFINISHED, WHEN_ALWAYS, WHEN_NEVER, WHEN_COUNT };

#define SEC 1000LL
#define DAY (86400 * SEC)
#define KIB 1024LL
#define MIB (1024 * KIB)

/* name, type, default (text, or ms/bytes/count), least, most, one sentence */
#define OPTION_TABLE(T, N)                                                                                                                     \
    T(listen, "127.0.0.1:8787", "Address and port to listen on; port 0 takes a free one")                                                      \
    T(data, "bowline-data", "Folder of the store, the API key and the secret; made if it does not exist")                                      \
    T(config, "", "File with one option per line, name = value")                                                                               \
    T(public_url, "", "URL under which browsers reach the server, such as https://app.example")                                                \
    T(allowed_hosts, "", "Host names answered for, comma-separated; replaces the default (listen address, localhost, host of public_url)")     \
    T(allowed_origins, "", "Origins that pages of other sites may call from, comma-separated; * is refused")                                   \
    T(api_keys, "", "Further API keys: NAME:ROLE+ROLE:blk_..., comma-separated; roles are backend, worker, operator")                          \
    T(jwt_secrets, "", "Keys for HS256 session tokens, comma-separated, each SECRET or KID:SECRET")                                            \
    T(jwt_public_keys, "", "Ed25519 public keys for EdDSA session tokens, comma-separated, each base64url (32 bytes) or KID:KEY")              \
    T(session_kinds, "{}", "JSON object: each kind that a session may start itself, to the task members it gets")                              \
    N(open_sessions, OPT_SWITCH, 0, 0, 1, "Let any browser of an own or allowed origin have an anonymous session (POST /v1/session)")          \
    N(open_sessions_per_minute, OPT_COUNT, 30, 1, 1000000, "Anonymous sessions made per minute and client address")                            \
    N(idle_timeout, OPT_DURATION, 1800 * SEC, 0, 3650 * DAY, "Default idle time after which a session ends; 0 is never")                       \
    N(max_age, OPT_DURATION, 86400 * SEC, 0, 3650 * DAY, "Default age at which a session ends; 0 is never")                                    \
    N(watching_keeps_alive, OPT_WHEN, WHEN_UNFINISHED, 0, WHEN_COUNT - 1,                                                                      \
      "When a watcher stops its session's idle clock: unfinished (while something in it is), always (true) or never (false)")                  \
    N(ended_session_ttl, OPT_DURATION, 7 * DAY, 1 * SEC, 3650 * DAY, "How long an ended session is remembered; its key for at least two days") \
    N(rotation_grace, OPT_DURATION, 60 * SEC, 0, 3600 * SEC,                                                                                   \
      "How long an event stream of the generation before is told of the rotation instead of refused")                                          \
    N(handover_wait, OPT_DURATION, 30 * DAY, 0, 3650 * DAY, "How long a task waits for its user's next session")                               \
    N(cancel_grace, OPT_DURATION, 30 * SEC, 0, 86400 * SEC, "How long a worker has to react to a cancel request")                              \
    N(tombstone_ttl, OPT_DURATION, 7 * DAY, 1 * SEC, 3650 * DAY, "How long a task that is gone is still known as gone")                        \
    N(idempotency_ttl, OPT_DURATION, 1 * DAY, 1 * SEC, 30 * DAY, "How long the answer to an Idempotency-Key is kept")                          \
    N(keepalive, OPT_DURATION, 15 * SEC, 100, 15 * SEC, "Longest silence on a stream before a comment or ping is sent")                        \
    N(max_stream_age, OPT_DURATION, 3600 * SEC, 100, 7 * DAY, "How long a stream lives, less a random tenth")                                  \
    N(stalled_reader_timeout, OPT_DURATION, 120 * SEC, 100, 86400 * SEC, "How long a peer may take no byte before it is cut off")              \
    N(drain_time, OPT_DURATION, 5 * SEC, 0, 3600 * SEC, "Time over which streams are closed when the server stops")                            \
    N(request_header_timeout, OPT_DURATION, 10 * SEC, 100, 3600 * SEC, "Time for a request's header block to arrive")                          \
    N(body_timeout, OPT_DURATION, 60 * SEC, 100, 86400 * SEC, "Longest pause within a request's body")                                         \
    N(idle_keepalive_timeout, OPT_DURATION, 75 * SEC, 100, 86400 * SEC, "How long a connection without a request stays open")                  \
    N(max_body, OPT_SIZE, 9 * MIB, 1 * KIB, 1024 * MIB, "Largest request body")                                                                \
    N(max_header_block, OPT_SIZE, 16 * KIB, 1 * KIB, 1 * MIB, "Largest request header block, with the request line")                           \
    N(max_uri, OPT_SIZE, 8 * KIB, 128, 1 * MIB, "Longest request target")                                                                      \
    N(max_json_depth, OPT_COUNT, 64, 4, 1000, "Deepest nesting in a JSON body")                                                                \
    N(max_input, OPT_SIZE, 256 * KIB, 0, 64 * MIB, "Largest input of a task")                                                                  \
    N(max_result, OPT_SIZE, 8 * MIB, 0, 512 * MIB, "Largest result of a task")                                                                 \
    N(max_metadata, OPT_SIZE, 4 * KIB, 0, 1 * MIB, "Largest metadata of a session or task")                                                    \
    N(max_progress_data, OPT_SIZE, 4 * KIB, 0, 64 * KIB, "Largest data of a progress report")                                                  \
    N(max_inline_result, OPT_SIZE, 16 * KIB, 0, 1 * MIB, "Largest result that is shown within the task")                                       \
    N(max_output_per_task, OPT_SIZE, 16 * MIB, 64 * KIB, 1024 * MIB, "Output kept per task; older bytes are dropped from the front")           \
    N(max_unfinished_per_session, OPT_COUNT, 1000, 1, 100000, "Unfinished tasks per session")                                                  \
    N(max_tasks_per_session, OPT_COUNT, 10000, 1, 1000000, "Tasks kept per session; the oldest ended ones expire first")                       \
    N(max_watchers_per_session, OPT_COUNT, 64, 1, 1000000, "Streams and waiting requests that follow one session and its tasks")               \
    N(max_sessions_per_user, OPT_COUNT, 100, 1, 100000, "Active sessions per user; one more ends the one longest idle")                        \
    N(max_gone_per_session, OPT_COUNT, 1000, 0, 100000, "Tasks that left a session and are still remembered in its feed")                      \
    N(max_connections, OPT_COUNT, 100000, 16, 10000000, "Connections open at once; further ones wait to be accepted")                          \
    N(metrics_open, OPT_SWITCH, 0, 0, 1, "Serve /metrics to anybody")                                                                          \
    T(webhook_secret, "", "Secrets that sign webhooks, whsec_..., comma-separated")                                                            \
    T(webhook_networks, "", "Networks that webhooks may reach although they are private: comma-separated CIDR, or addresses")                  \
    N(loops, OPT_COUNT, 0, 0, 64,                                                                                                              \
      "Threads that talk to the network; 0 takes one for each processor but one. With a single one the engine runs in it")                     \
    T(demo, "", "Folder with the demo page to serve at /demo/; empty serves none")                                                             \
    T(log_level, "info", "Least level that is logged: error, warn, info or debug")

struct options {
#define T(name, def, text) char *name;
#define N(name, type, def, least, most, text) int64_t name;
    OPTION_TABLE(T, N)
#undef T
#undef N
};

enum option_source { OPT_FROM_DEFAULT, OPT_FROM_FILE, OPT_FROM_ENV, OPT_FROM_FLAG };

struct option_row {
    const char *name; /* idle_timeout */
    enum option_type type;
    const char *def; /* as one would write it: "1800" */
    int64_t least, most;
    const char *text;
    size_t offset; /* into struct options */
    bool secret;   /* shown as "(hidden)" by `bowline config` */
};
extern const struct option_row option_rows[];
extern const unsigned option_count;

struct options_sources {
    unsigned char from[96]; /* enum option_source per row */
};

/*
 * Fills o: defaults, then the file, the environment (envp as in environ) and the flags argv[0..argc).
 * 0, or -1 with one sentence in err that names the option, where it stands (flag, environment, FILE:LINE), what is wrong, and for a
 * name that does not exist the nearest one. `--name=value`, `--name value`; of OPT_SWITCH and OPT_WHEN also bare `--name`, and `--no-name`.
 */
int options_load(struct options *o, struct options_sources *from, int argc, char **argv, char **envp, struct buf *err) MUST_CHECK;
void options_fini(struct options *o);
/* Takes the values of secret options out of the environment, once they have been loaded: whoever may look at the process sees them there. */
void options_wipe_environment(char **envp);
/* One option's value as one would write it. */
void options_write_value(const struct options *o, unsigned row, struct buf *out);
/* All of them with where they came from: what `bowline config` prints. */
void options_write_all(const struct options *o, const struct options_sources *from, struct buf *out);
/* Flags with their sentences, defaults and bounds: for --help. */
void options_write_help(struct buf *out);
/* The nearest of names to what was typed, or NULL if none is near (edit distance). */
const char *nearest_name(struct str typed, const char *const *names, unsigned count);

#endif
