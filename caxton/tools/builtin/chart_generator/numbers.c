#include "numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of four digits, as years are, stay whole. */
enum { SEPARATED = 10000 };

slice format(const char *pattern, ...) {
    char text[501];
    va_list values;
    va_start(values, pattern);
    vsnprintf(text, sizeof text, pattern, values);
    va_end(values);
    slice whole = slice_of(text);
    whole.length = utf8_valid(whole);
    return (slice){copy_text(whole), whole.length};
}

/* 1e+05 becomes 1e5, in place. */
static void shorten_exponent(char *digits) {
    char *from = strchr(digits, 'e');
    if (!from) return;
    char *to = ++from;
    if (*from == '-') to++;
    from++;
    while (*from == '0' && from[1]) from++;
    memmove(to, from, strlen(from) + 1);
}

/* The digits of printf with a real minus sign, and with ',' between thousands where asked for. */
static slice grouped(const char *digits, bool separate, const char *suffix) {
    buffer text = {0};
    bool negative = *digits == '-';
    digits += negative;
    size_t whole = strspn(digits, "0123456789");
    if (negative && strspn(digits, "0.") < strlen(digits)) add_text(&text, "\xE2\x88\x92");
    for (size_t i = 0; i < whole; i++) {
        if (separate && i && (whole - i) % 3 == 0) add_text(&text, ",");
        add_bytes(&text, digits + i, 1);
    }
    for (const char *at = digits + whole; *at; at++)
        add_text(&text, *at == '-' ? "\xE2\x88\x92" : (char[]){*at, 0});
    add_text(&text, suffix);
    return (slice){text.bytes, text.length};
}

double round_step(double step) {
    static const double nice[] = {1, 2, 2.5, 5};
    double power = pow(10, floor(log10(step)));
    for (size_t i = 0; i < sizeof nice / sizeof *nice; i++) {
        /* 2.5 itself would put a fraction on an axis of counts. */
        bool odd = i == 2 && power > 0.5 && power < 5;
        if (!odd && nice[i] * power >= step * (1 - 1e-9)) return nice[i] * power;
    }
    return 10 * power;
}

static int decimals_of(double step) {
    for (int decimals = 0; decimals < 15; decimals++) {
        double scaled = step * pow(10, decimals);
        if (scaled > 0.5 && fabs(scaled - round(scaled)) < 1e-6 * scaled) return decimals;
    }
    return 15;
}

static void choose_words(axis *a) {
    double most = fmax(fabs(a->low), fabs(a->high));
    a->suffix = "";
    a->divisor = 1;
    if (most >= 1e15 || most < 1e-4) {
        a->exponent = true;
        return;
    }
    if (most >= 1e12 && a->step >= 1e8) a->divisor = 1e12, a->suffix = "T";
    else if (most >= 1e9 && a->step >= 1e5) a->divisor = 1e9, a->suffix = "B";
    else if (most >= 1e6 && a->step >= 1e3) a->divisor = 1e6, a->suffix = "M";
    a->separate = most / a->divisor >= SEPARATED;
    a->decimals = decimals_of(a->step / a->divisor);
}

axis nice_axis(double low, double high, int wanted, bool widen_low, bool widen_high) {
    if (high < low && widen_low) low = high;
    if (high < low) high = low;
    double size = fmax(fabs(low), fabs(high));
    if (low == 0 && high == 0) high = 1;
    if (!(high - low > size * 1e-12) || high - low < 1e-290) {
        double room = size > 1e-280 ? size * 0.1 : 1;
        if (widen_low || !widen_high) low -= room;
        if (widen_high || !widen_low) high += room;
    }
    axis a = {.low = low, .high = high, .step = round_step((high - low) / fmax(wanted, 1))};
    if (widen_low) a.low = floor(low / a.step + 1e-9) * a.step;
    if (widen_high) a.high = ceil(high / a.step - 1e-9) * a.step;
    a.first = (int64_t)ceil(a.low / a.step - 1e-6);
    a.ticks = (int)((int64_t)floor(a.high / a.step + 1e-6) - a.first) + 1;
    choose_words(&a);
    return a;
}

double tick_value(const axis *a, int index) { return (double)(a->first + index) * a->step; }

slice tick_label(const axis *a, int index) {
    char digits[400];
    double value = tick_value(a, index);
    if (value == 0) return slice_of("0");
    if (a->exponent) {
        double most = fmax(fabs(a->low), fabs(a->high));
        int precision = (int)ceil(log10(most / a->step)) + 2;
        snprintf(digits, sizeof digits, "%.*g", precision > 17 ? 17 : precision, value);
        shorten_exponent(digits);
        return grouped(digits, false, "");
    }
    snprintf(digits, sizeof digits, "%.*f", a->decimals, value / a->divisor);
    return grouped(digits, a->separate, a->suffix);
}

slice number_label(double value) {
    char digits[400];
    double size = fabs(value);
    if (size != 0 && (size >= 1e15 || size < 1e-4)) {
        snprintf(digits, sizeof digits, "%.6g", value);
        shorten_exponent(digits);
        return grouped(digits, false, "");
    }
    int whole = size >= 1 ? (int)floor(log10(size)) + 1 : 1, decimals = whole < 6 ? 6 - whole : 0;
    snprintf(digits, sizeof digits, "%.*f", decimals, value);
    if (strchr(digits, '.')) {
        size_t length = strlen(digits);
        while (digits[length - 1] == '0') length--;
        if (digits[length - 1] == '.') length--;
        digits[length] = 0;
    }
    return grouped(digits, size >= SEPARATED, "");
}
