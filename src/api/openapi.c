/* openapi.c: the OpenAPI 3.1 document: paths from the table of routes, schemas by hand. */
#include "api/internal.h"

#define NAME_PATTERN "^[a-z0-9][a-z0-9._-]{0,63}$"
#define NULLABLE_TIME "{\"type\":[\"string\",\"null\"],\"format\":\"date-time\"}"
#define NULLABLE_NUMBER "{\"type\":[\"number\",\"null\"]}"
#define NULLABLE_TEXT "{\"type\":[\"string\",\"null\"]}"
#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"
#define SESSION_REF                                                                                                                \
    "{\"oneOf\":[" REF("SessionId") ",{\"type\":\"object\",\"required\":[\"key\"],\"additionalProperties\":false,\"properties\":{" \
                                    "\"key\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":512},\"user\":" REF("User") "}}]}"
#define SECONDS(least, most, def) "{\"type\":[\"number\",\"null\"],\"minimum\":" least ",\"maximum\":" most ",\"default\":" def "}"

static const struct {
    const char *name, *json;
} schemas[] = {
    {"Any", "{\"description\":\"Any JSON value\"}"},
    {"SessionId", "{\"type\":\"string\",\"pattern\":\"^ses_[0-7][0-9A-HJKMNP-TV-Z]{25}$\"}"},
    {"TaskId", "{\"type\":\"string\",\"pattern\":\"^tsk_[0-7][0-9A-HJKMNP-TV-Z]{25}$\"}"},
    {"Name", "{\"type\":\"string\",\"pattern\":\"" NAME_PATTERN "\"}"},
    {"User", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}"},
    {"SessionState", "{\"type\":\"string\",\"enum\":[\"active\",\"ended\"]}"},
    {"TaskState", "{\"type\":\"string\",\"enum\":[\"queued\",\"running\",\"input_required\",\"succeeded\",\"failed\",\"cancelled\"]}"},
    {"Status", "{\"type\":\"object\",\"required\":[\"status\"],\"properties\":{\"status\":{\"type\":\"string\"}}}"},
    {"Info", "{\"type\":\"object\",\"required\":[\"name\",\"version\",\"engine\"],\"properties\":{\"name\":{\"type\":\"string\"},"
             "\"version\":{\"type\":\"string\"},\"engine\":{\"type\":\"string\"}}}"},
    {"Problem",
     "{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\",\"detail\",\"code\"],\"properties\":{\"type\":{\"type\":\"string\"},"
     "\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},\"code\":{\"type\":\"string\"},"
     "\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"pointer\",\"detail\"],\"properties\":{"
     "\"pointer\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"}}}}}}"},
    {"SessionNew",
     "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"key\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":512},"
     "\"user\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":256},\"idle_timeout\":" SECONDS(
         "0", "315360000", "1800") ","
                                   "\"max_age\":" SECONDS("0", "315360000", "86400") ",\"metadata\":{\"type\":[\"object\",\"null\"]}}}"},
    {"SessionRotate", "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"key\":{\"type\":[\"string\",\"null\"],\"minLength\":1,"
                      "\"maxLength\":512},\"user\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":256}}}"},
    {"SessionMerge", "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"into\"],\"properties\":{\"into\":" REF("SessionId") "}}"},
    {"Session", "{\"type\":\"object\",\"required\":[\"id\",\"state\",\"user\",\"created_at\",\"expires_at\",\"ended_at\",\"reason\",\"idle_timeout\","
                "\"max_age\","
                "\"metadata\",\"tasks\"],\"properties\":{\"id\":" REF("SessionId") ",\"state\":" REF(
                    "SessionState") ",\"user\":" NULLABLE_TEXT ","
                                    "\"token\":{\"type\":\"string\",\"description\":\"Session token; when it is made, found by its key or rotated\"},"
                                    "\"created_at\":{\"type\":\"string\",\"format\":\"date-time\"},\"expires_at\":" NULLABLE_TIME
                                    ",\"ended_at\":" NULLABLE_TIME ","
                                    "\"reason\":{\"type\":[\"string\",\"null\"],\"enum\":[\"logout\",\"idle\",\"max_age\",\"merged\",\"operator\","
                                    "\"limit\",null]},"
                                    "\"idle_timeout\":{\"type\":\"number\"},\"max_age\":{\"type\":\"number\"},\"metadata\":{\"type\":\"object\"},"
                                    "\"tasks\":{\"type\":\"object\",\"required\":[\"unfinished\",\"ended\"],\"properties\":{\"unfinished\":{\"type\":"
                                    "\"integer\"},"
                                    "\"ended\":{\"type\":\"integer\"}}}}}"},
    {"SessionPage", "{\"type\":\"object\",\"required\":[\"items\",\"next\"],\"properties\":{\"items\":{\"type\":\"array\",\"items\":" REF(
                        "Session") "},"
                                   "\"next\":" NULLABLE_TEXT "}}"},
    {"TaskNew",
     "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"session\",\"kind\"],\"properties\":{\"session\":" SESSION_REF ","
     "\"kind\":" REF(
         "Name") ",\"title\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":200},"
                 "\"queue\":{\"type\":[\"string\",\"null\"],\"pattern\":\"" NAME_PATTERN "\"},\"input\":" REF(
                     "Any") ","
                            "\"on_session_end\":{\"enum\":[\"keep\",\"cancel\",\"handover\",null],\"default\":\"keep\"},\"lease\":" SECONDS(
                                "0", "2592000",
                                "60") ","
                                      "\"timeout\":" SECONDS(
                                          "0", "2592000",
                                          "0") ",\"deadline\":{\"type\":[\"number\",\"null\"],\"exclusiveMinimum\":0,\"maximum\":315360000,"
                                               "\"default\":604800},\"max_attempts\":{\"type\":[\"integer\",\"null\"],\"minimum\":1,\"maximum\":100,"
                                               "\"default\":1},"
                                               "\"backoff\":" SECONDS("0", "3600", "1") ",\"not_before\":" NULLABLE_TIME ",\"ttl\":" SECONDS(
                                                   "0", "315360000", "86400") ","
                                                                              "\"cancel_unwatched\":" SECONDS(
                                                                                  "0", "2592000",
                                                                                  "null") ",\"metadata\":{\"type\":[\"object\",\"null\"]}}}"},
    {"TaskStart", "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"kind\"],\"properties\":{\"kind\":" REF(
                      "Name") ","
                              "\"title\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":200},\"input\":" REF("Any") "}}"},
    {"Progress", "{\"type\":\"object\",\"required\":[\"phase\",\"current\",\"total\",\"unit\",\"message\",\"data\",\"ratio\",\"rate\",\"eta\"],"
                 "\"properties\":{\"phase\":" NULLABLE_TEXT ",\"data\":" REF(
                     "Any") ","
                            "\"current\":" NULLABLE_NUMBER ",\"total\":" NULLABLE_NUMBER ",\"unit\":" NULLABLE_TEXT ",\"message\":" NULLABLE_TEXT ","
                            "\"ratio\":" NULLABLE_NUMBER ",\"rate\":" NULLABLE_NUMBER ",\"eta\":" NULLABLE_NUMBER "}}"},
    {"InputRequest",
     "{\"type\":[\"object\",\"null\"],\"description\":\"The open question; null where there is none\",\"required\":[\"id\",\"prompt\","
     "\"schema\"],\"properties\":{\"id\":{\"type\":\"string\",\"description\":\"For the answer's request\"},"
     "\"prompt\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":2000},\"schema\":{\"type\":[\"object\",\"null\"],"
     "\"description\":\"What an answer looks like, as the worker gave it, by custom a JSON Schema; null where it gave none\"}}}"},
    {"TaskError", "{\"type\":[\"object\",\"null\"],\"description\":\"Null unless the task failed\",\"required\":[\"type\",\"message\",\"detail\"],"
                  "\"properties\":{\"type\":" REF("Name") ",\"message\":{\"type\":\"string\"},\"detail\":" REF("Any") "}}"},
    {"AnswerGiven", "{\"type\":[\"object\",\"null\"],\"description\":\"The newest answer; null where there is none\",\"required\":[\"request\","
                    "\"answer\"],\"properties\":{\"request\":{\"type\":\"string\"},\"answer\":" REF("Any") "}}"},
    {"Task",
     "{\"type\":\"object\",\"required\":[\"id\",\"session\",\"kind\",\"title\",\"state\",\"version\",\"progress\",\"cancel_requested\",\"cancel_"
     "reason\","
     "\"stalled\",\"attempt\",\"max_attempts\",\"on_session_end\",\"queue\",\"created_at\",\"started_at\",\"updated_at\",\"ended_at\",\"seen_at\","
     "\"expires_at\",\"output_bytes\",\"input_request\",\"result\",\"result_bytes\",\"error\",\"metadata\"],\"properties\":{"
     "\"id\":" REF("TaskId") ",\"session\":" REF("SessionId") ",\"kind\":" REF("Name") ",\"title\":" NULLABLE_TEXT ",\"state\":" REF(
         "TaskState") ","
                      "\"version\":{\"type\":\"integer\"},\"progress\":" REF(
                          "Progress") ",\"cancel_requested\":{\"type\":\"boolean\"},"
                                      "\"cancel_reason\":" NULLABLE_TEXT ",\"stalled\":{\"type\":\"boolean\"},\"attempt\":{\"type\":\"integer\"},"
                                      "\"max_attempts\":{\"type\":\"integer\"},"
                                      "\"on_session_end\":{\"enum\":[\"keep\",\"cancel\",\"handover\"]},\"queue\":" NULLABLE_TEXT ","
                                      "\"created_at\":{\"type\":\"string\",\"format\":\"date-time\"},\"started_at\":" NULLABLE_TIME
                                      ",\"updated_at\":" NULLABLE_TIME ","
                                      "\"ended_at\":" NULLABLE_TIME ",\"seen_at\":" NULLABLE_TIME ",\"expires_at\":" NULLABLE_TIME
                                      ",\"output_bytes\":{\"type\":\"integer\"},"
                                      "\"input_request\":" REF("InputRequest") ",\"result\":" REF(
                                          "Any") ",\"result_bytes\":{\"type\":\"integer\"},\"error\":" REF("TaskError") ","
                                                                                                                        "\"metadata\":{\"type\":"
                                                                                                                        "\"object\"},\"token\":{"
                                                                                                                        "\"type\":\"string\","
                                                                                                                        "\"description\":\"Watch "
                                                                                                                        "token; when it is created "
                                                                                                                        "or bound\"},"
                                                                                                                        "\"worker_token\":{\"type\":"
                                                                                                                        "\"string\",\"description\":"
                                                                                                                        "\"When it is "
                                                                                                                        "created without a "
                                                                                                                        "queue\"}}}"},
    {"TaskPage", "{\"type\":\"object\",\"required\":[\"items\",\"next\"],\"properties\":{\"items\":{\"type\":\"array\",\"items\":" REF(
                     "Task") "},"
                             "\"next\":" NULLABLE_TEXT "}}"},
    {"Cancel", "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"reason\":{\"type\":[\"string\",\"null\"],\"maxLength\":200}}}"},
    {"Answer", "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"request\",\"answer\"],\"properties\":{"
               "\"request\":{\"type\":\"string\"},\"answer\":" REF("Any") "}}"},
    {"Bind", "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"session\"],\"properties\":{\"session\":" SESSION_REF "}}"},
    {"WatchToken", "{\"type\":\"object\",\"required\":[\"token\"],\"properties\":{\"token\":{\"type\":\"string\"}}}"},
    {"Report",
     "{\"oneOf\":[{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\"],\"properties\":{\"type\":{\"const\":\"progress\"},"
     "\"current\":{\"type\":[\"number\",\"null\"],\"minimum\":0,\"maximum\":1e15},\"total\":{\"type\":[\"number\",\"null\"],\"minimum\":0,"
     "\"maximum\":1e15},"
     "\"unit\":{\"type\":[\"string\",\"null\"],\"maxLength\":32},\"message\":{\"type\":[\"string\",\"null\"],"
     "\"description\":\"Past 500 characters it is cut\"},\"phase\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":80},\"data\":" REF(
         "Any") "}},"
                "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\"],\"properties\":{\"type\":{\"const\":\"output\"},"
                "\"data\":{\"type\":\"string\"},\"data_base64\":{\"type\":\"string\",\"contentEncoding\":\"base64\"},\"offset\":{\"type\":"
                "\"integer\","
                "\"minimum\":0}}},"
                "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\"],\"properties\":{\"type\":{\"const\":\"heartbeat\"}}},"
                "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\",\"prompt\"],\"properties\":{\"type\":{\"const\":\"input_"
                "request\"},"
                "\"prompt\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":2000},\"schema\":{\"type\":[\"object\",\"null\"]}}},"
                "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\"],\"properties\":{\"type\":{\"const\":\"succeed\"},"
                "\"result\":" REF(
                    "Any") "}},"
                           "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\",\"error\"],\"properties\":{\"type\":{"
                           "\"const\":\"fail\"},"
                           "\"error\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\"],\"properties\":{\"type\":" REF(
                               "Name") ","
                                       "\"message\":{\"type\":[\"string\",\"null\"],\"maxLength\":2000},\"detail\":" REF(
                                           "Any") "}},\"retry\":{\"type\":[\"boolean\",\"null\"],\"default\":false}}},"
                                                  "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"type\"],\"properties\":{"
                                                  "\"type\":{"
                                                  "\"const\":\"cancelled\"}}}]}"},
    {"Reports", "{\"oneOf\":[" REF("Report") ",{\"type\":\"array\",\"minItems\":1,\"maxItems\":10000,\"items\":" REF("Report") "}]}"},
    {"ReportAnswer",
     "{\"type\":\"object\",\"required\":[\"state\",\"version\",\"attempt\",\"cancel_requested\",\"lease_until\",\"output_offset\",\"answer\"],"
     "\"properties\":{\"state\":" REF("TaskState") ",\"version\":{\"type\":\"integer\"},\"attempt\":{\"type\":\"integer\"},"
                                                   "\"cancel_requested\":{\"type\":\"boolean\"},\"lease_until\":" NULLABLE_TIME
                                                   ",\"output_offset\":{\"type\":\"integer\"},"
                                                   "\"truncated\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"description\":\"Pointers of "
                                                   "what was cut, if anything was\"},"
                                                   "\"answer\":" REF("AnswerGiven") "}}"},
    {"Claim",
     "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"max\":{\"type\":[\"integer\",\"null\"],\"minimum\":1,\"maximum\":1000,"
     "\"default\":1},\"worker\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":200},"
     "\"lease\":{\"type\":[\"number\",\"null\"],\"minimum\":0,\"maximum\":2592000}}}"},
    {"Claimed", "{\"type\":\"object\",\"required\":[\"tasks\"],\"properties\":{\"tasks\":{\"type\":\"array\",\"items\":{\"allOf\":[" REF(
                    "Task") ","
                            "{\"type\":\"object\",\"required\":[\"input\",\"worker_token\"],\"properties\":{\"input\":" REF(
                                "Any") ","
                                       "\"worker_token\":{\"type\":\"string\"}}}]}}}}"},
    {"Release", "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"token\"],\"properties\":{\"token\":{\"type\":\"string\"}}}"},
    {"QueuePage",
     "{\"type\":\"object\",\"required\":[\"items\",\"next\"],\"properties\":{\"items\":{\"type\":\"array\",\"items\":{\"type\":\"object\","
     "\"required\":[\"name\",\"queued\",\"running\",\"oldest_age\"],\"properties\":{\"name\":" REF(
         "Name") ",\"queued\":{\"type\":\"integer\"},"
                 "\"running\":{\"type\":\"integer\"},\"oldest_age\":" NULLABLE_NUMBER "}}},\"next\":" NULLABLE_TEXT "}}"},
    {"Event", "{\"type\":\"object\",\"required\":[\"id\",\"event\",\"data\"],\"properties\":{\"id\":{\"type\":\"string\"},"
              "\"event\":{\"enum\":[\"task\",\"output\",\"session\",\"reset\",\"live\",\"problem\"]},\"data\":{\"type\":\"object\"}}}"},
    {"Events", "{\"type\":\"object\",\"required\":[\"events\",\"cursor\"],\"properties\":{\"events\":{\"type\":\"array\",\"items\":" REF(
                   "Event") "},"
                            "\"cursor\":{\"type\":\"string\"}}}"},
};

