#include "out.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEVELS = 64 };

static buffer answer;
static bool filled[LEVELS + 1];
static int level;

void out_bytes(const char *data, size_t length) { add_bytes(&answer, data, length); }

void out_text(const char *text) { add_text(&answer, text); }

void out_unsigned(uint64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    out_text(digits);
}

void out_integer(int64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    out_text(digits);
}

void out_double(double value) {
    char digits[40];
    if (!isfinite(value)) {
        out_text("null");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    out_text(digits);
}

static void out_escaped(unsigned char c) {
    char code[8];
    const char *brief = c == '"' ? "\\\"" : c == '\\' ? "\\\\" : c == '\n' ? "\\n"
                        : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
    if (!brief) snprintf(code, sizeof code, "\\u%04x", c);
    out_text(brief ? brief : code);
}

void out_string(slice text) {
    size_t plain = 0;
    out_bytes("\"", 1);
    for (size_t i = 0; i < text.length;) {
        unsigned char c = (unsigned char)text.text[i];
        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t length = c < 0x80 ? 0 : utf8_length(text.text + i, text.length - i);
        if (length) {
            i += length;
            continue;
        }
        out_bytes(text.text + plain, i - plain);
        if (c < 0x80) out_escaped(c);
        else out_bytes("\xEF\xBF\xBD", 3);
        plain = ++i;
    }
    out_bytes(text.text + plain, text.length - plain);
    out_bytes("\"", 1);
}

void out_cstring(const char *text) { out_string(slice_of(text)); }

void out_boolean(bool value) { out_text(value ? "true" : "false"); }

void out_json(json value) {
    const json_document *document = value.document;
    uint32_t ends[JSON_DEPTH + 1], index = value.index, last = document->nodes[index].next;
    char closes[JSON_DEPTH + 1];
    bool comma = false;
    int depth = 0;
    for (; index < last; index++) {
        json at = {document, index};
        json_type type = json_type_of(at);
        if (comma) out_bytes(",", 1);
        comma = false;
        if (type == JSON_OBJECT || type == JSON_ARRAY) {
            ends[depth] = document->nodes[index].next;
            closes[depth++] = type == JSON_OBJECT ? '}' : ']';
            out_bytes(type == JSON_OBJECT ? "{" : "[", 1);
        } else {
            slice raw = json_raw(at);
            out_bytes(raw.text, raw.length);
            if (json_is_name(at)) out_bytes(":", 1);
            else comma = true;
        }
        for (; depth && ends[depth - 1] == index + 1; comma = true)
            out_bytes(&closes[--depth], 1);
    }
}

void out_base64(const void *data, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *s = data;
    out_bytes("\"", 1);
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t three = (uint32_t)s[i] << 16 | (left > 1 ? (uint32_t)s[i + 1] << 8 : 0) |
                         (left > 2 ? s[i + 2] : 0);
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63],
                        left > 1 ? digits[three >> 6 & 63] : '=',
                        left > 2 ? digits[three & 63] : '='};
        out_bytes(four, 4);
    }
    out_bytes("\"", 1);
}

void out_next(void) {
    if (filled[level]) out_bytes(",", 1);
    filled[level] = true;
}

void out_open(char bracket) {
    if (level == LEVELS) abort();
    out_bytes(&bracket, 1);
    filled[++level] = false;
}

void out_close(char bracket) {
    out_bytes(&bracket, 1);
    level--;
}

void out_name_slice(slice name) {
    out_next();
    out_string(name);
    out_bytes(":", 1);
}

void out_name(const char *name) { out_name_slice(slice_of(name)); }

void out_member_string(const char *name, slice text) {
    out_name(name);
    out_string(text);
}

void out_member_unsigned(const char *name, uint64_t value) {
    out_name(name);
    out_unsigned(value);
}

void out_member_boolean(const char *name, bool value) {
    out_name(name);
    out_boolean(value);
}

size_t out_length(void) { return answer.length; }

void out_cut(size_t length) { answer.length = length; }

slice out_since(size_t length) { return (slice){answer.bytes + length, answer.length - length}; }

static void print(const char *data, size_t length) {
    while (length) {
        ssize_t wrote = write(1, data, length);
        if (wrote <= 0) _Exit(2);
        data += wrote;
        length -= (size_t)wrote;
    }
}

void out_flush(void) {
    out_bytes("\n", 1);
    print(answer.bytes, answer.length);
    answer.length = 0;
}

_Noreturn void fail(const char *code, const char *format, ...) {
    static char message[2048], escaped[6 * sizeof message + 256];
    static bool failing;
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    /* There may be no memory left: what is kept of the answer makes room for the error. */
    if (failing) _Exit(2);
    failing = true;
    if (answer.capacity < sizeof escaped) {
        release(answer.bytes);
        answer = (buffer){escaped, 0, sizeof escaped};
    }
    answer.length = 0;
    level = 0;
    filled[0] = false;
    out_open('{');
    out_name("error");
    out_open('{');
    out_member_string("code", slice_of(code));
    out_member_string("message", slice_of(message));
    out_close('}');
    out_close('}');
    out_flush();
    _Exit(1);
}
