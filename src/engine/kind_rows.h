/* kind_rows.h: what was learned of a kind to a row and back. */
#ifndef BOWLINE_ENGINE_KIND_ROWS_H
#define BOWLINE_ENGINE_KIND_ROWS_H

#include "store/store.h"

struct engine;
struct kind;
struct learned;

/* Into the open batch. */
void learned_row_put(struct engine *e, const struct kind *k, const struct learned *l);
void learned_row_drop(struct engine *e, const struct kind *k, const struct learned *l);
bool learned_from_row(const struct kind_row *row, struct learned *ret) MUST_CHECK; /* false: it cannot be read */

#endif
