/* report.h: what a worker says (contract section 5), as decoded from JSON. Texts belong to the request that brought them. */
#ifndef BOWLINE_DOMAIN_REPORT_H
#define BOWLINE_DOMAIN_REPORT_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum report_type { REPORT_PROGRESS, REPORT_OUTPUT, REPORT_HEARTBEAT, REPORT_INPUT_REQUEST, REPORT_SUCCEED, REPORT_FAIL, REPORT_CANCELLED };

enum report_field { REPORT_KEEP, REPORT_CLEAR, REPORT_SET }; /* member left out, null, given */

struct report {
    enum report_type type;
    /* progress */
    enum report_field has_phase, has_current, has_total, has_unit, has_message, has_data;
    double current, total;    /* 0 to 1e15 */
    struct str phase;         /* 1 to 80 characters */
    struct str unit;          /* up to 32 characters */
    struct str message;       /* the first 500 characters */
    bool message_cut;         /* it was longer */
    struct str progress_data; /* member `data` of it: JSON text */
    /* output */
    struct str data; /* decoded bytes */
    bool has_offset;
    uint64_t offset;
    /* input_request */
    struct str prompt; /* 1 to 2000 characters */
    struct str schema; /* JSON text, or none; up to 64 KiB */
    /* succeed: JSON text, never none ("null" if left out). fail: error type (pattern of a kind), message (up to 2000 characters), detail JSON text or none (up to 64 KiB), retry */
    struct str result;
    struct str error_type, error_message, error_detail;
    bool retry;
};

static inline bool report_is_final(const struct report *r) {
    return r->type >= REPORT_SUCCEED;
}

#endif
