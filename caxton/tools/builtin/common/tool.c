#include "tool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "schema.h"
#include "tool_json.h"

enum { CHUNK = 1 << 16 };

static slice read_input(void) {
    buffer input = {0};
    for (;;) {
        input.bytes = grow(input.bytes, &input.capacity, input.length + CHUNK + 1, 1);
        ssize_t got = read(0, input.bytes + input.length, CHUNK);
        if (got < 0) fail("bad_input", "standard input cannot be read: %s", strerror(errno));
        if (got == 0) break;
        input.length += (size_t)got;
    }
    input.bytes[input.length] = 0;
    return (slice){input.bytes, input.length};
}

bool has_argument(json arguments, const char *name) {
    json value = json_get(arguments, name);
    return json_type_of(value) != JSON_NOTHING && json_type_of(value) != JSON_NULL;
}

slice argument_string(json arguments, const char *name) {
    if (!has_argument(arguments, name)) return (slice){0};
    return json_string(json_get(arguments, name));
}

int64_t argument_integer(json arguments, const char *name, int64_t otherwise) {
    int64_t value;
    if (!has_argument(arguments, name) || !json_integer(json_get(arguments, name), &value))
        return otherwise;
    return value;
}

bool argument_boolean(json arguments, const char *name, bool otherwise) {
    if (!has_argument(arguments, name)) return otherwise;
    return json_type_of(json_get(arguments, name)) == JSON_TRUE;
}

int argument_choice(json arguments, const char *name, const char *const choices[], int otherwise) {
    slice wanted = argument_string(arguments, name);
    for (int i = 0; wanted.text && choices[i]; i++)
        if (same(wanted, choices[i])) return i;
    return otherwise;
}

int main(int argc, char **argv) {
    static json_document tool, input;
    slice described = {TOOL_JSON, sizeof TOOL_JSON - 1};
    if (argc > 1) {
        if (argc > 2 || strcmp(argv[1], "--describe"))
            fail("bad_argument", "the only option is --describe");
        out_bytes(described.text, described.length);
        out_flush();
        return 0;
    }
    json_parse_or_fail(&input, read_input(), "bad_input", "the arguments");
    json_parse_or_fail(&tool, described, "bad_tool", "tool.json");
    json arguments = json_root(&input);
    check_arguments(arguments, json_get(json_root(&tool), "inputSchema"));
    run(arguments);
    out_flush();
    return 0;
}
