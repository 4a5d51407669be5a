#include "store/sqlite/db.h"

struct binder bind_start(sqlite3_stmt *st) {
    sqlite3_reset(st);
    return (struct binder){.st = st, .at = 0, .rc = SQLITE_OK};
}

static void bind_result(struct binder *b, int rc) {
    if (b->rc == SQLITE_OK) {
        b->rc = rc;
    }
}

void bind_i64(struct binder *b, int64_t v) {
    bind_result(b, sqlite3_bind_int64(b->st, ++b->at, v));
}

void bind_u64(struct binder *b, uint64_t v) {
    bind_i64(b, v > INT64_MAX ? INT64_MAX : (int64_t) v);
}

void bind_optional_num(struct binder *b, bool has, double v) {
    bind_result(b, has ? sqlite3_bind_double(b->st, ++b->at, v) : sqlite3_bind_null(b->st, ++b->at));
}

void bind_id(struct binder *b, const struct id *id) {
    bind_result(b, sqlite3_bind_blob(b->st, ++b->at, id->b, sizeof(id->b), SQLITE_STATIC));
}

void bind_optional_id(struct binder *b, const struct id *id) {
    if (id_is_none(*id)) {
        bind_result(b, sqlite3_bind_null(b->st, ++b->at));
    } else {
        bind_id(b, id);
    }
}

void bind_text(struct binder *b, struct str s) {
    bind_result(b, sqlite3_bind_text64(b->st, ++b->at, s.p, s.len, SQLITE_STATIC, SQLITE_UTF8));
}

void bind_blob(struct binder *b, struct str s) {
    bind_result(b, sqlite3_bind_blob64(b->st, ++b->at, s.p, s.len, SQLITE_STATIC));
}

int bind_run(struct binder *b) {
    int rc = b->rc;
    if (rc == SQLITE_OK) {
        do {
            rc = sqlite3_step(b->st);
        } while (rc == SQLITE_ROW);
    }
    sqlite3_reset(b->st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int64_t column_i64(struct columns *c) {
    return sqlite3_column_int64(c->st, c->at++);
}

uint64_t column_u64(struct columns *c) {
    return (uint64_t) column_i64(c);
}

double column_num(struct columns *c, double none) {
    int at = c->at++;
    return sqlite3_column_type(c->st, at) == SQLITE_NULL ? none : sqlite3_column_double(c->st, at);
}

struct id column_id(struct columns *c) {
    struct id id = {0};
    const void *p = sqlite3_column_blob(c->st, c->at);
    if (p && sqlite3_column_bytes(c->st, c->at) == (int) sizeof(id.b)) {
        memcpy(id.b, p, sizeof(id.b));
    }
    c->at++;
    return id;
}

struct str column_str(struct columns *c) {
    int at = c->at++;
    if (sqlite3_column_type(c->st, at) == SQLITE_NULL) {
        return STR_NONE;
    }
    const void *p = sqlite3_column_blob(c->st, at); /* a text's bytes as they are, too; NULL when empty or without memory */
    size_t len = (size_t) sqlite3_column_bytes(c->st, at);
    struct str copy = STR_NONE;
    if (p || len == 0) {
        copy = arena_str(c->arena, str_n(p ? p : "", len));
    }
    c->failed = c->failed || !copy.p;
    return copy;
}

bool column_is(sqlite3_stmt *st, int column, struct str s) {
    if (sqlite3_column_type(st, column) == SQLITE_NULL) {
        return !s.p;
    }
    const void *p = sqlite3_column_blob(st, column);
    size_t len = (size_t) sqlite3_column_bytes(st, column);
    return s.p && s.len == len && (len == 0 || (p && memcmp(p, s.p, len) == 0));
}

int sqlite_prepare_all(sqlite3 *db, const char *const *sql, sqlite3_stmt **ret_statements, int count) {
    int rc = SQLITE_OK;
    for (int i = 0; i < count && rc == SQLITE_OK; i++) {
        rc = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &ret_statements[i], NULL);
    }
    return rc;
}

void sqlite_finalize_all(sqlite3_stmt **statements, int count) {
    for (int i = 0; i < count; i++) {
        sqlite3_finalize(statements[i]);
        statements[i] = NULL;
    }
}