static const char *const bodies[BODY_RULES] = {
    [BODY_SESSION_NEW] = "SessionNew", [BODY_ROTATE] = "SessionRotate", [BODY_MERGE] = "SessionMerge", [BODY_TASK_NEW] = "TaskNew",
    [BODY_TASK_START] = "TaskStart",   [BODY_CANCEL] = "Cancel",        [BODY_ANSWER] = "Answer",      [BODY_BIND] = "Bind",
    [BODY_REPORTS] = "Reports",        [BODY_REPORT_LINE] = "Report",   [BODY_CLAIM] = "Claim",        [BODY_RELEASE] = "Release",
};

static bool body_required(enum body_rule rule) {
    return rule != BODY_NONE && rule != BODY_SESSION_NEW && rule != BODY_ROTATE && rule != BODY_CANCEL && rule != BODY_CLAIM;
}

static void write_parameter(struct buf *out, const char *comma, const char *name, const char *in, const char *schema, const char *text) {
    bool path = strcmp(in, "path") == 0;
    buf_printf(out, "%s{\"name\":\"%s\",\"in\":\"%s\"%s,\"schema\":%s,\"description\":\"%s\"}", comma, name, in, path ? ",\"required\":true" : "",
               schema, text);
}

static void write_parameters(struct buf *out, const struct route *r) {
    const char *comma = "";
    static const struct {
        const char *name, *schema, *text;
    } places[] = {
        {"session", REF("SessionId"), "Id of the session"}, {"task", REF("TaskId"), "Id of the task"}, {"queue", REF("Name"), "Name of the queue"}};
    buf_puts(out, ",\"parameters\":[");
    for (unsigned i = 0; i < 3; i++) {
        const char *at = strstr(r->pattern, places[i].name);
        if (at && at[-1] == '{') {
            write_parameter(out, comma, places[i].name, "path", places[i].schema, places[i].text);
            comma = ",";
        }
    }
    for (unsigned i = 0; i < query_param_count; i++) {
        if (r->query & query_params[i].bit) {
            write_parameter(out, comma, query_params[i].name, "query", query_params[i].schema, query_params[i].text);
            comma = ",";
        }
    }
    if (r->flags & ROUTE_IDEMPOTENT) {
        write_parameter(out, comma, "Idempotency-Key", "header", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255}",
                        "Makes it safe to repeat for 24 hours");
        comma = ",";
    }
    if (r->flags & ROUTE_WAITS) {
        write_parameter(out, comma, "Prefer", "header", "{\"type\":\"string\"}", "wait=N: hold the answer for up to N seconds, at most 60");
        comma = ",";
    }
    if (r->cmd == CMD_TASK_GET) {
        write_parameter(out, comma, "If-None-Match", "header", "{\"type\":\"string\"}", "A version seen");
    }
    if (r->produce == PRODUCE_FILE) {
        write_parameter(out, comma, "If-None-Match", "header", "{\"type\":\"string\"}", "A tag seen");
    }
    if (r->produce == PRODUCE_EVENTS) {
        write_parameter(out, comma, "Last-Event-ID", "header", "{\"type\":\"string\"}", "Cursor of the last event seen");
    }
    buf_puts(out, "]");
}

