/* JSON output: a buffered writer, escaping, and numbers in their shortest exact form. */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef __int128 wide;

/* The whole answer is kept until it is complete: an error found late must not follow half of it. */
static char *out_buffer;
static size_t out_used, out_capacity;

static _Noreturn void fail(const char *code, const char *message);

static void *checked(void *memory) {
    if (!memory)
        fail("out_of_memory", "the answer needs more memory than the tool has: choose fewer rows "
                              "or distinct values, or raise the tool's memory limit");
    return memory;
}

static void *grow(void *memory, size_t *capacity, size_t needed, size_t item) {
    if (needed <= *capacity) return memory;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    while (wanted < needed) wanted *= 2;
    memory = checked(realloc(memory, wanted * item));
    *capacity = wanted;
    return memory;
}

static void out_begin(void) {
    out_capacity = 1 << 16;
    out_buffer = malloc(out_capacity);
    if (!out_buffer) _Exit(2);
}

static void out_flush(void) {
    size_t done = 0;
    while (done < out_used) {
        ssize_t wrote = write(1, out_buffer + done, out_used - done);
        if (wrote <= 0) _Exit(2);
        done += (size_t)wrote;
    }
    out_used = 0;
}

static void out_bytes(const char *data, size_t length) {
    out_buffer = grow(out_buffer, &out_capacity, out_used + length, 1);
    memcpy(out_buffer + out_used, data, length);
    out_used += length;
}

static void out_text(const char *text) { out_bytes(text, strlen(text)); }

static void out_unsigned(uint64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    out_text(digits);
}

/* Length of the valid UTF-8 sequence at s, or 0. Refuses overlong forms and surrogates. */
static size_t utf8_length(const unsigned char *s, size_t left) {
    if (s[0] < 0x80) return 1;
    size_t need = s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                  : s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : 0;
    if (!need || left < need) return 0;
    for (size_t i = 1; i < need; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (s[0] == 0xE0 && s[1] < 0xA0) return 0;
    if (s[0] == 0xED && s[1] > 0x9F) return 0;
    if (s[0] == 0xF0 && s[1] < 0x90) return 0;
    if (s[0] == 0xF4 && s[1] > 0x8F) return 0;
    return need;
}

/* A JSON string. Bytes that are not UTF-8 become U+FFFD, so the output is always valid. */
static void out_string(const char *data, size_t length) {
    const unsigned char *s = (const unsigned char *)data;
    out_bytes("\"", 1);
    for (size_t i = 0; i < length;) {
        unsigned char c = s[i];
        if (c == '"' || c == '\\') {
            char pair[2] = {'\\', (char)c};
            out_bytes(pair, 2);
            i++;
        } else if (c < 0x20 || c == 0x7F) {
            char code[8];
            const char *brief = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
            if (!brief) snprintf(code, sizeof code, "\\u%04x", c);
            out_text(brief ? brief : code);
            i++;
        } else {
            size_t n = utf8_length(s + i, length - i);
            if (n) {
                out_bytes(data + i, n);
                i += n;
            } else {
                out_bytes("\xEF\xBF\xBD", 3);
                i++;
            }
        }
    }
    out_bytes("\"", 1);
}

static void out_cstring(const char *text) { out_string(text, strlen(text)); }

/* The fewest digits that read back as the same double. */
static void out_double(double value) {
    char digits[40];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    out_text(digits);
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

/* Ends the program with {"error": {"code", "message"}} and exit code 1. */
static _Noreturn void fail(const char *code, const char *message) {
    out_used = 0;
    out_text("{\"error\":{\"code\":");
    out_cstring(code);
    out_text(",\"message\":");
    out_cstring(message);
    out_text("}}\n");
    out_flush();
    _Exit(1);
}
