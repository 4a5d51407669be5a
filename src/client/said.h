/*
 * said.h: what a worker has said and the server has not acknowledged: the newest progress, output in order, a question, the outcome. It is taken for a
 * request by said_write; then said_stored or said_unsent tells what became of that request. No I/O, no clock; the owner locks.
 */
#ifndef BOWLINE_CLIENT_SAID_H
#define BOWLINE_CLIENT_SAID_H

#include "base/buf.h"

#include <stdint.h>

#define UNIT_CHARS 32
#define MESSAGE_CHARS 500
#define PHASE_CHARS 80
#define DATA_BYTES ((size_t) 64 << 10) /* more than any server takes */
#define PROGRESS_MAX 1e15
#define OUTPUT_PIECE ((size_t) 256 << 10) /* of output in one request */

enum { SAID_CURRENT = 1, SAID_TOTAL = 2, SAID_UNIT = 4, SAID_MESSAGE = 8, SAID_DATA = 16, SAID_PHASE = 32 };

struct said {
    double current, total; /* INFINITY: null */
    char unit[4 * UNIT_CHARS + 1], message[4 * MESSAGE_CHARS + 1], phase[4 * PHASE_CHARS + 1];
    struct buf data;     /* JSON; empty: null */
    unsigned known;      /* members ever said */
    unsigned changed;    /* members to be sent; SAID_ */
    unsigned sending;    /* members in the request under way */
    unsigned sending_at; /* place of their report in it */

    struct buf out;
    uint64_t out_base;  /* place of out's first byte in the attempt's output */
    size_t out_sending; /* bytes of it in the request under way */

    struct buf question, outcome; /* reports, as JSON; empty: none */
    bool question_sending, outcome_sending;
    bool question_changed; /* while it was being sent: what is here now is another one */
};

void said_fini(struct said *s);
/* Each gives NULL, or what is wrong with which argument ("total must be …"): then nothing has changed. NAN and NULL leave a member. Texts that are no UTF-8 are mended. */
const char *said_progress(struct said *s, double current, double total) MUST_CHECK;
const char *said_describe(struct said *s, const char *unit, const char *message) MUST_CHECK;
/* NULL, "": none. Another one than before leaves nothing of what the others have said. */
const char *said_phase(struct said *s, const char *phase) MUST_CHECK;
/* Takes the JSON text over; empty: null. */
void said_data(struct said *s, struct buf *json);
/* Takes the report over. */
void said_ask(struct said *s, struct buf *report);
void said_end(struct said *s, struct buf *report);

/* Whether there is anything that the server does not have; whether it should go at once. */
bool said_anything(const struct said *s);
bool said_urgent(const struct said *s);
/*
 * Appends an array of reports, at least a heartbeat, and marks what is in it as being sent. The question goes behind all output said before, the outcome
 * in a request that is the last. False: no memory, and nothing is marked.
 */
bool said_write(struct said *s, struct buf *body) MUST_CHECK;
/* The request was applied. */
void said_stored(struct said *s);
/* It was not, or nobody knows: all of it is to be said again, progress as a whole (the server may have stepped back). */
void said_unsent(struct said *s);
/* It was refused for what stands at that place (RFC 6901): if that is of its progress, that member is forgotten and the rest is to be said again; else false. */
bool said_refused(struct said *s, struct str pointer) MUST_CHECK;
/* The server has the attempt's output up to there. False: it lacks bytes that are no longer here. */
bool said_output_stored(struct said *s, uint64_t offset) MUST_CHECK;
/* The question, or the outcome, is taken back. */
void said_unask(struct said *s);
void said_unend(struct said *s);

#endif
