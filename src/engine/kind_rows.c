/* What was learned of a kind, as rows. */
#include "engine/kind_rows.h"

#include "engine/batch.h"
#include "engine/kinds.h"
#include "engine/state.h"

#include "base/json.h"

void learned_row_put(struct engine *e, const struct kind *k, const struct learned *l) {
    struct buf *body = &e->scratch;
    buf_clear(body);
    buf_puts(body, "{\"ms\":[");
    const struct kind_durations *d = &l->durations;
    for (unsigned i = 0; i < d->count; i++) { /* oldest first */
        buf_puts(body, i ? "," : "");
        buf_u64(body, d->ms[(d->at + KIND_DURATIONS - d->count + i) % KIND_DURATIONS]);
    }
    buf_puts(body, "],\"shapes\":");
    buf_u64(body, d->shapes);
    buf_puts(body, ",\"spread\":");
    buf_json_num(body, d->spread);
    buf_puts(body, ",\"shape\":[");
    for (unsigned i = 0; d->shapes && i < ESTIMATE_PARTS - 1; i++) {
        buf_puts(body, i ? "," : "");
        buf_json_num(body, d->shape[i]);
    }
    buf_puts(body, "],\"at\":");
    buf_i64(body, l->at);
    buf_char(body, '}');
    struct store_op *op = batch_op_apart(e, STORE_PUT_KIND);
    op->row.kind =
        (struct kind_row){.kind = batch_text(e, str_of(k->name)), .phase = batch_text(e, str_of(l->phase)), .body = batch_text(e, buf_view(body))};
}

void learned_row_drop(struct engine *e, const struct kind *k, const struct learned *l) {
    struct store_op *op = batch_op_apart(e, STORE_DELETE_KIND);
    op->row.kind = (struct kind_row){.kind = batch_text(e, str_of(k->name)), .phase = batch_text(e, str_of(l->phase))};
}

static void shape_from_row(struct kind_durations *d, const struct json *root) {
    const struct json *shapes = json_get(root, "shapes"), *list = json_get(root, "shape"), *spread = json_get(root, "spread");
    double shape[ESTIMATE_PARTS - 1];
    int n = 0;
    for (const struct json *m = list ? list->child : NULL; m && n < ESTIMATE_PARTS - 1; m = m->next) {
        shape[n++] = m->num;
    }
    if (shapes && shapes->integer > 0 && n == ESTIMATE_PARTS - 1 && kind_shape_valid(shape)) {
        d->shapes = shapes->integer < KIND_SHAPES ? (unsigned) shapes->integer : KIND_SHAPES;
        memcpy(d->shape, shape, sizeof(shape));
        d->spread = spread && spread->num >= 0 ? spread->num : 1;
        kind_trust_shape(d);
    }
}

bool learned_from_row(const struct kind_row *row, struct learned *ret) {
    struct arena arena = {0};
    struct json *root;
    struct json_error err;
    bool good = json_parse(&arena, row->body, 4, &root, &err) == 0;
    if (good) {
        const struct json *list = json_get(root, "ms"), *at = json_get(root, "at");
        for (const struct json *m = list ? list->child : NULL; m; m = m->next) {
            kind_add(&ret->durations, m->integer);
        }
        shape_from_row(&ret->durations, root);
        ret->at = at ? at->integer : 0;
    }
    arena_fini(&arena);
    return good;
}
