#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { NO_NODE = UINT32_MAX };

typedef struct {
    const char *start, *at, *end;
    json_document *document;
    uint32_t used, open, depth;
    json_error error;
} parser;

static bool wrong(parser *p, const char *message) {
    if (!p->error.message) p->error = (json_error){message, (size_t)(p->at - p->start)};
    return false;
}

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t'))
        p->at++;
}

/* One for the root, and each other value or name follows one of these. */
static size_t most_nodes(slice text) {
    size_t count = 1;
    bool quoted = false;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.text[i];
        if (c == '"') quoted = !quoted;
        else if (quoted) i += c == '\\';
        else count += c == ',' || c == ':' || c == '[' || c == '{';
    }
    return count;
}

static json_node *add_node(parser *p) {
    json_node *node = &p->document->nodes[p->used++];
    node->start = (uint32_t)(p->at - p->start);
    node->next = p->used;
    return node;
}

static int hex4(const char *at, const char *end) {
    int value = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The code point of a \u escape whose digits begin at `at`; *used: how many characters, 4 or 10. */
static int64_t escaped(const char *at, const char *end, size_t *used) {
    int high = hex4(at, end);
    *used = 4;
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high >= 0xDC00 || end - at < 10 || at[4] != '\\' || at[5] != 'u') return -2;
    int low = hex4(at + 6, end);
    if (low < 0xDC00 || low > 0xDFFF) return -2;
    *used = 10;
    return 0x10000 + ((int64_t)(high - 0xD800) << 10) + (low - 0xDC00);
}

static bool pass_escape(parser *p) {
    const char *escape = p->at++;
    char c = p->at < p->end ? *p->at : 0;
    if (c && strchr("\"\\/bfnrt", c)) {
        p->at++;
        return true;
    }
    size_t used = 0;
    int64_t code = c == 'u' ? escaped(p->at + 1, p->end, &used) : -3;
    if (code < 0) {
        p->at = escape;
        return wrong(p, code == -3   ? "unknown escape in a string"
                        : code == -2 ? "half a surrogate pair in a string"
                                     : "a \\u escape needs four hexadecimal digits");
    }
    p->at += 1 + used;
    return true;
}

static bool pass_string(parser *p) {
    const char *quote = p->at++;
    for (;;) {
        if (p->at >= p->end) {
            p->at = quote;
            return wrong(p, "the string that starts here does not end");
        }
        unsigned char c = (unsigned char)*p->at;
        if (c == '"') break;
        if (c < 0x20) return wrong(p, "a control character in a string must be escaped");
        if (c == '\\') {
            if (!pass_escape(p)) return false;
        } else if (c < 0x80) {
            p->at++;
        } else {
            size_t length = utf8_length(p->at, (size_t)(p->end - p->at));
            if (!length) return wrong(p, "a byte that is not UTF-8");
            p->at += length;
        }
    }
    p->at++;
    return true;
}

static bool pass_digits(parser *p, const char *message) {
    const char *first = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
    return p->at > first || wrong(p, message);
}

static bool pass_number(parser *p) {
    if (*p->at == '-') p->at++;
    if (p->at < p->end && *p->at == '0') {
        p->at++;
        if (p->at < p->end && *p->at >= '0' && *p->at <= '9')
            return wrong(p, "a number must not start with 0 followed by digits");
    } else if (!pass_digits(p, "a number needs digits after its sign")) {
        return false;
    }
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        if (!pass_digits(p, "a number needs digits after its point")) return false;
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        if (!pass_digits(p, "a number needs digits in its exponent")) return false;
    }
    return true;
}

static bool pass_word(parser *p, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length))
        return wrong(p, "no JSON value starts like this");
    p->at += length;
    return true;
}

static bool pass_scalar(parser *p) {
    char c = *p->at;
    add_node(p);
    if (c == '"') return pass_string(p);
    if (c == '-' || (c >= '0' && c <= '9')) return pass_number(p);
    return pass_word(p, c == 't' ? "true" : c == 'f' ? "false" : "null");
}

/* Until it is closed, an open node's `next` is the index of the one around it. */
static bool open_node(parser *p) {
    if (++p->depth > JSON_DEPTH) return wrong(p, "nested deeper than 512 levels");
    uint32_t index = p->used;
    add_node(p)->next = p->open;
    p->open = index;
    p->at++;
    return true;
}

