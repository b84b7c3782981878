#include "path.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static slice source;
static const char *at, *end;
static int segment_count, depth;

static expression *parse_or(void);
static query *parse_segments(bool absolute);

static _Noreturn void wrong_at(const char *where, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static _Noreturn void wrong_at(const char *where, const char *format, ...) {
    char message[300];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    place found = place_of(source, (size_t)(where - source.text));
    if (found.line > 1)
        fail("bad_query", "query, line %lu, column %lu: %s", found.line, found.column, message);
    fail("bad_query", "query, character %lu: %s", found.column, message);
}

static _Noreturn void wrong(const char *message) { wrong_at(at, "%s", message); }

static void *node(size_t size) { return allocate_zeroed(1, size); }

static char peek(void) { return at < end ? *at : 0; }

static void spaces(void) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
}

static bool take(const char *text) {
    size_t length = strlen(text);
    if ((size_t)(end - at) < length || memcmp(at, text, length)) return false;
    at += length;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_name_first(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

static slice parse_shorthand(void) {
    const char *first = at;
    if (!is_name_first(peek())) wrong("a name or * was expected; other names are written ['name']");
    while (at < end && (is_name_first(*at) || is_digit(*at))) at++;
    return (slice){first, (size_t)(at - first)};
}

static uint32_t parse_hex4(void) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++, at++) {
        char c = peek();
        if (is_digit(c)) value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f') value = value << 4 | (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F') value = value << 4 | (uint32_t)(c - 'A' + 10);
        else wrong("a \\u escape needs four hexadecimal digits");
    }
    return value;
}

static void parse_escape(buffer *text, char quote) {
    static const char names[] = "bfnrt/\\", values[] = "\b\f\n\r\t/\\";
    const char *escape = at++;
    char c = peek();
    const char *found = c ? strchr(names, c) : NULL;
    at++;
    if (found || (c && c == quote)) {
        add_bytes(text, found ? &values[found - names] : &c, 1);
        return;
    }
    if (c != 'u') wrong_at(escape, "unknown escape in a string");
    uint32_t code = parse_hex4();
    if (code >= 0xD800 && code < 0xDC00 && take("\\u")) {
        uint32_t low = parse_hex4();
        if (low < 0xDC00 || low > 0xDFFF) wrong_at(escape, "half a surrogate pair in a string");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code < 0xE000) {
        wrong_at(escape, "half a surrogate pair in a string");
    }
    add_code_point(text, code);
}

static slice parse_string(void) {
    const char *opened = at;
    char quote = *at++;
    buffer text = {0};
    while (peek() != quote) {
        if (at >= end) wrong_at(opened, "the string that starts here does not end");
        if ((unsigned char)*at < 0x20) wrong("a control character in a string must be escaped");
        if (*at == '\\') parse_escape(&text, quote);
        else add_bytes(&text, at++, 1);
    }
    at++;
    return (slice){text.bytes ? text.bytes : "", text.length};
}

/* An integer as RFC 9535 has it: no leading zeros, no -0, and exact in a double. */
static int64_t parse_integer(void) {
    const char *first = at;
    bool negative = take("-");
    int64_t value = 0;
    if (!is_digit(peek())) wrong("digits were expected");
    if (*at == '0' && (negative || (at + 1 < end && is_digit(at[1]))))
        wrong_at(first, "an integer must not be -0 or start with 0");
    for (; is_digit(peek()); at++) {
        value = value * 10 + (*at - '0');
        if (value > 9007199254740991) wrong_at(first, "an integer must be within +-(2^53 - 1)");
    }
    return negative ? -value : value;
}

static bool is_integer_start(void) { return is_digit(peek()) || peek() == '-'; }

static void parse_slice(selector *made) {
    made->kind = BY_SLICE;
    made->step = 1;
    at++;
    spaces();
    if (is_integer_start()) {
        made->end = parse_integer();
        made->has_end = true;
        spaces();
    }
    if (!take(":")) return;
    const char *colon = at;
    spaces();
    if (is_integer_start()) made->step = parse_integer();
    else at = colon;
}

static void parse_index_or_slice(selector *made) {
    made->kind = BY_INDEX;
    if (is_integer_start()) {
        made->index = parse_integer();
        made->has_start = true;
    }
    const char *after = at;
    spaces();
    if (peek() == ':') parse_slice(made);
    else at = after;
}

static void enter(void) {
    if (++depth > QUERY_DEPTH) wrong("filters and parentheses are nested deeper than 32 levels");
}

