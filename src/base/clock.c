#include "base/clock.h"

#include <stdlib.h>
#include <threads.h>
#include <time.h>

#define DAY_MS 86400000LL
#define READ_APART_NS 500000
#define READ_TRIES 20

static int64_t clock_read_ns(clockid_t id) {
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0) {
        abort();
    }
    return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t clock_offset_ns;
static once_flag clock_once = ONCE_FLAG_INIT;

static void clock_start(void) {
    clock_offset_ns = clock_read_ns(CLOCK_REALTIME) - clock_read_ns(CLOCK_BOOTTIME);
}

static int64_t steady_ms(int64_t boot_ns) {
    call_once(&clock_once, clock_start);
    return (boot_ns + clock_offset_ns) / 1000000;
}

int64_t clock_ms(void) {
    return steady_ms(clock_read_ns(CLOCK_BOOTTIME));
}

/* The two are read one after the other. Where something came between, they are read again: else it would pass for a step of the wall clock. */
struct moment clock_now(void) {
    int64_t before = clock_read_ns(CLOCK_BOOTTIME), wall = 0;
    for (int tries = 0; tries < READ_TRIES; tries++) {
        wall = clock_read_ns(CLOCK_REALTIME);
        int64_t after = clock_read_ns(CLOCK_BOOTTIME);
        if (after - before < READ_APART_NS) {
            break;
        }
        before = after;
    }
    return (struct moment){.ms = steady_ms(before), .wall_ms = wall / 1000000};
}