static void write_security(struct buf *out, const struct route *r) {
    static const struct {
        unsigned who;
        const char *name;
    } kinds[] = {{WHO_KEYS, "apiKey"},      {WHO_SESSION, "sessionToken"}, {WHO_SESSION, "jwt"},
                 {WHO_WATCH, "watchToken"}, {WHO_ATTEMPT, "workerToken"},  {WHO_SESSION | WHO_WATCH, "cookie"}};
    const char *comma = "";
    buf_puts(out, ",\"security\":[");
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (r->who & kinds[i].who) {
            buf_printf(out, "%s{\"%s\":[]}", comma, kinds[i].name);
            comma = ",";
        }
    }
    if (r->flags & ROUTE_OPEN_SESSIONS) {
        buf_puts(out, "{\"cookie\":[]},{}");
    }
    buf_puts(out, "]");
}

static void write_body(struct buf *out, const struct route *r) {
    const char *schema = bodies[r->body];
    if (!schema) {
        return;
    }
    buf_printf(out, ",\"requestBody\":{\"required\":%s,\"content\":{", body_required(r->body) ? "true" : "false");
    if (r->read != READ_LINES) {
        buf_printf(out, "\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}}", schema);
    }
    if (r->read != READ_WHOLE) {
        buf_printf(out, "%s\"application/x-ndjson\":{\"schema\":{\"type\":\"string\",\"description\":\"One report a line%s\"}}",
                   r->read == READ_LINES ? "" : ",", r->read == READ_LINES ? ", with task and, where it has a queue, its worker token" : "");
    }
    buf_puts(out, "}}");
}