static selector *parse_selector(void) {
    selector *made = node(sizeof *made);
    char c = peek();
    if (c == '\'' || c == '"') {
        made->kind = BY_NAME;
        made->name = parse_string();
    } else if (c == '*') {
        made->kind = WILDCARD;
        at++;
    } else if (c == '?') {
        made->kind = BY_FILTER;
        at++;
        spaces();
        enter();
        made->filter = parse_or();
        depth--;
    } else if (c == ':' || is_integer_start()) {
        parse_index_or_slice(made);
    } else if (is_name_first(c)) {
        wrong("a name in brackets needs quotes");
    } else {
        wrong("a selector was expected: a quoted name, *, an index, a slice or ?filter");
    }
    return made;
}

static selector *parse_bracketed(void) {
    selector *first = NULL, **last = &first;
    at++;
    do {
        spaces();
        *last = parse_selector();
        last = &(*last)->next;
        spaces();
    } while (take(","));
    if (!take("]")) wrong("',' or ']' was expected");
    return first;
}

static selector *parse_dotted(void) {
    selector *made = node(sizeof *made);
    made->kind = take("*") ? WILDCARD : BY_NAME;
    if (made->kind == BY_NAME) made->name = parse_shorthand();
    return made;
}

static segment *parse_segment(void) {
    segment *made = node(sizeof *made);
    if (++segment_count > QUERY_SEGMENTS) wrong("a query may have 256 segments, not more");
    made->descendant = take("..");
    if (peek() == '[') made->selectors = parse_bracketed();
    else if (made->descendant || take(".")) made->selectors = parse_dotted();
    return made;
}

static bool is_single(const segment *s) {
    return !s->descendant && !s->selectors->next &&
           (s->selectors->kind == BY_NAME || s->selectors->kind == BY_INDEX);
}

static query *parse_segments(bool absolute) {
    query *made = node(sizeof *made);
    segment **last = &made->segments;
    made->absolute = absolute;
    made->singular = true;
    for (;;) {
        const char *before = at;
        spaces();
        if (peek() != '[' && peek() != '.') {
            at = before;
            return made;
        }
        *last = parse_segment();
        made->singular = made->singular && is_single(*last);
        last = &(*last)->next;
    }
}

static void parse_number(operand *made) {
    const char *first = at;
    if (peek() == '-') at++;
    if (!is_digit(peek())) wrong("digits were expected");
    if (*at == '0' && at + 1 < end && is_digit(at[1])) wrong("a number must not start with 0");
    while (is_digit(peek())) at++;
    if (take(".")) {
        if (!is_digit(peek())) wrong("a number needs digits after its point");
        while (is_digit(peek())) at++;
    }
    if (peek() == 'e' || peek() == 'E') {
        at++;
        if (peek() == '+' || peek() == '-') at++;
        if (!is_digit(peek())) wrong("a number needs digits in its exponent");
        while (is_digit(peek())) at++;
    }
    made->type = JSON_NUMBER;
    made->text = (slice){first, (size_t)(at - first)};
}

static operand *parse_operand(void);

static bool is_value(const operand *o) {
    return o->kind == LITERAL || (o->kind == QUERY && o->query->singular) ||
           (o->kind == FUNCTION && o->function != MATCH && o->function != SEARCH);
}

static void parse_function(operand *made, slice name, const char *start) {
    static const char *const names[] = {"length", "count", "match", "search", "value"};
    static const int wanted[] = {1, 1, 2, 2, 1};
    int count = 0;
    made->kind = FUNCTION;
    for (made->function = LENGTH; made->function <= VALUE; made->function++)
        if (same(name, names[made->function])) break;
    if (made->function > VALUE)
        wrong_at(start, "there is no function %.*s; known are length, count, match, search, value",
                 SLICE(shortened(name, 40)));
    bool nodes = made->function == COUNT || made->function == VALUE;
    operand **last = &made->arguments;
    spaces();
    while (peek() != ')') {
        const char *here = at;
        if (count++) {
            if (!take(",")) wrong("',' or ')' was expected");
            spaces();
            here = at;
        }
        *last = parse_operand();
        if (nodes && (*last)->kind != QUERY)
            wrong_at(here, "%s needs a query, such as @.a", names[made->function]);
        if (!nodes && !is_value(*last))
            wrong_at(here, "%s needs a value: a literal, a function with a value, or a query that "
                           "finds at most one node",
                     names[made->function]);
        last = &(*last)->next;
        spaces();
    }
    at++;
    if (count != wanted[made->function])
        wrong_at(start, "%s needs %d argument%s, not %d", names[made->function],
                 wanted[made->function], wanted[made->function] > 1 ? "s" : "", count);
}

