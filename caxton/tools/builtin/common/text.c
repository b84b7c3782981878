#include "text.h"

#include <string.h>

void add_bytes(buffer *to, const void *data, size_t length) {
    if (!length) return;
    if (to->capacity - to->length < length) {
        if (length > SIZE_MAX - to->length) checked(NULL);
        to->bytes = grow(to->bytes, &to->capacity, to->length + length, 1);
    }
    memcpy(to->bytes + to->length, data, length);
    to->length += length;
}

void add_text(buffer *to, const char *text) { add_bytes(to, text, strlen(text)); }

void add_slice(buffer *to, slice text) { add_bytes(to, text.text, text.length); }

void add_code_point(buffer *to, uint32_t code) {
    char bytes[4];
    add_bytes(to, bytes, utf8_put(bytes, code));
}

slice slice_of(const char *text) { return (slice){text, strlen(text)}; }

bool same(slice text, const char *name) {
    return equal(text, slice_of(name));
}

bool equal(slice a, slice b) {
    return a.length == b.length && (!a.length || !memcmp(a.text, b.text, a.length));
}

int compare(slice a, slice b) {
    size_t least = a.length < b.length ? a.length : b.length;
    int order = least ? memcmp(a.text, b.text, least) : 0;
    if (order) return order;
    return (a.length > b.length) - (a.length < b.length);
}

ptrdiff_t find(slice text, slice wanted) {
    if (!wanted.length) return 0;
    const char *at = text.text, *end = text.text + text.length;
    while ((size_t)(end - at) >= wanted.length) {
        at = memchr(at, wanted.text[0], (size_t)(end - at) - wanted.length + 1);
        if (!at) return -1;
        if (!memcmp(at, wanted.text, wanted.length)) return at - text.text;
        at++;
    }
    return -1;
}

char *copy_text(slice text) {
    char *copy = allocate(text.length + 1);
    if (text.length) memcpy(copy, text.text, text.length);
    copy[text.length] = 0;
    return copy;
}

size_t utf8_length(const char *text, size_t left) {
    const unsigned char *s = (const unsigned char *)text;
    if (!left) return 0;
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

size_t utf8_valid(slice text) {
    size_t at = 0;
    while (at < text.length) {
        if (!(text.text[at] & 0x80)) {
            at++;
            continue;
        }
        size_t length = utf8_length(text.text + at, text.length - at);
        if (!length) break;
        at += length;
    }
    return at;
}

uint32_t utf8_code(const char *text, size_t length) {
    const unsigned char *s = (const unsigned char *)text;
    if (length <= 1) return s[0];
    uint32_t code = s[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) code = code << 6 | (s[i] & 0x3Fu);
    return code;
}

size_t utf8_put(char *to, uint32_t code) {
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6) to[i] = (char)(0x80 | (code & 0x3F));
    to[0] = (char)((0xF00u >> length & 0xFF) | code);
    return length;
}

slice shortened(slice text, size_t most) {
    if (text.length <= most) return text;
    while (most && (text.text[most] & 0xC0) == 0x80) most--;
    return (slice){text.text, most};
}

bool add_base64_decoded(buffer *to, slice text) {
    uint32_t bits = 0;
    int count = 0, padding = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.text[i];
        int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                    : c >= 'a' && c <= 'z' ? c - 'a' + 26
                    : c >= '0' && c <= '9' ? c - '0' + 52
                    : c == '+'             ? 62
                    : c == '/'             ? 63
                                           : -1;
        if (c == '\n' || c == '\r') continue;
        if (c == '=') {
            padding++;
            continue;
        }
        if (digit < 0 || padding) return false;
        bits = bits << 6 | (uint32_t)digit;
        if (++count < 4) continue;
        char three[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        add_bytes(to, three, 3);
        count = 0;
    }
    if (count == 1 || (padding && count + padding != 4)) return false;
    char rest[2] = {(char)(bits >> (count == 2 ? 4 : 10)), (char)(bits >> 2)};
    add_bytes(to, rest, count == 2 ? 1 : count == 3 ? 2 : 0);
    return true;
}

place place_of(slice text, size_t offset) {
    place at = {1, 1};
    for (size_t i = 0; i < offset && i < text.length; i++) {
        if (text.text[i] == '\n') at = (place){at.line + 1, 1};
        else if ((text.text[i] & 0xC0) != 0x80) at.column++;
    }
    return at;
}
