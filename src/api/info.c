#include "api/internal.h"

void info_health(struct call *call) {
    struct buf body = {0};
    buf_puts(&body, "{\"status\":\"ok\"}");
    call_json(call, 200, &body);
}

void info_ready(struct call *call) {
    const struct api_shared *s = call->api->shared;
    bool draining = s->draining && atomic_load(s->draining);
    if (draining || !s->ready || !atomic_load(s->ready)) {
        struct problem p = {.err = ERR_UNAVAILABLE, .detail = draining ? STR("The server is stopping") : STR("The server is starting")};
        call_refuse(call, &p);
        return;
    }
    struct buf body = {0};
    buf_puts(&body, "{\"status\":\"ready\"}");
    call_json(call, 200, &body);
}

void info_metrics(struct call *call) {
    const struct api_shared *s = call->api->shared;
    struct buf body = {0};
    if (s->metrics) {
        s->metrics(s->metrics_arg, &body);
    }
    via_metrics(&s->config->via, &body);
    if (body.len < 6 || memcmp(body.data + body.len - 6, "# EOF\n", 6) != 0) {
        buf_puts(&body, "# EOF\n");
    }
    /* OpenMetrics reads as the older format too: what it adds are comments there */
    bool older = accept_of(call->r, "text", "plain").q > accept_of(call->r, "application", "openmetrics-text").q;
    call_text(call, 200, older ? STR("text/plain; version=0.0.4; charset=utf-8") : STR("application/openmetrics-text; version=1.0.0; charset=utf-8"),
              &body);
}

void info_about(struct call *call) {
    struct buf body = {0};
    buf_puts(&body, "{\"name\":\"bowline\",\"version\":");
    buf_json_str(&body, call->api->shared->version.p ? call->api->shared->version : STR("unknown"));
    buf_puts(&body, ",\"engine\":\"sqlite\"}");
    call_json(call, 200, &body);
}

void info_openapi(struct call *call) {
    struct api *a = call->api;
    if (!a->openapi.len) {
        openapi_write(&a->openapi, a->shared->version.p ? a->shared->version : STR("unknown"));
    }
    struct buf body = {0};
    buf_str(&body, buf_view(&a->openapi));
    call_json(call, 200, &body);
}