int64_t clock_wall_ms(void) {
    return clock_read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_us(void) {
    return clock_read_ns(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_cpu_us(void) {
    return clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000;
}

/* ---- the calendar ---- */

static bool year_is_leap(int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t days_before_year(int64_t year) {
    int64_t y = year + 399; /* the calendar repeats after 400 years: so that nothing is below 0 in the year 0 */
    return 365 * (year - 1970) + (y / 4 - 2369 / 4) - (y / 100 - 2369 / 100) + (y / 400 - 2369 / 400);
}

static int64_t month_days(int64_t year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && year_is_leap(year));
}

static char *put_digits(char *out, uint64_t v, int digits) {
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char) ('0' + v % 10);
        v /= 10;
    }
    return out + digits;
}

/* "YYYY-MM-DDT" of a day since 1970. */
static void date_format(int64_t day, char out[11]) {
    int64_t year = 1970 + day * 400 / 146097;
    while (days_before_year(year) > day) {
        year--;
    }
    while (days_before_year(year + 1) <= day) {
        year++;
    }
    day -= days_before_year(year);
    int month = 1;
    for (; day >= month_days(year, month); month++) {
        day -= month_days(year, month);
    }
    char *p = put_digits(out, (uint64_t) year, 4);
    *p++ = '-';
    p = put_digits(p, (uint64_t) month, 2);
    *p++ = '-';
    p = put_digits(p, (uint64_t) day + 1, 2);
    *p = 'T';
}

void time_format(int64_t unix_ms, char out[TIME_TEXT_LEN + 1]) {
    static _Thread_local struct { /* most times are of the day before them */
        int64_t day;
        char text[11];
    } last = {-1, ""};
    int64_t t = unix_ms < 0 ? 0 : unix_ms > TIME_MS_MAX ? TIME_MS_MAX : unix_ms;
    int64_t day = t / DAY_MS;
    uint32_t ms = (uint32_t) (t % DAY_MS);
    if (day != last.day) {
        date_format(day, last.text);
        last.day = day;
    }
    memcpy(out, last.text, sizeof(last.text));
    uint32_t second = ms / 1000;
    char *p = out + sizeof(last.text);
    ms %= 1000;
    digits_two(p, second / 3600);
    p[2] = ':';
    digits_two(p + 3, second / 60 % 60);
    p[5] = ':';
    digits_two(p + 6, second % 60);
    p[8] = '.';
    p[9] = (char) ('0' + ms / 100);
    digits_two(p + 10, ms % 100);
    p[12] = 'Z';
    p[13] = '\0';
}

void buf_json_time(struct buf *b, int64_t unix_ms) {
    char text[TIME_TEXT_LEN + 3];
    if (unix_ms == 0) {
        buf_put(b, "null", 4);
        return;
    }
    text[0] = '"';
    time_format(unix_ms, text + 1);
    text[TIME_TEXT_LEN + 1] = '"';
    buf_put(b, text, TIME_TEXT_LEN + 2);
}

/* ---- reading ---- */

/* Takes a number of exactly that many digits, between least and most, from the front of *s. */
static bool take_number(struct str *s, int digits, int64_t least, int64_t most, int64_t *ret) {
    if (s->len < (size_t) digits) {
        return false;
    }
    int64_t v = 0;
    for (int i = 0; i < digits; i++) {
        if (s->p[i] < '0' || s->p[i] > '9') {
            return false;
        }
        v = v * 10 + (s->p[i] - '0');
    }
    *s = str_from(*s, (size_t) digits);
    *ret = v;
    return v >= least && v <= most;
}

/* Takes one of the characters of set; *ret is which. */
static bool take_char(struct str *s, const char *set, char *ret) {
    if (s->len == 0 || !s->p[0] || !strchr(set, s->p[0])) {
        return false;
    }
    *ret = s->p[0];
    *s = str_from(*s, 1);
    return true;
}

static bool take_date(struct str *s, int64_t *ret_days) {
    int64_t year, month, day;
    char c;
    if (!take_number(s, 4, 0, 9999, &year) || !take_char(s, "-", &c) || !take_number(s, 2, 1, 12, &month) || !take_char(s, "-", &c)) {
        return false;
    }
    if (!take_number(s, 2, 1, 31, &day) || day > month_days(year, (int) month)) {
        return false;
    }
    *ret_days = days_before_year(year) + day - 1;
    for (int m = 1; m < (int) month; m++) {
        *ret_days += month_days(year, m);
    }
    return true;
}

static bool take_time(struct str *s, int64_t *ret_ms, bool *ret_leap) {
    int64_t hour, minute, second, ms = 0;
    char c;
    if (!take_number(s, 2, 0, 23, &hour) || !take_char(s, ":", &c) || !take_number(s, 2, 0, 59, &minute) || !take_char(s, ":", &c)) {
        return false;
    }
    if (!take_number(s, 2, 0, 60, &second)) {
        return false;
    }
    if (take_char(s, ".", &c)) {
        int64_t digit, unit = 100;
        if (!take_number(s, 1, 0, 9, &digit)) {
            return false;
        }
        do {
            ms += digit * unit;
            unit /= 10;
        } while (take_number(s, 1, 0, 9, &digit));
    }
    *ret_leap = second == 60;
    if (*ret_leap) {
        second = 59;
        ms = 999;
    }
    *ret_ms = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    return true;
}

static bool take_offset(struct str *s, int64_t *ret_ms) {
    int64_t hour, minute;
    char sign, c;
    if (take_char(s, "Zz", &sign)) {
        *ret_ms = 0;
        return true;
    }
    if (!take_char(s, "+-", &sign) || !take_number(s, 2, 0, 23, &hour) || !take_char(s, ":", &c) || !take_number(s, 2, 0, 59, &minute)) {
        return false;
    }
    *ret_ms = (hour * 60 + minute) * 60000 * (sign == '-' ? -1 : 1);
    return true;
}

bool time_parse(struct str text, int64_t *ret_unix_ms) {
    int64_t days, ms, offset_ms;
    bool leap;
    char c;
    if (!take_date(&text, &days) || !take_char(&text, "Tt", &c) || !take_time(&text, &ms, &leap) || !take_offset(&text, &offset_ms) || text.len) {
        return false;
    }
    int64_t t = days * DAY_MS + ms - offset_ms;
    if (t > TIME_MS_MAX || (leap && (t + 1) % DAY_MS != 0)) {
        return false;
    }
    *ret_unix_ms = t;
    return true;
}
