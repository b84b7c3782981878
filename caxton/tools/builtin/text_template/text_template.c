/*
 * text_template: a mustache template with JSON data, rendered.
 *
 * The data's values are walked, never copied; a partial is parsed once for each indentation.
 */

#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "template.h"
#include "tool.h"

enum { MOST_FILE_BYTES = 1 << 30, MOST_PARTIALS = 64, MOST_DEPTH = 256, MOST_MISSING = 20 };

typedef struct known_partial {
    slice name, indent;
    template *parsed;
    struct known_partial *next;
} known_partial;

static json contexts[MOST_DEPTH + 1];
static int context_count, section_depth, partial_depth;
static json partials;
static known_partial *known;
static buffer output;
static size_t most_bytes;
static bool html, strict;
static slice missing[MOST_MISSING];
static size_t missing_count;

static void emit(const template *t, const part *p, slice text) {
    if (text.length > most_bytes - output.length) {
        place at = place_of(t->source, p->offset);
        fail("result_too_large",
             "%s, line %lu, column %lu: the text is over %zu bytes here: render less, or raise "
             "max_bytes",
             t->name, at.line, at.column, most_bytes);
    }
    add_slice(&output, text);
}

static void emit_escaped(const template *t, const part *p, slice text) {
    size_t plain = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.text[i];
        const char *entity = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;"
                             : c == '"' ? "&quot;" : c == '\'' ? "&#39;" : NULL;
        if (!entity) continue;
        emit(t, p, (slice){text.text + plain, i - plain});
        emit(t, p, slice_of(entity));
        plain = i + 1;
    }
    emit(t, p, (slice){text.text + plain, text.length - plain});
}

static void note_missing(const template *t, const part *p) {
    if (strict) fail_in(t, p->offset, "missing_value", "the data has nothing for", p->text);
    for (size_t i = 0; i < missing_count; i++)
        if (equal(missing[i], p->text)) return;
    if (missing_count < MOST_MISSING) missing[missing_count++] = p->text;
}

static slice next_name(slice *rest) {
    const char *dot = memchr(rest->text, '.', rest->length);
    slice name = {rest->text, dot ? (size_t)(dot - rest->text) : rest->length};
    size_t used = name.length + (dot != NULL);
    *rest = (slice){rest->text + used, rest->length - used};
    return name;
}

/* The first part of a name is looked for from the innermost context out, the others inside it. */
static json look_up(slice name) {
    json found = {0};
    if (same(name, ".")) return contexts[context_count - 1];
    slice first = next_name(&name);
    for (int i = context_count - 1; i >= 0 && !found.document; i--)
        found = json_member(contexts[i], first);
    while (found.document && name.length) found = json_member(found, next_name(&name));
    return found;
}

static void emit_value(const template *t, const part *p) {
    json value = look_up(p->text);
    slice text;
    switch (json_type_of(value)) {
    case JSON_NOTHING: note_missing(t, p); return;
    case JSON_NULL: return;
    case JSON_STRING: text = json_string(value); break;
    case JSON_ARRAY:
    case JSON_OBJECT: {
        size_t start = out_length();
        out_json(value);
        text = out_since(start);
        text = (slice){copy_text(text), text.length};
        out_cut(start);
        break;
    }
    default: text = json_raw(value);
    }
    if (p->escaped && html) emit_escaped(t, p, text);
    else emit(t, p, text);
}

static void render(const template *t, uint32_t from, uint32_t to);

static void render_in(const template *t, const part *p, json context) {
    contexts[context_count++] = context;
    render(t, (uint32_t)(p - t->parts) + 1, p->end);
    context_count--;
}

static bool is_false(json value) {
    json_type type = json_type_of(value);
    json_each it = json_each_of(value);
    return type == JSON_NOTHING || type == JSON_NULL || type == JSON_FALSE ||
           (type == JSON_ARRAY && !json_more(&it));
}

static void render_section(const template *t, const part *p) {
    json value = look_up(p->text);
    /* Partials and sections in them: bounded, so that the stack is not the bound. */
    if (section_depth++ == MOST_DEPTH)
        fail_in(t, p->offset, "too_deep", "sections are open 256 levels deep here:", p->text);
    if (p->kind == INVERTED) {
        if (is_false(value)) render(t, (uint32_t)(p - t->parts) + 1, p->end);
    } else if (json_type_of(value) == JSON_ARRAY) {
        for (json_each it = json_each_of(value); json_more(&it); json_step(&it))
            render_in(t, p, it.value);
    } else if (!is_false(value)) {
        render_in(t, p, value);
    }
    section_depth--;
}

