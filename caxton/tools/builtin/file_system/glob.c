#include "glob.h"

#include <string.h>

typedef enum { LITERAL, ONE, STAR, ANY_DEPTH, FOLDERS, CLASS } token_kind;

typedef struct {
    token_kind kind;
    uint32_t code;
    slice set; /* what is between the brackets */
} token;

static token tokens[GLOB_CHARACTERS + 1];
static size_t token_count;

static uint32_t next_code(const char **at, const char *end) {
    size_t length = utf8_length(*at, (size_t)(end - *at));
    uint32_t code = length ? utf8_code(*at, length) : 0xFFFD;
    *at += length ? length : 1;
    return code;
}

static const char *parse_class(const char *at, const char *end, token *made) {
    const char *first = at;
    if (at < end && *at == '!') at++;
    if (at < end && *at == ']') at++;
    while (at < end && *at != ']') at++;
    if (at >= end) fail("bad_argument", "pattern has a [ without its ]");
    *made = (token){.kind = CLASS, .set = {first, (size_t)(at - first)}};
    return at + 1;
}

static void parse(slice pattern) {
    const char *at = pattern.text, *end = at + pattern.length;
    for (token_count = 0; at < end && token_count < GLOB_CHARACTERS; token_count++) {
        token *made = &tokens[token_count];
        bool part_start = at == pattern.text || at[-1] == '/';
        if (*at == '*' && at + 1 < end && at[1] == '*') {
            bool folders = part_start && at + 2 < end && at[2] == '/';
            *made = (token){.kind = folders ? FOLDERS : ANY_DEPTH};
            at += folders ? 3 : 2;
        } else if (*at == '*') {
            *made = (token){.kind = STAR};
            at++;
        } else if (*at == '?') {
            *made = (token){.kind = ONE};
            at++;
        } else if (*at == '[') {
            at = parse_class(at + 1, end, made);
        } else {
            *made = (token){.kind = LITERAL, .code = next_code(&at, end)};
        }
    }
}

static bool in_class(slice set, uint32_t code) {
    const char *at = set.text, *end = at + set.length;
    bool negated = at < end && *at == '!', found = false;
    if (negated) at++;
    while (at < end) {
        uint32_t low = next_code(&at, end), high = low;
        if (end - at >= 2 && *at == '-') {
            at++;
            high = next_code(&at, end);
        }
        found = found || (code >= low && code <= high);
    }
    return found != negated;
}

/* Marks a token and those after it that may stand for nothing. */
static void enter(bool *alive, size_t index) {
    for (;; index++) {
        alive[index] = true;
        if (index == token_count) return;
        token_kind kind = tokens[index].kind;
        if (kind != STAR && kind != ANY_DEPTH && kind != FOLDERS) return;
    }
}

static void advance(const bool *alive, bool *next, uint32_t code) {
    memset(next, 0, token_count + 1);
    for (size_t i = 0; i < token_count; i++) {
        if (!alive[i]) continue;
        const token *t = &tokens[i];
        switch (t->kind) {
        case LITERAL:
            if (t->code == code) enter(next, i + 1);
            break;
        case ONE:
            if (code != '/') enter(next, i + 1);
            break;
        case CLASS:
            if (code != '/' && in_class(t->set, code)) enter(next, i + 1);
            break;
        case STAR:
            if (code != '/') enter(next, i);
            break;
        case ANY_DEPTH: enter(next, i); break;
        case FOLDERS:
            next[i] = true;
            if (code == '/') enter(next, i + 1);
        }
    }
}

bool glob_matches(slice pattern, slice path) {
    bool states[2][GLOB_CHARACTERS + 1] = {0}, *alive = states[0], *next = states[1];
    if (!memchr(pattern.text, '/', pattern.length)) {
        for (size_t i = path.length; i > 0; i--)
            if (path.text[i - 1] == '/') {
                path = (slice){path.text + i, path.length - i};
                break;
            }
    }
    parse(pattern);
    enter(alive, 0);
    for (const char *at = path.text, *end = at + path.length; at < end;) {
        bool *swap = alive;
        advance(alive, next, next_code(&at, end));
        alive = next;
        next = swap;
    }
    return alive[token_count];
}
