#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_EXPONENT = 1000000000 };

/* 0.DIGITS * 10^exponent; the digits begin and end with other than 0, zero has none. */
typedef struct {
    const char *digits;
    size_t length;  /* in the text, maybe with a point among them */
    size_t count;   /* of digits */
    int64_t exponent;
    bool negative;
} decimal;

static int64_t exponent_of(const char *at, const char *end) {
    int64_t value = 0;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    for (; at < end; at++)
        if (value < MOST_EXPONENT) value = value * 10 + (*at - '0');
    return negative ? -value : value;
}

static decimal decimal_of(slice text) {
    decimal d = {0};
    const char *at = text.text, *end = text.text + text.length;
    if (at < end && *at == '-') {
        d.negative = true;
        at++;
    }
    const char *mark = at, *first = NULL, *last = NULL, *point = NULL;
    for (; mark < end && *mark != 'e' && *mark != 'E'; mark++) {
        if (*mark == '.') {
            point = mark;
        } else if (*mark != '0') {
            if (!first) first = mark;
            last = mark;
        }
    }
    if (!first) return (decimal){0};
    if (!point) point = mark;
    d.digits = first;
    d.length = (size_t)(last - first) + 1;
    d.count = d.length - (first < point && point < last);
    d.exponent = first < point ? point - first : point + 1 - first;
    if (mark < end) d.exponent += exponent_of(mark + 1, end);
    return d;
}

static int compare_digits(const decimal *a, const decimal *b) {
    const char *x = a->digits, *y = b->digits;
    size_t most = a->count > b->count ? a->count : b->count;
    for (size_t i = 0; i < most; i++) {
        if (i < a->count && *x == '.') x++;
        if (i < b->count && *y == '.') y++;
        char left = i < a->count ? *x++ : '0', right = i < b->count ? *y++ : '0';
        if (left != right) return left < right ? -1 : 1;
    }
    return 0;
}

/* Most numbers are whole and have few digits. */
static bool small_integer(slice text, int64_t *found) {
    bool negative = text.text[0] == '-';
    if (text.length > 18) return false;
    int64_t value = 0;
    for (size_t i = negative; i < text.length; i++) {
        unsigned digit = (unsigned)(unsigned char)text.text[i] - '0';
        if (digit > 9) return false;
        value = value * 10 + digit;
    }
    *found = negative ? -value : value;
    return true;
}

/* Exact, however many digits there are. */
static int compare_numbers(slice x, slice y) {
    int64_t left, right;
    if (small_integer(x, &left) && small_integer(y, &right)) return (left > right) - (left < right);
    decimal a = decimal_of(x), b = decimal_of(y);
    if (!a.count || !b.count)
        return a.count ? (a.negative ? -1 : 1) : b.count ? (b.negative ? 1 : -1) : 0;
    if (a.negative != b.negative) return a.negative ? -1 : 1;
    int order = a.exponent != b.exponent ? (a.exponent < b.exponent ? -1 : 1)
                                         : compare_digits(&a, &b);
    return a.negative ? -order : order;
}

value value_of_node(json node) {
    value v = {.type = json_type_of(node), .node = node};
    if (v.type == JSON_NUMBER) v.text = json_raw(node);
    if (v.type == JSON_STRING) {
        v.text = json_string(node);
        slice text = node.document->text;
        /* A string without escapes stays in the document. */
        if (v.text.text < text.text || v.text.text >= text.text + text.length)
            v.owned = (char *)v.text.text;
    }
    return v;
}

value value_of_number(uint32_t number) {
    value v = {.type = JSON_NUMBER, .owned = allocate(12)};
    v.text = (slice){v.owned, (size_t)snprintf(v.owned, 12, "%lu", (unsigned long)number)};
    return v;
}

void value_free(value *v) {
    release(v->owned);
    v->owned = NULL;
}

static bool nodes_equal(json a, json b) {
    value x = value_of_node(a), y = value_of_node(b);
    bool same_value = values_compare(&x, &y) == 0;
    value_free(&x);
    value_free(&y);
    return same_value;
}

static bool arrays_equal(json a, json b) {
    json_each x = json_each_of(a), y = json_each_of(b);
    for (;;) {
        bool more = json_more(&x);
        if (more != json_more(&y)) return false;
        if (!more) return true;
        if (!nodes_equal(x.value, y.value)) return false;
        json_step(&x);
        json_step(&y);
    }
}

/* Each member of `a` is in `b`. */
static bool members_in(json a, json b) {
    for (json_each it = json_each_of(a); json_more(&it); json_step(&it)) {
        value name = value_of_node(it.key);
        json here = json_member(a, name.text), there = json_member(b, name.text);
        value_free(&name);
        if (!there.document || !nodes_equal(here, there)) return false;
    }
    return true;
}

int values_compare(const value *a, const value *b) {
    bool same_value = true;
    if (a->type != b->type) return 2;
    switch (a->type) {
    case JSON_NUMBER: return compare_numbers(a->text, b->text);
    case JSON_STRING: {
        int order = compare(a->text, b->text);
        return (order > 0) - (order < 0);
    }
    case JSON_ARRAY: same_value = arrays_equal(a->node, b->node); break;
    case JSON_OBJECT:
        same_value = json_count(a->node) == json_count(b->node) && members_in(a->node, b->node);
        break;
    default: break;
    }
    return same_value ? 0 : 2;
}
