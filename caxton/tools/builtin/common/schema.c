#include "schema.h"

#include <stdio.h>
#include <string.h>

static void check_value(json value, json schema, slice name);

static bool has_type(json value, slice type) {
    int64_t whole;
    if (same(type, "integer")) return json_integer(value, &whole);
    return same(type, json_type_name(value));
}

static void check_type(json value, json schema, slice name) {
    json type = json_get(schema, "type");
    buffer names = {0};
    if (json_type_of(type) == JSON_NOTHING) return;
    if (json_type_of(type) == JSON_STRING) {
        if (has_type(value, json_string(type))) return;
        add_slice(&names, json_string(type));
    }
    for (json_each it = json_each_of(type); json_more(&it); json_step(&it)) {
        if (has_type(value, json_string(it.value))) return;
        if (it.index) add_text(&names, " or ");
        add_slice(&names, json_string(it.value));
    }
    fail("bad_argument", "%.*s must be of type %.*s", SLICE(shortened(name, 80)),
         (int)names.length, names.bytes);
}

static void check_enum(json value, json schema, slice name) {
    json allowed = json_get(schema, "enum");
    buffer names = {0};
    if (json_type_of(allowed) == JSON_NOTHING) return;
    slice text = json_string(value);
    for (json_each it = json_each_of(allowed); json_more(&it); json_step(&it)) {
        if (json_string_is(it.value, text)) return;
        if (it.index) add_text(&names, ", ");
        add_slice(&names, json_string(it.value));
    }
    fail("bad_argument", "%.*s must be one of %.*s", SLICE(name), (int)names.length, names.bytes);
}

/* The words for a range whose ends may be missing. */
static _Noreturn void fail_range(slice name, const char *what, json least, json most) {
    char text[120];
    bool low = json_type_of(least) == JSON_NUMBER, high = json_type_of(most) == JSON_NUMBER;
    slice from = low ? json_raw(least) : (slice){"", 0}, to = high ? json_raw(most) : (slice){"", 0};
    snprintf(text, sizeof text, low && high ? "from %.*s to %.*s" : low ? "%.*s%.*s or more"
                                                                        : "%.*s%.*s or less",
             SLICE(from), SLICE(to));
    fail("bad_argument", "%.*s %s %s", SLICE(shortened(name, 80)), what, text);
}

static void check_range(double value, json schema, const char *low, const char *high, slice name,
                        const char *what) {
    json least = json_get(schema, low), most = json_get(schema, high);
    if ((json_type_of(least) == JSON_NUMBER && value < json_double(least)) ||
        (json_type_of(most) == JSON_NUMBER && value > json_double(most)))
        fail_range(name, what, least, most);
}

/* Not there, null, or a text that is empty where one must not be. */
static bool is_missing(json value, json rule) {
    if (json_type_of(value) == JSON_STRING)
        return json_string_is(value, (slice){"", 0}) &&
               json_type_of(json_get(rule, "minLength")) == JSON_NUMBER;
    return json_type_of(value) == JSON_NOTHING || json_type_of(value) == JSON_NULL;
}

static bool is_required(json schema, slice name) {
    json required = json_get(schema, "required");
    for (json_each it = json_each_of(required); json_more(&it); json_step(&it))
        if (json_string_is(it.value, name)) return true;
    return false;
}

static _Noreturn void fail_unknown(slice name, json known, const char *outer) {
    buffer names = {0};
    for (json_each it = json_each_of(known); json_more(&it); json_step(&it)) {
        if (it.index) add_text(&names, ", ");
        add_slice(&names, json_string(it.key));
    }
    fail("unknown_argument", "%.*s is not known%s; known are %.*s", SLICE(shortened(name, 80)),
         outer, (int)names.length, names.bytes);
}

static void check_object(json object, json schema, const char *outer) {
    json known = json_get(schema, "properties"), other = json_get(schema, "additionalProperties");
    if (json_type_of(known) == JSON_NOTHING && json_type_of(other) == JSON_NOTHING) return;
    for (json_each it = json_each_of(object); json_more(&it); json_step(&it)) {
        slice name = json_string(it.key);
        json rule = json_member(known, name);
        bool listed = json_type_of(rule) != JSON_NOTHING;
        if (!listed && json_type_of(other) == JSON_FALSE) fail_unknown(name, known, outer);
        if (is_missing(it.value, rule) && is_required(schema, name))
            continue;
        if (json_type_of(it.value) != JSON_NULL) check_value(it.value, listed ? rule : other, name);
    }
    json required = json_get(schema, "required");
    for (json_each it = json_each_of(required); json_more(&it); json_step(&it)) {
        slice name = json_string(it.value);
        if (is_missing(json_member(object, name), json_member(known, name)))
            fail("missing_argument", "%.*s is required%s", SLICE(name), outer);
    }
}

static void check_value(json value, json schema, slice name) {
    if (json_type_of(schema) != JSON_OBJECT) return;
    json items;
    check_type(value, schema, name);
    switch (json_type_of(value)) {
    case JSON_STRING:
        check_enum(value, schema, name);
        check_range(json_characters(value), schema, "minLength", "maxLength", name,
                    "must have a length in characters of");
        break;
    case JSON_NUMBER:
        /* Reading a number takes thousands of instructions, and most have no range. */
        if (json_type_of(json_get(schema, "minimum")) != JSON_NOTHING ||
            json_type_of(json_get(schema, "maximum")) != JSON_NOTHING)
            check_range(json_double(value), schema, "minimum", "maximum", name, "must be");
        break;
    case JSON_ARRAY:
        check_range(json_count(value), schema, "minItems", "maxItems", name,
                    "must have a number of items of");
        items = json_get(schema, "items");
        for (json_each it = json_each_of(value); json_more(&it); json_step(&it))
            check_value(it.value, items, name);
        break;
    case JSON_OBJECT: {
        char outer[120];
        snprintf(outer, sizeof outer, " in %.*s", SLICE(shortened(name, 80)));
        check_object(value, schema, outer);
        break;
    }
    default: break;
    }
}

void check_arguments(json arguments, json schema) {
    if (json_type_of(arguments) != JSON_OBJECT)
        fail("bad_input", "the arguments must be a JSON object");
    check_object(arguments, schema, "");
}
