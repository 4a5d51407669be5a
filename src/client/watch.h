/*
 * watch.h: the parts of a watch. watch.c is the handle and the way of a connection: connecting, open, waiting to connect again, over. watch_io.c is the one
 * descriptor in front of libcurl's sockets and all timers; watch_event.c turns events of the stream into those of the caller.
 */
#ifndef BOWLINE_CLIENT_WATCH_H
#define BOWLINE_CLIENT_WATCH_H

#include "client/internal.h"
#include "base/sse.h"

#define TIME_NEVER INT64_MAX

enum watch_state {
    WATCH_PAUSED,  /* connects at connect_ms */
    WATCH_OPEN,    /* a request is under way or its answer streams */
    WATCH_HELD,    /* its credential is dead after a rotation: waits for another one */
    WATCH_FINISHED /* `error` says how */
};

struct bowline_watch {
    bowline_client *client;
    char *credential; /* NULL: the client's */
    struct buf path;
    bool of_task, output;
    int64_t silence_ms;
    bowline_event_fn on_event;
    void *arg;

    enum watch_state state;
    int error; /* when finished */
    bool dispatching;

    CURLM *multi;
    CURL *curl;
    bool attached; /* curl is in multi */
    struct curl_slist *headers;
    struct reply reply; /* of answers that are no stream */
    struct sse sse;
    struct buf cursor; /* behind the last event given */
    char why[CURL_ERROR_SIZE];

    int epoll_fd, timer_fd;
    int64_t curl_ms;    /* when libcurl wants to be called; TIME_NEVER */
    int64_t connect_ms; /* when paused */
    int64_t heard_ms;   /* the last byte */
    int64_t pause_ms;   /* of the backoff */

    bool streaming;      /* the answer is a 200 */
    bool any_event;      /* on this connection */
    bool any_problem;    /* it has said what is wrong: `problem` */
    bool ended, rotated; /* the stream has said so */
    bool finished_task;  /* the task's own feed has shown its final state */
    bool left;           /* and that the task is gone */
    bool no_memory, stopped;
    struct bowline_problem problem;
};

/* watch_io.c */
int watch_io_open(struct bowline_watch *w) MUST_CHECK;
void watch_io_close(struct bowline_watch *w);
/* Lets libcurl do what is due; never waits. */
void watch_io_turn(struct bowline_watch *w);
/* Sets the timer to the earliest of the times. */
void watch_io_arm(struct bowline_watch *w);
/* Waits for the descriptor, until that time. False: a failure of the system. */
bool watch_io_wait(struct bowline_watch *w, int64_t until_ms) MUST_CHECK;

/* watch_event.c: struct sse's `event` with the watch as arg. */
bool watch_event(void *arg, struct str name, struct str data);
/* Gives the event LOST. */
void watch_tell_lost(struct bowline_watch *w);

#endif
