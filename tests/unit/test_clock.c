#include "unit.h"

#include "base/clock.h"
#include "base/log.h"

#include <time.h>
#include <unistd.h>

static void the_steady_clock_reads_as_unix_time_and_never_steps_back(void **state) {
    (void) state;
    int64_t last = clock_ms();
    assert_true(llabs(last - clock_wall_ms()) < 2000);
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_ms();
        assert_true(now >= last);
        last = now;
    }
    int64_t cpu = clock_cpu_us();
    assert_true(cpu >= 0 && clock_cpu_us() >= cpu);
}

static void times_are_written(void **state) {
    (void) state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1767323045678, "2026-01-02T03:04:05.678Z"},
        {4107542399999, "2100-02-28T23:59:59.999Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"},
        {TIME_MS_MAX, "9999-12-31T23:59:59.999Z"},
        {TIME_MS_MAX + 1, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[TIME_TEXT_LEN + 1];
        time_format(rows[i].ms, out);
        assert_string_equal(out, rows[i].text);
    }
    struct buf b = {0};
    buf_json_time(&b, 0);
    buf_json_time(&b, 1);
    assert_buf(&b, "null\"1970-01-01T00:00:00.001Z\"");
    buf_fini(&b);
}

static void written_times_agree_with_the_c_library_and_read_back(void **state) {
    (void) state;
    uint64_t seed = 3;
    for (int i = 0; i < 50000; i++) {
        int64_t ms = (int64_t) (unit_random(&seed) % (uint64_t) (TIME_MS_MAX + 1)), back = -1;
        time_t s = (time_t) (ms / 1000);
        struct tm tm;
        char out[TIME_TEXT_LEN + 1], want[64];
        gmtime_r(&s, &tm);
        size_t len = strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(want + len, sizeof(want) - len, ".%03dZ", (int) (ms % 1000));
        time_format(ms, out);
        assert_string_equal(out, want);
        assert_true(time_parse(str_of(out), &back));
        assert_true(back == ms);
    }
}

static void times_are_read(void **state) {
    (void) state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1985-04-12T23:20:50.52Z", 482196050520},
        {"1996-12-19T16:39:57-08:00", 851042397000},
        {"1990-12-31T23:59:60Z", 662687999999},
        {"1990-12-31T15:59:60.5-08:00", 662687999999},
        {"1937-01-01T12:00:27.87+00:20", -1041337172130},
        {"2026-01-02t03:04:05.6789123z", 1767323045678},
        {"2026-01-02T03:04:05.9999999999999999999999Z", 1767323045999},
        {"2024-02-29T00:00:00-00:00", 1709164800000},
        {"9999-12-31T23:59:59.999Z", TIME_MS_MAX},
        {"9999-12-31T23:59:59-00:01", -1},
        {"1970-01-01T00:00:00+00:01", -60000},
        {"1969-12-31T23:59:00-00:01", 0},
        {"1960-02-29T00:00:00.001Z", -310521599999},
        {"1971-12-31T23:59:60Z", 63071999999},
        {"1969-12-30T23:59:60Z", -86400001},
        {"1969-12-30T23:58:60Z", -1},
        {"1900-02-29T00:00:00Z", -1},
        {"0001-01-01T00:00:00Z", -62135596800000},
        {"0000-12-31T00:00:00Z", -62135683200000},
        {"0000-01-01T00:00:00Z", -62167219200000},
        {"2023-02-29T00:00:00Z", -1},
        {"2100-02-29T00:00:00Z", -1},
        {"2026-00-01T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-04-31T00:00:00Z", -1},
        {"2026-01-00T00:00:00Z", -1},
        {"2026-01-01T24:00:00Z", -1},
        {"2026-01-01T00:60:00Z", -1},
        {"2026-01-01T00:00:61Z", -1},
        {"2026-01-01T00:00:60Z", -1},
        {"2026-01-01T00:00:00", -1},
        {"2026-01-01T00:00:00.Z", -1},
        {"2026-01-01T00:00:00,5Z", -1},
        {"2026-01-01 00:00:00Z", -1},
        {"2026-01-01T00:00:00+0100", -1},
        {"2026-01-01T00:00:00+24:00", -1},
        {"2026-01-01T00:00:00+01:60", -1},
        {"2026-01-01T00:00:00Z ", -1},
        {" 2026-01-01T00:00:00Z", -1},
        {"2026-1-01T00:00:00Z", -1},
        {"+2026-01-01T00:00:00Z", -1},
        {"20260101T000000Z", -1},
        {"2026-01-01", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms = -1;
        bool ok = time_parse(str_of(rows[i].text), &ms);
        if (ok != (rows[i].ms != -1) || ms != rows[i].ms) {
            fail_msg("%s: %d %lld", rows[i].text, ok, (long long) ms);
        }
    }
    int64_t ms = -5;
    assert_false(time_parse(STR_NONE, &ms));
    assert_false(time_parse(str_n("2026-01-01T00:00:00\0", 20), &ms));
    assert_int_equal(ms, -5);
}

/* What fn writes to standard error. */
static void catch_stderr(void (*fn)(void), char *out, size_t room) {
    int ends[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    fn();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], out, room - 1);
    out[n > 0 ? n : 0] = '\0';
    close(ends[0]);
}

static void log_some(void) {
    log_debug("hidden", "n=%d", 1);
    log_info("started", "path=%s n=%d", "a\nb", 5);
    log_set_level(LOG_ERROR);
    log_warn("hidden", "%s", "");
    log_set_level(LOG_INFO);
}

static void log_much(void) {
    log_error("long", "%05000d", 1);
}

static void a_log_line_is_one_line(void **state) {
    (void) state;
    char out[8192];
    catch_stderr(log_some, out, sizeof(out));
    assert_int_equal(strlen(out), TIME_TEXT_LEN + strlen(" info started path=a?b n=5\n"));
    assert_string_equal(out + TIME_TEXT_LEN, " info started path=a?b n=5\n");
    catch_stderr(log_much, out, sizeof(out));
    assert_true(strlen(out) <= 2048);
    assert_int_equal(out[strlen(out) - 1], '\n');
}

static void what_a_peer_sent_is_quoted(void **state) {
    (void) state;
    char out[LOG_QUOTE_BYTES], large[1000];
    assert_string_equal(log_quote(out, "a\"b\\\n\xff", 6), "\"a\\\"b\\\\\\x0a\\xff\"");
    assert_string_equal(log_quote(out, "", 0), "\"\"");
    memset(large, '\1', sizeof(large));
    log_quote(out, large, sizeof(large));
    assert_true(strlen(out) < LOG_QUOTE_BYTES);
    assert_string_equal(out + strlen(out) - 4, "...\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_steady_clock_reads_as_unix_time_and_never_steps_back),
        cmocka_unit_test(times_are_written),
        cmocka_unit_test(written_times_agree_with_the_c_library_and_read_back),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(a_log_line_is_one_line),
        cmocka_unit_test(what_a_peer_sent_is_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
