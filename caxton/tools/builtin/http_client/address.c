#include "address.h"

#include <string.h>

/* Everything but what RFC 3986 calls unreserved. */
static void add_encoded(buffer *to, slice text) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("-._~", c));
        char coded[] = {'%', hex[c >> 4], hex[c & 15]};
        add_bytes(to, plain ? (const char *)&c : coded, plain ? 1 : 3);
    }
}

static void add_pair(buffer *to, slice name, json value) {
    json_type type = json_type_of(value);
    if (type == JSON_NULL) return;
    if (to->length) add_text(to, "&");
    add_encoded(to, name);
    add_text(to, "=");
    add_encoded(to, type == JSON_STRING ? json_string(value) : json_raw(value));
}

slice encoded_pairs(json object, const char *argument) {
    buffer pairs = {0};
    for (json_each it = json_each_of(object); json_more(&it); json_step(&it)) {
        slice name = json_string(it.key);
        json_type type = json_type_of(it.value);
        if (type == JSON_OBJECT)
            fail("bad_argument", "%s: %.*s must be a text, number, boolean, null or a list of them",
                 argument, SLICE(shortened(name, 80)));
        if (type != JSON_ARRAY) {
            add_pair(&pairs, name, it.value);
            continue;
        }
        for (json_each one = json_each_of(it.value); json_more(&one); json_step(&one)) {
            if (json_type_of(one.value) == JSON_ARRAY || json_type_of(one.value) == JSON_OBJECT)
                fail("bad_argument", "%s: the items of %.*s must be texts, numbers or booleans",
                     argument, SLICE(shortened(name, 80)));
            add_pair(&pairs, name, one.value);
        }
    }
    return (slice){pairs.bytes ? pairs.bytes : "", pairs.length};
}

static size_t position(slice text, char wanted) {
    const char *found = text.length ? memchr(text.text, wanted, text.length) : NULL;
    return found ? (size_t)(found - text.text) : text.length;
}

slice with_query(slice url, json query) {
    slice pairs = encoded_pairs(query, "query");
    if (!pairs.length) return url;
    size_t fragment = position(url, '#');
    slice front = {url.text, fragment}, back = {url.text + fragment, url.length - fragment};
    size_t mark = position(front, '?');
    buffer whole = {0};
    add_slice(&whole, front);
    if (mark == front.length) add_text(&whole, "?");
    else if (mark + 1 < front.length && front.text[front.length - 1] != '&') add_text(&whole, "&");
    add_slice(&whole, pairs);
    add_slice(&whole, back);
    return (slice){whole.bytes, whole.length};
}

slice origin_of(slice url) {
    ptrdiff_t scheme = find(url, slice_of("://"));
    if (scheme < 0) return url;
    size_t start = (size_t)scheme + 3, end = start;
    while (end < url.length && !strchr("/?#\\", url.text[end])) end++;
    for (size_t i = start; i < end; i++)
        if (url.text[i] == '@') start = i + 1;
    buffer origin = {0};
    add_bytes(&origin, url.text, (size_t)scheme + 3);
    add_bytes(&origin, url.text + start, end - start);
    return (slice){origin.bytes, origin.length};
}