static void write_content(struct buf *out, const struct route *r) {
    buf_puts(out, ",\"content\":{");
    if (r->produce == PRODUCE_BYTES) {
        buf_puts(out, "\"application/octet-stream\":{\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}");
    } else if (r->produce == PRODUCE_METRICS) {
        buf_puts(out, "\"application/openmetrics-text\":{\"schema\":{\"type\":\"string\"}},\"text/plain\":{\"schema\":{\"type\":\"string\"}}");
    } else if (r->produce == PRODUCE_FILE) {
        buf_printf(out, "\"%.*s\":{\"schema\":{\"type\":\"string\"}}", STR_FMT(web_media(str_of(r->pattern))));
    } else if (r->schema && r->read != READ_LINES) {
        buf_printf(out, "\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}}", r->schema);
    }
    if (r->produce == PRODUCE_EVENTS) {
        buf_puts(out, ",\"text/event-stream\":{\"schema\":{\"type\":\"string\"}}");
    }
    if (r->read != READ_WHOLE) {
        buf_printf(out, "%s\"application/x-ndjson\":{\"schema\":{\"type\":\"string\",\"description\":\"One answer a line\"}}",
                   r->read == READ_LINES ? "" : ",");
    }
    buf_puts(out, "}");
}

/* Other answers that are no problem. */
static void write_other_answers(struct buf *out, const struct route *r) {
    if (r->cmd == CMD_SESSION_CREATE || r->cmd == CMD_SESSION_OPEN) {
        buf_puts(out, ",\"200\":{\"description\":\"It was there already\",\"content\":{\"application/json\":{\"schema\":" REF("Session") "}}}");
    } else if (r->cmd == CMD_TASK_RESULT) {
        buf_puts(out, ",\"202\":{\"description\":\"The task, which is unfinished\",\"content\":{\"application/json\":{\"schema\":" REF("Task") "}}}");
    } else if (r->cmd == CMD_TASK_GET) {
        buf_puts(out, ",\"304\":{\"description\":\"The version has not changed\"}");
    } else if (r->produce == PRODUCE_FILE) {
        buf_puts(out, ",\"304\":{\"description\":\"It has not changed\"}");
    } else if (r->cmd == CMD_QUEUE_CLAIM) {
        buf_puts(out, ",\"204\":{\"description\":\"None came\"}");
    } else if (r->produce == PRODUCE_EVENTS) {
        buf_puts(out, ",\"101\":{\"description\":\"The same events over a WebSocket, subprotocol bowline.v1\"},"
                      "\"204\":{\"description\":\"The session has ended, or the task has and all was seen\"}");
    }
}

