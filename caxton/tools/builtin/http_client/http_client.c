/*
 * http_client: one HTTP request, sent by the host to a granted host.
 *
 * The tool has no network: it describes the request in JSON, and the host checks it against the
 * grants, also every redirect and address.
 */

#include <stdio.h>
#include <string.h>

#include "address.h"
#include "ask.h"
#include "tool.h"

enum { MOST_BYTES = 200000 };

static const char *const BODIES[] = {"json", "text", "form", "base64"};

/* The name of the argument that is the body, NULL when there is none. */
static const char *body_argument(json arguments) {
    const char *found = NULL;
    for (size_t i = 0; i < sizeof BODIES / sizeof *BODIES; i++) {
        if (!has_argument(arguments, BODIES[i])) continue;
        if (found) fail("bad_argument", "give %s or %s as the body, not both", found, BODIES[i]);
        found = BODIES[i];
    }
    return found;
}

static bool same_header(slice a, const char *b) {
    if (a.length != strlen(b)) return false;
    for (size_t i = 0; i < a.length; i++) {
        char c = a.text[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != b[i]) return false;
    }
    return true;
}

static bool has_header(json headers, const char *name) {
    for (json_each it = json_each_of(headers); json_more(&it); json_step(&it))
        if (same_header(json_string(it.key), name)) return true;
    return false;
}

static void write_headers(json headers, const char *body) {
    const char *type = !body                     ? NULL
                       : !strcmp(body, "json") ? "application/json"
                       : !strcmp(body, "text") ? "text/plain; charset=utf-8"
                       : !strcmp(body, "form") ? "application/x-www-form-urlencoded"
                                               : "application/octet-stream";
    out_open('{');
    for (json_each it = json_each_of(headers); json_more(&it); json_step(&it)) {
        out_name_slice(json_string(it.key));
        out_json(it.value);
    }
    if (type && !has_header(headers, "content-type")) out_member_string("content-type", slice_of(type));
    if (!has_header(headers, "accept")) out_member_string("accept", slice_of("*/*"));
    out_close('}');
}

static slice json_text(json value) {
    size_t before = out_length();
    out_json(value);
    return out_taken(before);
}

static void write_body(json arguments, const char *name) {
    json value = json_get(arguments, name);
    if (!strcmp(name, "json")) out_member_string("body", json_text(value));
    else if (!strcmp(name, "form")) out_member_string("body", encoded_pairs(value, name));
    else if (!strcmp(name, "text")) out_member_string("body", json_string(value));
    else out_member_string("body_base64", json_string(value));
}

static slice request_of(json arguments, slice method, slice url, const char *body) {
    out_open('{');
    out_member_string("method", method);
    out_member_string("url", url);
    out_name("headers");
    write_headers(json_get(arguments, "headers"), body);
    if (body) write_body(arguments, body);
    out_member_unsigned("timeout_ms", (uint64_t)argument_integer(arguments, "timeout_ms", 10000));
    out_close('}');
    return out_taken(0);
}

static _Noreturn void fail_refused(host_answer said, slice method, slice url) {
    slice origin = origin_of(url);
    if (same(said.code, "not_granted"))
        fail("not_granted", "%.*s (this request was %.*s %.*s; it needs a grant of that host)",
             SLICE(shortened(said.message, 1200)), SLICE(method), SLICE(shortened(origin, 300)));
    fail(copy_text(said.code), "%.*s", SLICE(shortened(said.message, 1800)));
}

/* application/json, and anything +json, whatever parameters follow. */
static bool is_json(slice type) {
    size_t length = 0;
    while (length < type.length && type.text[length] != ';' && type.text[length] != ' ') length++;
    type.length = length;
    if (same_header(type, "application/json") || same_header(type, "text/json")) return true;
    slice end = {type.text + length - 5, 5};
    return length > 5 && same_header(end, "+json");
}

static slice header_of(json headers, const char *name) {
    for (json_each it = json_each_of(headers); json_more(&it); json_step(&it))
        if (same_header(json_string(it.key), name) && json_type_of(it.value) == JSON_STRING)
            return json_string(it.value);
    return (slice){"", 0};
}

static size_t decoded_length(slice base64) {
    size_t padding = 0;
    while (padding < 2 && padding < base64.length && base64.text[base64.length - 1 - padding] == '=')
        padding++;
    return base64.length / 4 * 3 - padding;
}

static void write_text(slice body, slice type, size_t most) {
    json_document *parsed = allocate(sizeof *parsed);
    bool cut = body.length > most;
    if (is_json(type) && !cut && body.length) {
        json_error error = json_parse(parsed, body);
        if (!error.message) {
            out_name("json");
            out_json(json_root(parsed));
            return;
        }
        place at = place_of(body, error.offset);
        char said[200];
        snprintf(said, sizeof said, "line %lu, column %lu: %s", at.line, at.column, error.message);
        out_member_string("json_error", slice_of(said));
    }
    out_member_string("text", shortened(body, most));
    if (cut) out_member_boolean("truncated", true);
}

static void write_binary(slice base64, size_t most) {
    bool cut = decoded_length(base64) > most;
    /* Four characters are three bytes. */
    if (cut) base64.length = most / 3 * 4;
    out_member_string("base64", base64);
    if (cut) out_member_boolean("truncated", true);
}

static void write_answer(json answer, size_t most) {
    json status = json_get(answer, "status"), url = json_get(answer, "url");
    json headers = json_get(answer, "headers"), body = json_get(answer, "body");
    json binary = json_get(answer, "body_base64");
    int64_t code = 0;
    if (!json_integer(status, &code) || json_type_of(url) != JSON_STRING ||
        json_type_of(headers) != JSON_OBJECT ||
        (json_type_of(body) == JSON_STRING) == (json_type_of(binary) == JSON_STRING))
        fail("bad_answer", "the host's answer is not a response");
    slice type = header_of(headers, "content-type");
    out_open('{');
    out_name("status");
    out_integer(code);
    out_member_boolean("ok", code >= 200 && code < 300);
    out_member_string("url", json_string(url));
    out_name("headers");
    out_json(headers);
    if (json_type_of(body) == JSON_STRING) {
        slice text = json_string(body);
        out_member_unsigned("bytes", text.length);
        write_text(text, type, most);
    } else {
        slice base64 = json_string(binary);
        out_member_unsigned("bytes", decoded_length(base64));
        write_binary(base64, most);
    }
    out_close('}');
}

void run(json arguments) {
    const char *body = body_argument(arguments);
    slice method = argument_string(arguments, "method");
    if (!method.length) method = slice_of(body ? "POST" : "GET");
    slice url = with_query(argument_string(arguments, "url"), json_get(arguments, "query"));
    slice request = request_of(arguments, method, url, body);
    host_answer said = ask_host(host_http, request, "the response");
    if (said.refused) fail_refused(said, method, url);
    write_answer(said.answer, (size_t)argument_integer(arguments, "max_bytes", MOST_BYTES));
}
