/*
 * json_query: what a JSONPath query (RFC 9535) finds in a JSON document.
 *
 * Nodes are not collected on the way: each is followed to the end of the query as it is found, so
 * memory grows with the document and the limit and not with what the parts of a query find.
 */

#include <stdlib.h>
#include <string.h>

#include "evaluate.h"
#include "files.h"
#include "tool.h"

enum { MOST_FILE_BYTES = 1 << 30 };

typedef struct {
    uint32_t *nodes; /* in the order they were found */
    uint64_t count;
    size_t kept, limit;
} matches;

/* The place of a node in the answer, and its path. */
typedef struct {
    uint32_t node;
    size_t order;
} target;

static json document_root;
static const json_document *document;

static bool keep(void *state, json node) {
    matches *m = state;
    m->count++;
    if (m->kept < m->limit) m->nodes[m->kept++] = node.index;
    return true;
}

static void add_name(buffer *path, slice name) {
    static const char names[] = "btnfr", values[] = "\b\t\n\f\r", digits[] = "0123456789abcdef";
    add_text(path, "['");
    for (size_t i = 0; i < name.length; i++) {
        char c = name.text[i];
        const char *found = c ? strchr(values, c) : NULL;
        if (found) {
            char escape[2] = {'\\', names[found - values]};
            add_bytes(path, escape, 2);
        } else if (c == '\'' || c == '\\') {
            char escape[2] = {'\\', c};
            add_bytes(path, escape, 2);
        } else if ((unsigned char)c < 0x20) {
            char escape[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
            add_bytes(path, escape, 6);
        } else {
            add_bytes(path, &c, 1);
        }
    }
    add_text(path, "']");
}

static void add_index(buffer *path, uint32_t index) {
    char digits[12], *at = digits + sizeof digits;
    do *--at = (char)('0' + index % 10);
    while (index /= 10);
    add_text(path, "[");
    add_bytes(path, at, (size_t)(digits + sizeof digits - at));
    add_text(path, "]");
}

/* Writes the paths of the targets at or below a node; they are sorted by node. */
static const target *find_paths(json node, const target *at, const target *end, buffer *path,
                                slice *paths) {
    for (; at < end && at->node == node.index; at++)
        paths[at->order] = (slice){copy_text((slice){path->bytes, path->length}), path->length};
    size_t length = path->length;
    for (json_each it = json_each_of(node); at < end && json_more(&it); json_step(&it)) {
        if (at->node >= document->nodes[it.value.index].next) continue;
        if (at->node >= document->nodes[node.index].next) break;
        if (it.object) add_name(path, json_string(it.key));
        else add_index(path, it.index);
        at = find_paths(it.value, at, end, path, paths);
        path->length = length;
    }
    return at;
}

static int by_node(const void *a, const void *b) {
    const target *x = a, *y = b;
    return (x->node > y->node) - (x->node < y->node);
}

static slice *paths_of(const matches *m) {
    target *targets = allocate(m->kept * sizeof *targets);
    slice *paths = allocate_zeroed(m->kept, sizeof *paths);
    buffer path = {0};
    for (size_t i = 0; i < m->kept; i++) targets[i] = (target){m->nodes[i], i};
    qsort(targets, m->kept, sizeof *targets, by_node);
    add_text(&path, "$");
    find_paths(document_root, targets, targets + m->kept, &path, paths);
    return paths;
}

static void read_document(json input, json_document *loaded, json *value) {
    bool file = has_argument(input, "path"), inside = has_argument(input, "json");
    bool text = has_argument(input, "text");
    int sources = file + inside + text;
    if (sources != 1)
        fail(sources ? "bad_argument" : "missing_argument",
             "one of path, json and text must be given, and only one");
    if (inside) {
        *value = json_get(input, "json");
        return;
    }
    if (file) {
        const char *path = checked_path(argument_string(input, "path"));
        slice data = read_whole(path, MOST_FILE_BYTES);
        if (data.length >= 2 &&
            (!memcmp(data.text, "\xFF\xFE", 2) || !memcmp(data.text, "\xFE\xFF", 2)))
            fail("not_utf8", "%s is UTF-16; save it as UTF-8", path);
        json_parse_or_fail(loaded, data, "bad_json", path);
    } else {
        json_parse_or_fail(loaded, argument_string(input, "text"), "bad_json", "text");
    }
    *value = json_root(loaded);
}

/* The values that fit; returns how many. */
static size_t out_values(const matches *m, size_t most) {
    out_name("values");
    out_open('[');
    size_t start = out_length(), shown = 0;
    for (; shown < m->kept; shown++) {
        size_t before = out_length();
        out_next();
        out_json((json){document, m->nodes[shown]});
        if (out_length() - start <= most) continue;
        if (!shown)
            fail("result_too_large",
                 "the first match has %zu bytes, at most %zu are returned: ask for a part of it, or "
                 "raise max_bytes",
                 out_length() - before, most);
        out_cut(before);
        break;
    }
    out_close(']');
    return shown;
}

void run(json input) {
    static json_document loaded;
    json value;
    query *q = parse_query(argument_string(input, "query"));
    read_document(input, &loaded, &value);
    document_root = value;
    document = value.document;
    matches m = {.limit = (size_t)argument_integer(input, "limit", 100)};
    m.nodes = allocate(m.limit * sizeof *m.nodes);
    evaluate(q, value, keep, &m);
    out_open('{');
    out_member_unsigned("matches", m.count);
    m.kept = out_values(&m, (size_t)argument_integer(input, "max_bytes", 100000));
    if (argument_boolean(input, "paths", false)) {
        slice *paths = paths_of(&m);
        out_name("paths");
        out_open('[');
        for (size_t i = 0; i < m.kept; i++) {
            out_next();
            out_string(paths[i]);
        }
        out_close(']');
    }
    if (m.kept < m.count) out_member_boolean("truncated", true);
    if (pattern_problem()) out_member_string("warning", slice_of(pattern_problem()));
    out_close('}');
}