static void parse_word(operand *made) {
    const char *first = at;
    while (at < end && ((*at >= 'a' && *at <= 'z') || *at == '_' || is_digit(*at))) at++;
    slice word = {first, (size_t)(at - first)};
    if (take("(")) {
        enter();
        parse_function(made, word, first);
        depth--;
        return;
    }
    made->type = same(word, "true")    ? JSON_TRUE
                 : same(word, "false") ? JSON_FALSE
                 : same(word, "null")  ? JSON_NULL
                                       : JSON_NOTHING;
    if (made->type == JSON_NOTHING)
        wrong_at(first, "a query from @ or $, a function, or a literal was expected");
}

static operand *parse_operand(void) {
    operand *made = node(sizeof *made);
    char c = peek();
    if (c == '$' || c == '@') {
        at++;
        made->kind = QUERY;
        made->query = parse_segments(c == '$');
    } else if (c == '\'' || c == '"') {
        made->type = JSON_STRING;
        made->text = parse_string();
    } else if (is_digit(c) || c == '-') {
        parse_number(made);
    } else {
        parse_word(made);
    }
    return made;
}

static bool take_comparison(operator_kind *kind) {
    if (take("==")) *kind = EQUAL;
    else if (take("!=")) *kind = UNEQUAL;
    else if (take("<=")) *kind = LESS_OR_EQUAL;
    else if (take(">=")) *kind = MORE_OR_EQUAL;
    else if (take("<")) *kind = LESS;
    else if (take(">")) *kind = MORE;
    else return false;
    return true;
}

static void check_comparable(const operand *o, const char *where) {
    if (is_value(o)) return;
    wrong_at(where, o->kind == QUERY ? "a query that may find more than one node cannot be compared"
                                     : "match and search say yes or no and cannot be compared");
}

static expression *parse_comparison_or_test(void) {
    expression *made = node(sizeof *made);
    const char *first = at;
    made->left = parse_operand();
    const char *after = at;
    spaces();
    if (take_comparison(&made->kind)) {
        check_comparable(made->left, first);
        spaces();
        const char *second = at;
        made->right = parse_operand();
        check_comparable(made->right, second);
        return made;
    }
    at = after;
    if (made->left->kind == LITERAL) wrong_at(first, "a literal alone is no condition; compare it");
    if (made->left->kind == FUNCTION && is_value(made->left))
        wrong_at(first, "this function gives a value, which must be compared");
    made->kind = TEST;
    return made;
}

static expression *parse_basic(void) {
    if (take("!")) {
        expression *made = node(sizeof *made);
        const char *first;
        spaces();
        first = at;
        made->kind = NOT;
        if (peek() == '!') wrong("one ! is enough");
        enter();
        made->first = parse_basic();
        depth--;
        if (*first != '(' && made->first->kind != TEST)
            wrong_at(first, "what ! negates must be a test, or stand in parentheses");
        return made;
    }
    if (!take("(")) return parse_comparison_or_test();
    spaces();
    enter();
    expression *inner = parse_or();
    depth--;
    spaces();
    if (!take(")")) wrong("')' was expected");
    return inner;
}

static expression *parse_joined(operator_kind kind) {
    expression *first = kind == OR ? parse_joined(AND) : parse_basic(), *last = first;
    for (;;) {
        const char *before = at;
        spaces();
        if (!take(kind == OR ? "||" : "&&")) {
            at = before;
            break;
        }
        spaces();
        last->next = kind == OR ? parse_joined(AND) : parse_basic();
        last = last->next;
    }
    if (first == last) return first;
    expression *made = node(sizeof *made);
    made->kind = kind;
    made->first = first;
    return made;
}

static expression *parse_or(void) { return parse_joined(OR); }

query *parse_query(slice text) {
    source = text;
    at = text.text;
    end = at + text.length;
    if (text.length > QUERY_BYTES)
        fail("bad_query", "the query has %zu bytes, at most %d are read", text.length, QUERY_BYTES);
    if (!take("$")) wrong("a query starts with $");
    query *made = parse_segments(true);
    if (at < end) {
        if (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
            wrong("there must be no space after the query");
        wrong("a segment was expected: .name, ['name'], [0], [*] or ..");
    }
    return made;
}