static void write_operation(struct buf *out, const struct route *r) {
    static const char *const names[] = {[HTTP_GET] = "get", [HTTP_POST] = "post", [HTTP_DELETE] = "delete"};
    buf_printf(out, "\"%s\":{\"operationId\":\"%s\",\"tags\":[\"%s\"],\"summary\":\"%s\"", names[r->method], r->id, r->tag, r->summary);
    write_security(out, r);
    write_parameters(out, r);
    write_body(out, r);
    buf_printf(out, ",\"responses\":{\"%d\":{\"description\":\"%s\"", r->status, r->status == 204 ? "Done" : "The answer");
    if (r->status != 204) {
        write_content(out, r);
    }
    buf_puts(out, "}");
    write_other_answers(out, r);
    buf_puts(out, ",\"default\":{\"$ref\":\"#/components/responses/Problem\"}}}");
}

static void write_paths(struct buf *out) {
    for (unsigned i = 0; i < route_count; i++) {
        bool first = true;
        for (unsigned j = 0; j < i; j++) {
            first &= strcmp(routes[j].pattern, routes[i].pattern) != 0;
        }
        if (!first) {
            continue;
        }
        buf_printf(out, "%s\"%s\":{", i ? "," : "", routes[i].pattern);
        for (unsigned j = i, n = 0; j < route_count; j++) {
            if (strcmp(routes[j].pattern, routes[i].pattern) == 0) {
                buf_puts(out, n++ ? "," : "");
                write_operation(out, &routes[j]);
            }
        }
        buf_puts(out, "}");
    }
}