static void close_node(parser *p) {
    json_node *node = &p->document->nodes[p->open];
    p->open = node->next;
    node->next = p->used;
    p->depth--;
    p->at++;
}

static bool in_object(const parser *p) {
    return p->start[p->document->nodes[p->open].start] == '{';
}

static bool pass_name(parser *p) {
    if (p->at >= p->end || *p->at != '"') return wrong(p, "a name in quotes was expected");
    add_node(p)->next = 0;
    if (!pass_string(p)) return false;
    skip_space(p);
    if (p->at >= p->end || *p->at != ':') return wrong(p, "':' was expected after a name");
    p->at++;
    return true;
}

/* One value, or the start of one; leaves the parser where a ',' or a closing bracket may stand. */
static bool pass_value(parser *p) {
    for (;;) {
        skip_space(p);
        if (p->at >= p->end) return wrong(p, "the text ends where a value was expected");
        if (*p->at != '[' && *p->at != '{') return pass_scalar(p);
        char close = *p->at == '[' ? ']' : '}';
        if (!open_node(p)) return false;
        skip_space(p);
        if (p->at < p->end && *p->at == close) {
            close_node(p);
            return true;
        }
        if (close == '}' && !pass_name(p)) return false;
    }
}

static bool pass_text(parser *p) {
    for (;;) {
        if (!pass_value(p)) return false;
        for (;;) {
            skip_space(p);
            if (p->open == NO_NODE)
                return p->at == p->end || wrong(p, "there is text after the value");
            if (p->at >= p->end) return wrong(p, "the text ends inside an array or object");
            if (*p->at != (in_object(p) ? '}' : ']')) break;
            close_node(p);
        }
        if (*p->at != ',')
            return wrong(p, in_object(p) ? "',' or '}' was expected" : "',' or ']' was expected");
        p->at++;
        skip_space(p);
        if (in_object(p) && !pass_name(p)) return false;
    }
}

json_error json_parse(json_document *document, slice text) {
    size_t mark = text.length >= 3 && !memcmp(text.text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    *document = (json_document){.text = text};
    if (text.length >= UINT32_MAX / 4) checked(NULL);
    parser p = {text.text, text.text + mark, text.text + text.length, document, 0, NO_NODE, 0, {0}};
    document->nodes = allocate(most_nodes(text) * sizeof *document->nodes);
    if (pass_text(&p)) {
        document->count = p.used;
    } else {
        free(document->nodes);
        *document = (json_document){0};
    }
    return p.error;
}

void json_parse_or_fail(json_document *document, slice text, const char *code, const char *what) {
    json_error error = json_parse(document, text);
    if (!error.message) return;
    place at = place_of(text, error.offset);
    fail(code, "%s, line %lu, column %lu: %s", what, at.line, at.column, error.message);
}

json json_root(const json_document *document) { return (json){document, 0}; }

bool json_is_name(json node) { return !node.document->nodes[node.index].next; }

static const char *start_of(json value) {
    return value.document->text.text + value.document->nodes[value.index].start;
}

json_type json_type_of(json value) {
    if (!value.document) return JSON_NOTHING;
    switch (*start_of(value)) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 't': return JSON_TRUE;
    case 'f': return JSON_FALSE;
    case 'n': return JSON_NULL;
    default: return JSON_NUMBER;
    }
}

const char *json_type_name(json value) {
    static const char *const names[] = {"nothing", "null",   "boolean", "boolean",
                                        "number",  "string", "array",   "object"};
    return names[json_type_of(value)];
}

json_each json_each_of(json value) {
    json_type type = json_type_of(value);
    if (type != JSON_OBJECT && type != JSON_ARRAY) return (json_each){0};
    json_each it = {.at = value.index + 1, .object = type == JSON_OBJECT};
    it.end = value.document->nodes[value.index].next;
    it.value.document = value.document;
    return it;
}

bool json_more(json_each *it) {
    if (it->at >= it->end) return false;
    const json_document *document = it->value.document;
    if (it->object) it->key = (json){document, it->at};
    it->value.index = it->at + it->object;
    return true;
}