static slice indented(slice text, slice indent) {
    buffer lines = {0};
    bool line_start = true;
    if (!indent.length) return text;
    for (size_t i = 0; i < text.length; i++) {
        if (line_start) add_slice(&lines, indent);
        add_bytes(&lines, &text.text[i], 1);
        line_start = text.text[i] == '\n';
    }
    return (slice){lines.bytes ? lines.bytes : "", lines.length};
}

static template *partial_of(const template *t, const part *p) {
    for (known_partial *k = known; k; k = k->next)
        if (equal(k->name, p->text) && equal(k->indent, p->indent)) return k->parsed;
    json text = json_member(partials, p->text);
    if (!text.document) note_missing(t, p);
    known_partial *added = allocate_zeroed(1, sizeof *added);
    buffer name = {0};
    add_text(&name, "partial ");
    add_slice(&name, shortened(p->text, 80));
    slice source = text.document ? indented(json_string(text), p->indent) : slice_of("");
    *added = (known_partial){p->text, p->indent, NULL, known};
    added->parsed = parse_template(copy_text((slice){name.bytes, name.length}), source);
    return (known = added)->parsed;
}

static void render_partial(const template *t, const part *p) {
    if (partial_depth == MOST_PARTIALS)
        fail_in(t, p->offset, "too_deep", "partials are nested 64 levels deep, is one inside itself:",
                p->text);
    template *found = partial_of(t, p);
    partial_depth++;
    render(found, 0, found->count);
    partial_depth--;
}

static void render(const template *t, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) {
        const part *p = &t->parts[i];
        switch (p->kind) {
        case TEXT: emit(t, p, p->text); break;
        case VARIABLE: emit_value(t, p); break;
        case PARTIAL: render_partial(t, p); break;
        default:
            render_section(t, p);
            i = p->end - 1;
        }
    }
}

/* The one of two arguments that is given, as text; `path` names a file. */
static slice source_text(json input, const char *text, const char *path) {
    bool inside = has_argument(input, text), file = has_argument(input, path);
    if (inside == file)
        fail(inside ? "bad_argument" : "missing_argument", "one of %s and %s must be given%s", text,
             path, inside ? ", and only one" : "");
    if (inside) return argument_string(input, text);
    const char *name = checked_path(argument_string(input, path));
    return checked_text(name, read_whole(name, MOST_FILE_BYTES));
}

static json read_data(json input) {
    static json_document loaded;
    if (!has_argument(input, "data_path")) {
        if (!has_argument(input, "data")) json_parse(&loaded, slice_of("{}"));
        return has_argument(input, "data") ? json_get(input, "data") : json_root(&loaded);
    }
    if (has_argument(input, "data"))
        fail("bad_argument", "one of data and data_path may be given, not both");
    const char *name = checked_path(argument_string(input, "data_path"));
    json_parse_or_fail(&loaded, read_whole(name, MOST_FILE_BYTES), "bad_json", name);
    return json_root(&loaded);
}

static void out_missing(void) {
    if (!missing_count) return;
    out_name("missing");
    out_open('[');
    for (size_t i = 0; i < missing_count; i++) {
        out_next();
        out_string(missing[i]);
    }
    out_close(']');
}

void run(json input) {
    static const char *const escapes[] = {"html", "none", NULL};
    slice source = source_text(input, "template", "template_path");
    html = argument_choice(input, "escape", escapes, 0) == 0;
    strict = argument_boolean(input, "strict", false);
    most_bytes = (size_t)argument_integer(input, "max_bytes", 200000);
    partials = json_get(input, "partials");
    contexts[context_count++] = read_data(input);
    template *t = parse_template("template", source);
    render(t, 0, t->count);
    slice text = {output.bytes ? output.bytes : "", output.length};
    out_open('{');
    if (has_argument(input, "output_path")) {
        const char *path = checked_path(argument_string(input, "output_path"));
        write_whole(path, text, true);
        out_member_string("path", slice_of(path));
    } else {
        out_member_string("text", text);
    }
    out_member_unsigned("bytes", text.length);
    out_missing();
    out_close('}');
}
