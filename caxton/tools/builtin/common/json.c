#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { NO_NODE = UINT32_MAX };

typedef struct {
    const char *start, *end;
    json_node *nodes;
    uint32_t used, open, depth;
    json_error error;
} parser;

/*
 * The functions of the parser take where they begin and return where they end, or NULL after wrong():
 * kept in registers, this is several times faster than a place in memory.
 */
static const char *wrong(parser *p, const char *at, const char *message) {
    if (!p->error.message) p->error = (json_error){message, (size_t)(at - p->start)};
    return NULL;
}

static const unsigned char SPACE[256] = {[' '] = 1, ['\n'] = 1, ['\r'] = 1, ['\t'] = 1};

/* The byte behind the text is no space, so that it ends this. */
static inline const char *skip_space(const char *at) {
    while (SPACE[(unsigned char)*at]) at++;
    return at;
}

static inline bool is_digit(char c) { return (unsigned char)(c - '0') <= 9; }

/* What a byte is inside a string: 0 as it is, else something to look at. */
static const unsigned char LOOK[256] = {
    ['"'] = 1, ['\\'] = 1, [0 ... 0x1F] = 1, [0x80 ... 0xFF] = 1,
};

/* Bytes behind which a value or a name may begin. */
static const unsigned char BEFORE[256] = {[','] = 1, [':'] = 1, ['['] = 1, ['{'] = 1};

/* How many nodes there are at most: one is the root, and each other one follows one of BEFORE. */
static size_t most_nodes(slice text) {
    size_t count = 1;
    const unsigned char *at = (const unsigned char *)text.text, *end = at + text.length;
    while (at < end) {
        unsigned char c = *at++;
        count += BEFORE[c];
        if (c != '"') continue;
        for (;;) {
            while (!LOOK[*at]) at++;
            if (*at == '"' || at >= end) break;
            at += *at == '\\' ? 2 : 1;
        }
        at++;
    }
    return count;
}

static inline json_node *add_node(parser *p, const char *at) {
    json_node *node = &p->nodes[p->used++];
    *node = (json_node){(uint32_t)(at - p->start), p->used};
    return node;
}

static int hex4(const char *at, const char *end) {
    int value = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = is_digit(c)            ? c - '0'
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

static const char *pass_escape(parser *p, const char *at) {
    char c = at + 1 < p->end ? at[1] : 0;
    if (c && strchr("\"\\/bfnrt", c)) return at + 2;
    if (c != 'u') return wrong(p, at, "unknown escape in a string");
    size_t used;
    int64_t code = escaped(at + 2, p->end, &used);
    if (code == -2) return wrong(p, at, "half a surrogate pair in a string");
    if (code < 0) return wrong(p, at, "a \\u escape needs four hexadecimal digits");
    return at + 2 + used;
}

static const char *pass_string(parser *p, const char *quote) {
    const char *at = quote + 1, *end = p->end;
    for (;;) {
        while (!LOOK[(unsigned char)*at]) at++;
        if (at >= end) return wrong(p, quote, "the string that starts here does not end");
        unsigned char c = (unsigned char)*at;
        if (c == '"') return at + 1;
        if (c < 0x20) return wrong(p, at, "a control character in a string must be escaped");
        if (c == '\\') {
            at = pass_escape(p, at);
            if (!at) return NULL;
            continue;
        }
        size_t length = utf8_length(at, (size_t)(end - at));
        if (!length) return wrong(p, at, "a byte that is not UTF-8");
        at += length;
    }
}

static inline const char *pass_digits(const char *at) {
    while (is_digit(*at)) at++;
    return at;
}

static const char *pass_number(parser *p, const char *at) {
    if (*at == '-') at++;
    const char *first = at;
    at = pass_digits(at);
    if (at == first) return wrong(p, at, "a number needs digits after its sign");
    if (*first == '0' && at > first + 1)
        return wrong(p, first + 1, "a number must not start with 0 followed by digits");
    if (*at == '.') {
        first = ++at;
        at = pass_digits(at);
        if (at == first) return wrong(p, at, "a number needs digits after its point");
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '+' || *at == '-') at++;
        first = at;
        at = pass_digits(at);
        if (at == first) return wrong(p, at, "a number needs digits in its exponent");
    }
    return at;
}