void json_step(json_each *it) {
    it->at = it->value.document->nodes[it->value.index].next;
    it->index++;
}

uint32_t json_count(json value) {
    uint32_t count = 0;
    for (json_each it = json_each_of(value); json_more(&it); json_step(&it)) count++;
    return count;
}

json json_member(json object, slice name) {
    json found = {0};
    if (json_type_of(object) != JSON_OBJECT) return found;
    for (json_each it = json_each_of(object); json_more(&it); json_step(&it))
        if (json_string_is(it.key, name)) found = it.value;
    return found;
}

json json_get(json object, const char *name) { return json_member(object, slice_of(name)); }

json json_item(json array, uint32_t position) {
    if (json_type_of(array) != JSON_ARRAY) return (json){0};
    for (json_each it = json_each_of(array); json_more(&it); json_step(&it))
        if (it.index == position) return it.value;
    return (json){0};
}

/* The bytes of the escape at *at, which is moved behind it. */
static size_t decode(const char **at, const char *end, char bytes[4]) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = (*at)[1];
    *at += 2;
    if (c != 'u') {
        bytes[0] = values[strchr(names, c) - names];
        return 1;
    }
    size_t used;
    int64_t code = escaped(*at, end, &used);
    *at += used;
    return utf8_put(bytes, (uint32_t)code);
}

slice json_raw(json scalar) {
    const char *start = start_of(scalar), *at = start;
    const char *end = scalar.document->text.text + scalar.document->text.length;
    if (*at == '"') {
        for (at++; *at != '"'; at++) at += *at == '\\';
        at++;
    } else {
        while (at < end && *at > ' ' && *at != ',' && *at != ']' && *at != '}') at++;
    }
    return (slice){start, (size_t)(at - start)};
}

slice json_string(json string) {
    slice raw = json_raw(string);
    raw = (slice){raw.text + 1, raw.length - 2};
    if (!memchr(raw.text, '\\', raw.length)) return raw;
    char *copy = allocate(raw.length), *to = copy;
    const char *end = raw.text + raw.length;
    for (const char *at = raw.text; at < end;) {
        if (*at != '\\') *to++ = *at++;
        else to += decode(&at, end, to);
    }
    return (slice){copy, (size_t)(to - copy)};
}

bool json_string_is(json string, slice text) {
    const char *at = start_of(string) + 1;
    const char *end = string.document->text.text + string.document->text.length;
    const char *wanted = text.text, *last = text.text + text.length;
    while (*at != '"') {
        char bytes[4];
        size_t length = 1;
        if (*at == '\\') length = decode(&at, end, bytes);
        else bytes[0] = *at++;
        if ((size_t)(last - wanted) < length || memcmp(wanted, bytes, length)) return false;
        wanted += length;
    }
    return wanted == last;
}

uint32_t json_characters(json string) {
    slice raw = json_raw(string);
    uint32_t count = 0;
    for (const char *at = raw.text + 1, *end = raw.text + raw.length - 1; at < end; count++) {
        char bytes[4];
        if (*at == '\\') decode(&at, end, bytes);
        else at += utf8_length(at, (size_t)(end - at));
    }
    return count;
}

double json_double(json number) {
    slice raw = json_raw(number);
    char brief[64];
    /* strtod reads to the end of the number, and what follows one in JSON never belongs to it. */
    if (raw.length >= sizeof brief) return strtod(raw.text, NULL);
    memcpy(brief, raw.text, raw.length);
    brief[raw.length] = 0;
    return strtod(brief, NULL);
}

bool json_integer(json number, int64_t *found) {
    if (json_type_of(number) != JSON_NUMBER) return false;
    slice raw = json_raw(number);
    bool negative = raw.text[0] == '-';
    uint64_t value = 0, most = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    for (size_t i = negative; i < raw.length; i++) {
        unsigned digit = (unsigned)(unsigned char)raw.text[i] - '0';
        if (digit > 9) {
            double real = json_double(number);
            if (!(real >= -9007199254740992.0 && real <= 9007199254740992.0)) return false;
            *found = (int64_t)real;
            return (double)*found == real;
        }
        if (value > (most - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *found = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}
