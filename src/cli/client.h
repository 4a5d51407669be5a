/* client.h: a command's server, and requests to it by the C library. One thread. */
#ifndef BOWLINE_CLI_CLIENT_H
#define BOWLINE_CLI_CLIENT_H

#include "base/buf.h"
#include "bowline.h"
#include "cli/args.h"

#include <stdint.h>

struct client;

struct client_request {
    const char *method;    /* NULL: GET */
    const char *path;      /* with query, already encoded */
    struct str body;       /* STR_NONE: none */
    const char *header[4]; /* "Name: value"; the first NULL ends them */
    const char *token;     /* goes before the client's own key or token; NULL: that one */
};

/* A request as the library takes it. It points to q and to the headers given. */
#define CLIENT_HEADERS 6
struct bowline_request client_request_of(const struct client_request *q, const char *headers[CLIENT_HEADERS]);

struct client_reply {
    int status;
    struct buf body;
    char etag[48];
    int64_t retry_after_s; /* 0: none */
    int64_t date_s;        /* the server's clock, in seconds of Unix time; 0: not told */
    bool has_output_offset, output_complete;
    uint64_t output_offset;
};
void client_reply_fini(struct client_reply *r);
/* What the answer says beside its body, which is left empty. */
struct client_reply client_reply_of(const struct bowline_response *response);

/* From --url, --key, --key-file, --token and the environment. 0, or an exit code after saying what is wrong. */
int client_open(const struct args *a, struct client **ret_client) __attribute__((warn_unused_result));
void client_close(struct client *c); /* accepts NULL */
const char *client_url(const struct client *c);
/* What the library knows it as. */
bowline_client *client_library(const struct client *c);
/* The token in use, NULL if it is a key or nothing. */
const char *client_token(const struct client *c);

/*
 * One request and its answer, whatever its status. 0, or BOWLINE_EXIT_UNREACHABLE when there was none: client_why says why then. An earlier answer in
 * `reply` is dropped.
 */
int client_call(struct client *c, const struct client_request *q, struct client_reply *reply) __attribute__((warn_unused_result));
const char *client_why(const struct client *c);
/* The same, but says what went wrong, also for an answer of 400 or more. 0, or an exit code. */
int client_ask(struct client *c, const struct args *a, const struct client_request *q, struct client_reply *reply)
    __attribute__((warn_unused_result));
/* What an answer of 400 or more says, on standard error; gives back the exit code for it. */
int client_say_problem(const struct args *a, const struct client_reply *reply);
int client_say_unreachable(const struct client *c, const struct args *a);

#define CLIENT_STOP (-1)

struct client_stream {
    const char *path;
    const char *last_event_id; /* NULL: none */
    /* A piece of a 200's body. False: stop. */
    bool (*data)(void *arg, struct str piece);
    /* Called at least when the time it last asked for has passed; gives back in how many ms it wants to be called again, or CLIENT_STOP. */
    int64_t (*tick)(void *arg);
    void *arg;
    int64_t silence_ms; /* without a byte for that long the connection is given up */
};

/* An event stream until it ends. 0 (status in reply, its body too unless it is 200), or BOWLINE_EXIT_UNREACHABLE if it broke. */
int client_follow(struct client *c, const struct client_stream *s, struct client_reply *reply) __attribute__((warn_unused_result));

/* Appends text percent-encoded, as a path segment or query value. */
void path_put(struct buf *path, const char *text);
/* Appends "?name=value" or "&name=value". */
void query_put(struct buf *path, const char *name, const char *value);

#endif