void openapi_write(struct buf *out, struct str version) {
    buf_puts(
        out,
        "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"bowline\",\"summary\":\"Long-running work, tied to the user session that started "
        "it\",\"description\":\"HEAD is answered wherever GET is: with its status and headers, without a body, and never waiting\",\"version\":");
    buf_json_str(out, version);
    buf_puts(out, "},\"jsonSchemaDialect\":\"https://json-schema.org/draft/2020-12/schema\",\"paths\":{");
    write_paths(out);
    buf_puts(out, "},\"components\":{\"securitySchemes\":{"
                  "\"apiKey\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"API key, blk_...\"},"
                  "\"sessionToken\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"Session token, ses_ID.gN.MAC\"},"
                  "\"watchToken\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"Watch token, tsk_ID.wN.MAC\"},"
                  "\"workerToken\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"Worker token, tsk_ID.xN.MAC\"},"
                  "\"jwt\":{\"type\":\"http\",\"scheme\":\"bearer\",\"bearerFormat\":\"JWT\",\"description\":\"Signed by the application; counts as "
                  "a session token\"},"
                  "\"cookie\":{\"type\":\"apiKey\",\"in\":\"cookie\",\"name\":\"bowline\",\"description\":\"Session token, watch token or JWT; "
                  "__Host-bowline over TLS\"}},"
                  "\"responses\":{\"Problem\":{\"description\":\"A problem (RFC 9457)\",\"content\":{\"application/problem+json\":{\"schema\":" REF(
                      "Problem") "}}}},"
                                 "\"schemas\":{");
    for (unsigned i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        buf_printf(out, "%s\"%s\":", i ? "," : "", schemas[i].name);
        buf_puts(out, schemas[i].json);
    }
    buf_puts(out, "}}}");
}