static const char *pass_word(parser *p, const char *at) {
    const char *word = *at == 't' ? "true" : *at == 'f' ? "false" : "null";
    size_t length = strlen(word);
    if ((size_t)(p->end - at) < length || memcmp(at, word, length))
        return wrong(p, at, "no JSON value starts like this");
    return at + length;
}

/* Until it is closed, an open node's `next` is the index of the one around it. */
static const char *open_node(parser *p, const char *at) {
    if (++p->depth > JSON_DEPTH) return wrong(p, at, "nested deeper than 512 levels");
    uint32_t index = p->used;
    add_node(p, at)->next = p->open;
    p->open = index;
    return at + 1;
}

static void close_node(parser *p) {
    json_node *node = &p->nodes[p->open];
    p->open = node->next;
    node->next = p->used;
    p->depth--;
}

static inline bool in_object(const parser *p) { return p->start[p->nodes[p->open].start] == '{'; }

static const char *pass_name(parser *p, const char *at) {
    at = skip_space(at);
    if (at >= p->end || *at != '"') return wrong(p, at, "a name in quotes was expected");
    add_node(p, at)->next = 0;
    at = pass_string(p, at);
    if (!at) return NULL;
    at = skip_space(at);
    if (at >= p->end || *at != ':') return wrong(p, at, "':' was expected after a name");
    return at + 1;
}

/* One value, or the start of one up to a scalar or an empty array or object. */
static const char *pass_value(parser *p, const char *at) {
    for (;;) {
        at = skip_space(at);
        if (at >= p->end) return wrong(p, at, "the text ends where a value was expected");
        char c = *at;
        if (c != '[' && c != '{') {
            add_node(p, at);
            return c == '"'                   ? pass_string(p, at)
                   : c == '-' || is_digit(c) ? pass_number(p, at)
                                             : pass_word(p, at);
        }
        at = open_node(p, at);
        if (!at) return NULL;
        at = skip_space(at);
        if (at < p->end && *at == (c == '[' ? ']' : '}')) {
            close_node(p);
            return at + 1;
        }
        if (c == '{') at = pass_name(p, at);
        if (!at) return NULL;
    }
}

/* What may follow a value: closing brackets, and a ',' or the end. */
static const char *pass_end(parser *p, const char *at) {
    for (;;) {
        at = skip_space(at);
        if (p->open == NO_NODE)
            return at == p->end ? at : wrong(p, at, "there is text after the value");
        if (at >= p->end) return wrong(p, at, "the text ends inside an array or object");
        bool object = in_object(p);
        if (*at == ',') return object ? pass_name(p, at + 1) : at + 1;
        if (*at != (object ? '}' : ']'))
            return wrong(p, at, object ? "',' or '}' was expected" : "',' or ']' was expected");
        close_node(p);
        at++;
    }
}

json_error json_parse(json_document *document, slice text) {
    size_t mark = text.length >= 3 && !memcmp(text.text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    *document = (json_document){.text = text};
    if (text.length >= UINT32_MAX / sizeof(json_node)) checked(NULL);
    parser p = {.start = text.text, .end = text.text + text.length, .open = NO_NODE};
    p.nodes = allocate(most_nodes(text) * sizeof *p.nodes);
    const char *at = text.text + mark;
    do at = pass_value(&p, at);
    while (at && (at = pass_end(&p, at)) && p.open != NO_NODE);
    if (at) {
        document->nodes = p.nodes;
        document->count = p.used;
    } else {
        release(p.nodes);
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
        for (at++; *at != '"'; at += *at == '\\' ? 2 : *at != '"')
            while (!LOOK[(unsigned char)*at]) at++;
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
    char *copy = allocate(raw.length + 1), *to = copy;
    const char *end = raw.text + raw.length;
    for (const char *at = raw.text; at < end;) {
        if (*at != '\\') *to++ = *at++;
        else to += decode(&at, end, to);
    }
    *to = 0;
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
