#include "ask.h"

#include <string.h>

enum { REFUSED = -2, REFUSAL_BYTES = 4096 };

int host_take(char *to, unsigned room)
    __attribute__((import_module("caxton"), import_name("take")));

static host_answer refusal(void) {
    static char text[REFUSAL_BYTES + 1];
    json_document *document = allocate(sizeof *document);
    int length = host_take(text, REFUSAL_BYTES);
    host_answer said = {.refused = true, .code = slice_of("failed")};
    said.message = slice_of("the host refused, and did not say why");
    if (length <= 0 || length > REFUSAL_BYTES) return said;
    if (json_parse(document, (slice){text, (size_t)length}).message) return said;
    json code = json_get(json_root(document), "code");
    json message = json_get(json_root(document), "message");
    if (json_type_of(code) == JSON_STRING) said.code = json_string(code);
    if (json_type_of(message) == JSON_STRING) said.message = json_string(message);
    return said;
}

slice out_taken(size_t length) {
    slice written = out_since(length);
    written.text = copy_text(written);
    out_cut(length);
    return written;
}

host_answer ask_host(host_question *question, slice request, const char *what) {
    int length = question(request.text, (unsigned)request.length);
    if (length == REFUSED) return refusal();
    if (length < 0) fail("bad_answer", "%s: the host answered %d", what, length);
    char *text = allocate((size_t)length + 1);
    int taken = host_take(text, (unsigned)length);
    if (taken != length) fail("bad_answer", "%s: %d of %d bytes were given", what, taken, length);
    text[length] = 0;
    json_document *document = allocate(sizeof *document);
    json_parse_or_fail(document, (slice){text, (size_t)length}, "bad_answer", what);
    if (json_type_of(json_root(document)) != JSON_OBJECT)
        fail("bad_answer", "%s is no JSON object", what);
    return (host_answer){.answer = json_root(document)};
}
