#include "statistics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static void trim(const char **text, size_t *length) {
    while (*length && (**text == ' ' || **text == '\t')) (*text)++, (*length)--;
    while (*length && ((*text)[*length - 1] == ' ' || (*text)[*length - 1] == '\t')) (*length)--;
}

/* Decimal notation with an optional exponent; no "inf", "nan", hexadecimal or thousands marks. */
static bool parse_number(const char *text, size_t length, number *found) {
    const char *p = text, *end = text + length;
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    uint64_t mantissa = 0;
    int significant = 0, decimals = 0, digits = 0;
    bool point = false;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit <= 9) {
            digits++;
            decimals += point;
            if (significant || digit) significant++;
            if (significant <= 18) mantissa = mantissa * 10 + digit;
        } else if (*p == '.' && !point) {
            point = true;
        } else {
            break;
        }
    }
    if (!digits) return false;
    bool exponent = p < end && (*p == 'e' || *p == 'E');
    if (exponent) {
        p++;
        if (p < end && (*p == '-' || *p == '+')) p++;
        const char *first = p;
        while (p < end && *p >= '0' && *p <= '9') p++;
        if (p == first) return false;
    }
    if (p != end) return false;
    found->decimals = -1;
    if (!exponent && significant <= 18 && decimals <= 18) {
        found->mantissa = negative ? -(int64_t)mantissa : (int64_t)mantissa;
        found->decimals = decimals;
        if (mantissa <= 1ull << 53) {
            found->value = (double)found->mantissa / POWERS[decimals];
            return true;
        }
    }
    char copy[400];
    if (length >= sizeof copy) return false;
    memcpy(copy, text, length);
    copy[length] = 0;
    found->value = strtod(copy, NULL);
    return isfinite(found->value);
}

static bool scale_up(wide *value, int by) {
    for (; by > 0; by--)
        if (__builtin_mul_overflow(*value, (wide)10, value)) return false;
    return true;
}

static void add_exact(statistics *s, const number *n) {
    if (s->inexact) return;
    wide value = n->mantissa;
    if (n->decimals < 0 || (n->decimals > s->scale && !scale_up(&s->exact, n->decimals - s->scale)) ||
        (n->decimals < s->scale && !scale_up(&value, s->scale - n->decimals)) ||
        __builtin_add_overflow(s->exact, value, &s->exact)) {
        s->inexact = true;
        return;
    }
    if (n->decimals > s->scale) s->scale = n->decimals;
}

static void add_number(statistics *s, const number *n, bool keep) {
    if (!s->numeric || n->value < s->smallest) s->smallest = n->value;
    if (!s->numeric || n->value > s->largest) s->largest = n->value;
    s->numeric++;
    add_exact(s, n);
    /* Neumaier's compensated sum, for what is not exact. */
    double total = s->sum + n->value;
    s->rest += fabs(s->sum) >= fabs(n->value) ? (s->sum - total) + n->value
                                              : (n->value - total) + s->sum;
    s->sum = total;
    if (keep) {
        s->values = grow(s->values, &s->value_capacity, s->value_count + 1, sizeof *s->values);
        s->values[s->value_count++] = n->value;
    }
}

void add_cell(statistics *s, const char *text, size_t length, bool keep, bool *was_text) {
    number n;
    *was_text = false;
    trim(&text, &length);
    if (!length) {
        s->missing++;
    } else if (parse_number(text, length, &n)) {
        add_number(s, &n, keep);
    } else {
        s->text++;
        *was_text = true;
    }
}

/* A computed value: when 15 digits are within rounding noise of it, those are what was meant. */
static void out_computed(double value) {
    char digits[40];
    snprintf(digits, sizeof digits, "%.15g", value);
    double near = strtod(digits, NULL);
    out_double(fabs(near - value) <= fabs(value) * 4.5e-16 ? near : value);
}

/* value / 10^scale as an exact decimal. */
static void out_decimal(wide value, int scale) {
    char digits[64];
    size_t at = sizeof digits;
    bool negative = value < 0;
    unsigned __int128 rest = negative ? -(unsigned __int128)value : (unsigned __int128)value;
    while (scale > 0 && rest % 10 == 0) {
        rest /= 10;
        scale--;
    }
    int written = 0;
    do {
        if (written == scale && scale > 0) digits[--at] = '.';
        digits[--at] = (char)('0' + (int)(rest % 10));
        rest /= 10;
        written++;
    } while (rest || written <= scale);
    if (negative) digits[--at] = '-';
    out_bytes(digits + at, sizeof digits - at);
}

void out_sum(const statistics *s) {
    if (!s->inexact) out_decimal(s->exact, s->scale);
    else if (isfinite(s->sum + s->rest)) out_computed(s->sum + s->rest);
    else out_text("null");
}

void out_mean(const statistics *s) {
    double count = (double)s->numeric, mean;
    if (!s->inexact) mean = (double)s->exact / POWERS[s->scale] / count;
    else mean = (s->sum + s->rest) / count;
    if (!s->inexact && s->exact < (wide)1 << 53 && s->exact > -((wide)1 << 53) &&
        POWERS[s->scale] * count < 9007199254740992.0)
        mean = (double)s->exact / (POWERS[s->scale] * count);
    if (isfinite(mean)) out_computed(mean);
    else out_text("null");
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void out_median(const statistics *s) {
    size_t n = s->value_count;
    qsort(s->values, n, sizeof *s->values, by_value);
    if (n % 2) out_double(s->values[n / 2]);
    else out_computed(s->values[n / 2 - 1] / 2 + s->values[n / 2] / 2);
}
