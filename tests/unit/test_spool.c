/* What waits for the server: in order, in memory first, and complete up to the capacity whatever the temporary folder is like. */
#include "unit.h"

#include "alloc_fail.h"
#include "cli/spool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#define CAPACITY 10000
#define MEMORY 1000

enum folder { FOLDER_GOOD, FOLDER_MISSING, FOLDER_FULL, FOLDERS };

/* What it should hold: the newest bytes of all that were put. */
struct model {
    char data[CAPACITY];
    size_t len;
    uint64_t dropped;
};

static void folder_set(enum folder f) {
    struct rlimit size = {f == FOLDER_FULL ? MEMORY : RLIM_INFINITY, RLIM_INFINITY};
    setenv("TMPDIR", f == FOLDER_MISSING ? "/nowhere/at/all" : "/tmp", 1);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &size), 0);
}

static void model_put(struct model *m, const char *p, size_t len) {
    size_t total = m->len + len, over = total > CAPACITY ? total - CAPACITY : 0;
    size_t old = over < m->len ? over : m->len;
    m->dropped += over;
    memmove(m->data, m->data + old, m->len - old);
    m->len -= old;
    p += over - old;
    len -= over - old;
    memcpy(m->data + m->len, p, len);
    m->len += len;
}

static void both_put(struct spool *s, struct model *m, size_t len, uint64_t *seed) {
    static char bytes[3 * CAPACITY];
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char) unit_random(seed);
    }
    spool_put(s, str_n(bytes, len));
    model_put(m, bytes, len);
    assert_int_equal(spool_length(s), m->len);
    assert_int_equal(s->dropped, m->dropped);
}

static void both_take(struct spool *s, struct model *m, size_t most) {
    struct buf out = {0};
    spool_take(s, most, &out);
    size_t len = most < m->len ? most : m->len;
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data ? out.data : "", m->data, len);
    m->len -= len;
    memmove(m->data, m->data + len, m->len);
    assert_int_equal(spool_length(s), m->len);
    buf_fini(&out);
}

static void it_keeps_order_and_drops_the_oldest(void **state) {
    (void) state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct spool s = {.capacity = CAPACITY, .memory_most = MEMORY};
        struct model m = {.len = 0};
        uint64_t random = seed;
        enum folder folder = FOLDER_GOOD;
        for (int i = 0; i < 300; i++) {
            switch (unit_random(&random) % 8) {
            case 0: s.away = !s.away; break;
            case 1:
                folder = (enum folder)(unit_random(&random) % FOLDERS);
                folder_set(folder);
                s.file_errno = 0;
                break;
            case 2: both_put(&s, &m, unit_random(&random) % (CAPACITY + CAPACITY / 10), &random); break;
            case 3:
            case 4:
            case 5: both_put(&s, &m, unit_random(&random) % MEMORY, &random); break;
            default: both_take(&s, &m, unit_random(&random) % (2 * MEMORY));
            }
        }
        both_take(&s, &m, CAPACITY);
        assert_int_equal(s.fd, 0); /* nothing waits: no file */
        spool_fini(&s);
    }
    folder_set(FOLDER_GOOD);
}

static void there_is_a_file_only_while_nobody_takes_any(void **state) {
    (void) state;
    struct spool s = {.capacity = CAPACITY, .memory_most = MEMORY};
    struct model m = {.len = 0};
    uint64_t seed = 7;
    both_put(&s, &m, CAPACITY / 2, &seed);
    assert_int_equal(s.fd, 0);
    both_take(&s, &m, CAPACITY);
    s.away = true;
    both_put(&s, &m, MEMORY, &seed);
    assert_int_equal(s.fd, 0);
    both_put(&s, &m, 1, &seed);
    assert_true(s.fd > 0);
    both_take(&s, &m, CAPACITY);
    assert_int_equal(s.fd, 0);
    spool_fini(&s);
}

static void a_folder_that_cannot_be_used_is_told_and_loses_nothing(void **state) {
    (void) state;
    for (enum folder f = FOLDER_MISSING; f < FOLDERS; f++) {
        struct spool s = {.capacity = CAPACITY, .memory_most = MEMORY, .away = true};
        struct model m = {.len = 0};
        uint64_t seed = 9;
        folder_set(f);
        for (int i = 0; i < CAPACITY / 500; i++) {
            both_put(&s, &m, 500, &seed);
        }
        assert_int_equal(s.file_errno, f == FOLDER_MISSING ? ENOENT : EFBIG);
        assert_int_equal(s.dropped, 0);
        both_put(&s, &m, 10, &seed);
        assert_int_equal(s.dropped, 10);
        assert_int_equal(s.dropped_errno, 0);
        assert_true(s.dropped_away);
        both_take(&s, &m, CAPACITY);
        spool_fini(&s);
    }
    folder_set(FOLDER_GOOD);
}

static void without_memory_it_says_so(void **state) {
    (void) state;
    struct spool s = {.capacity = CAPACITY, .memory_most = MEMORY};
    alloc_fail_after(0, 0);
    spool_put(&s, STR("lost"));
    assert_int_equal(alloc_fail_stop(), 1);
    assert_int_equal(s.dropped, 4);
    assert_int_equal(s.dropped_errno, ENOMEM);
    spool_put(&s, STR("kept"));
    assert_int_equal(spool_length(&s), 4);
    spool_fini(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_keeps_order_and_drops_the_oldest),
        cmocka_unit_test(there_is_a_file_only_while_nobody_takes_any),
        cmocka_unit_test(a_folder_that_cannot_be_used_is_told_and_loses_nothing),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
