#include "template.h"

#include <string.h>

enum { MOST_NESTED = 64, MOST_DELIMITER = 16 };

static template *made;
static size_t capacity;
static const char *at, *end;
static slice opening, closing;
static uint32_t open_sections[MOST_NESTED];
static int open_count;

_Noreturn void fail_in(const template *t, size_t offset, const char *code, const char *what,
                       slice name) {
    place found = place_of(t->source, offset);
    fail(code, "%s, line %lu, column %lu: %s%s%.*s", t->name, found.line, found.column, what,
         name.length ? " " : "", SLICE(shortened(name, 80)));
}

static _Noreturn void wrong(const char *where, const char *what, slice name) {
    fail_in(made, (size_t)(where - made->source.text), "bad_template", what, name);
}

static part *add_part(part_kind kind, const char *where) {
    made->parts = grow(made->parts, &capacity, made->count + 1, sizeof *made->parts);
    part *added = &made->parts[made->count++];
    *added = (part){.kind = kind, .offset = (size_t)(where - made->source.text)};
    return added;
}

static void add_text_part(const char *from, const char *to) {
    if (to > from) add_part(TEXT, from)->text = (slice){from, (size_t)(to - from)};
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static slice trimmed(slice text) {
    while (text.length && is_space(text.text[0])) text = (slice){text.text + 1, text.length - 1};
    while (text.length && is_space(text.text[text.length - 1])) text.length--;
    return text;
}

static slice word(slice *text) {
    *text = trimmed(*text);
    slice found = {text->text, 0};
    while (found.length < text->length && !is_space(text->text[found.length])) found.length++;
    *text = (slice){text->text + found.length, text->length - found.length};
    return found;
}

static void set_delimiters(const char *tag, slice content) {
    slice first = word(&content), second = word(&content);
    if (!first.length || !second.length || trimmed(content).length)
        wrong(tag, "new delimiters are two words, as in {{=<% %>=}}", (slice){0});
    if (memchr(first.text, '=', first.length) || memchr(second.text, '=', second.length))
        wrong(tag, "a delimiter must not have =", (slice){0});
    if (first.length > MOST_DELIMITER || second.length > MOST_DELIMITER)
        wrong(tag, "a delimiter has over 16 bytes", (slice){0});
    opening = first;
    closing = second;
}

static void check_name(const char *tag, slice name) {
    if (!name.length) wrong(tag, "a name is missing in this tag", (slice){0});
    if (same(name, ".")) return;
    for (size_t i = 0; i < name.length; i++) {
        bool edge = i == 0 || i + 1 == name.length;
        if (name.text[i] == '\n') wrong(tag, "the tag that starts here is not closed", (slice){0});
        if (name.text[i] == '.' && (edge || name.text[i - 1] == '.'))
            wrong(tag, "a part of this name is empty:", name);
    }
}

static void open_section(const char *tag, bool inverted, slice name) {
    if (open_count == MOST_NESTED) wrong(tag, "sections are nested deeper than 64 levels", (slice){0});
    open_sections[open_count++] = made->count;
    add_part(inverted ? INVERTED : SECTION, tag)->text = name;
}

static void close_section(const char *tag, slice name) {
    if (!open_count) wrong(tag, "no section is open to be closed by", name);
    part *open = &made->parts[open_sections[open_count - 1]];
    if (!equal(open->text, name)) {
        place opened = place_of(made->source, open->offset);
        place here = place_of(made->source, (size_t)(tag - made->source.text));
        fail("bad_template",
             "%s, line %lu, column %lu: the section %.*s of line %lu must be closed before %.*s",
             made->name, here.line, here.column, SLICE(shortened(open->text, 80)), opened.line,
             SLICE(shortened(name, 80)));
    }
    open->end = made->count;
    open_count--;
}

/* Whether only spaces stand before `tag` on its line; *start is where the line begins. */
static bool starts_line(const char *tag, const char **start) {
    const char *first = tag;
    while (first > made->source.text && (first[-1] == ' ' || first[-1] == '\t')) first--;
    *start = first;
    return first == made->source.text || first[-1] == '\n';
}

/* Whether only spaces follow on the line; *next is where the next one begins. */
static bool ends_line(const char *from, const char **next) {
    while (from < end && (*from == ' ' || *from == '\t')) from++;
    if (from < end && *from == '\r' && from + 1 < end && from[1] == '\n') from++;
    *next = from < end ? from + 1 : from;
    return from >= end || *from == '\n';
}

static const char *find_from(const char *from, slice wanted) {
    ptrdiff_t offset = find((slice){from, (size_t)(end - from)}, wanted);
    return offset < 0 ? NULL : from + offset;
}

/* The content of the tag, `at` being behind its opening delimiter and sign; moves behind the tag. */
static slice tag_content(const char *tag, char sign) {
    char last[MOST_DELIMITER + 1];
    slice close = closing;
    if (sign == '{' || sign == '=') {
        last[0] = sign == '{' ? '}' : '=';
        memcpy(last + 1, closing.text, closing.length);
        close = (slice){last, closing.length + 1};
    }
    const char *found = find_from(at, close);
    if (!found) wrong(tag, "the tag that starts here is not closed", (slice){0});
    slice content = {at, (size_t)(found - at)};
    at = found + close.length;
    return trimmed(content);
}

static void add_tag(const char *tag, char sign, slice content, slice indent) {
    if (sign != '!' && sign != '=') check_name(tag, content);
    part *added;
    switch (sign) {
    case '!': break;
    case '=': set_delimiters(tag, content); break;
    case '#': open_section(tag, false, content); break;
    case '^': open_section(tag, true, content); break;
    case '/': close_section(tag, content); break;
    case '>':
        added = add_part(PARTIAL, tag);
        added->text = content;
        added->indent = indent;
        break;
    default:
        added = add_part(VARIABLE, tag);
        added->text = content;
        added->escaped = sign != '&' && sign != '{';
    }
}

static void parse_tag(const char *text, const char *tag) {
    const char *line, *next;
    at = tag + opening.length;
    while (at < end && is_space(*at)) at++;
    char sign = at < end && strchr("!=#^/>&{", *at) ? *at++ : 0;
    slice content = tag_content(tag, sign), indent = {0};
    if (sign && sign != '&' && sign != '{' && starts_line(tag, &line) && ends_line(at, &next)) {
        indent = (slice){line, (size_t)(tag - line)};
        add_text_part(text, line);
        at = next;
    } else {
        add_text_part(text, tag);
    }
    add_tag(tag, sign, content, indent);
}

template *parse_template(const char *name, slice source) {
    made = allocate_zeroed(1, sizeof *made);
    made->name = name;
    made->source = source;
    capacity = 0;
    open_count = 0;
    at = source.text;
    end = at + source.length;
    opening = slice_of("{{");
    closing = slice_of("}}");
    for (;;) {
        const char *tag = find_from(at, opening);
        if (!tag) break;
        parse_tag(at, tag);
    }
    add_text_part(at, end);
    if (open_count) {
        part *open = &made->parts[open_sections[open_count - 1]];
        fail_in(made, open->offset, "bad_template", "this section is never closed:", open->text);
    }
    return made;
}
