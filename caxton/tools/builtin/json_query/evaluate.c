#include "evaluate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "values.h"

static json root;
static char problem[300];

const char *pattern_problem(void) { return problem[0] ? problem : NULL; }

static bool holds(expression *e, json current);
static bool visit_segments(const segment *s, json node, visitor visit, void *state);

static bool keep_first(void *state, json node) {
    *(json *)state = node;
    return false;
}

typedef struct {
    uint32_t count;
    json first;
} tally;

static bool tally_node(void *state, json node) {
    tally *t = state;
    if (!t->count++) t->first = node;
    return true;
}

static bool tally_two(void *state, json node) {
    tally_node(state, node);
    return ((tally *)state)->count < 2;
}

static void run_query(query *q, json current, visitor visit, void *state) {
    visit_segments(q->segments, q->absolute ? root : current, visit, state);
}

/* Straight down: names and indexes only. */
static json descend(const segment *s, json at) {
    for (; s && at.document; s = s->next) {
        const selector *by = s->selectors;
        int64_t index = by->index;
        if (by->kind == BY_NAME) {
            at = json_member(at, by->name);
            continue;
        }
        if (index < 0) index += json_count(at);
        at = index < 0 || index > UINT32_MAX ? (json){0} : json_item(at, (uint32_t)index);
    }
    return at;
}

/* The first node, or nothing. */
static json first_of(query *q, json current) {
    json found = {0};
    if (q->known) return q->node;
    if (q->singular) found = descend(q->segments, q->absolute ? root : current);
    else run_query(q, current, keep_first, &found);
    q->known = q->absolute;
    q->node = found;
    return found;
}

static void take_value(value *v, operand *o, json current);

static value length_of(operand *o, json current) {
    value v, length = {0};
    take_value(&v, o, current);
    if (v.type == JSON_STRING) {
        uint32_t count = 0;
        for (size_t i = 0; i < v.text.length; i++) count += (v.text.text[i] & 0xC0) != 0x80;
        length = value_of_number(count);
    } else if (v.type == JSON_ARRAY || v.type == JSON_OBJECT) {
        length = value_of_number(json_count(v.node));
    }
    value_free(&v);
    return length;
}

static value result_of(operand *o, json current) {
    tally t = {0};
    switch (o->function) {
    case LENGTH: return length_of(o->arguments, current);
    case COUNT:
        run_query(o->arguments->query, current, tally_node, &t);
        return value_of_number(t.count);
    case VALUE:
        run_query(o->arguments->query, current, tally_two, &t);
        return value_of_node(t.count == 1 ? t.first : (json){0});
    default: return (value){0};
    }
}

static void take_value(value *v, operand *o, json current) {
    if (o->kind == LITERAL) *v = (value){.type = o->type, .text = o->text};
    else if (o->kind == QUERY) *v = value_of_node(first_of(o->query, current));
    else *v = result_of(o, current);
}

/* Compiled again only when the pattern is another than the last time. */
static regex *pattern_of(operand *o, const value *pattern) {
    const char *why = NULL;
    if (o->pattern_text.text && equal(o->pattern_text, pattern->text)) return o->pattern;
    regex_free(o->pattern);
    release((char *)o->pattern_text.text);
    o->pattern = regex_compile(pattern->text, &why);
    o->pattern_text = (slice){copy_text(pattern->text), pattern->text.length};
    if (why && !problem[0])
        snprintf(problem, sizeof problem, "the pattern %.*s is not an I-Regexp (RFC 9485) and matches "
                                          "nothing: %s",
                 SLICE(shortened(pattern->text, 80)), why);
    return o->pattern;
}

static bool matches(operand *o, json current) {
    value text, pattern;
    bool found = false;
    take_value(&text, o->arguments, current);
    take_value(&pattern, o->arguments->next, current);
    if (text.type == JSON_STRING && pattern.type == JSON_STRING) {
        regex *compiled = pattern_of(o, &pattern);
        found = compiled && regex_matches(compiled, text.text, o->function == SEARCH);
    }
    value_free(&text);
    value_free(&pattern);
    return found;
}

static bool compares(expression *e, json current) {
    value a, b;
    take_value(&a, e->left, current);
    take_value(&b, e->right, current);
    int order = values_compare(&a, &b);
    value_free(&a);
    value_free(&b);
    switch (e->kind) {
    case EQUAL: return order == 0;
    case UNEQUAL: return order != 0;
    case LESS: return order == -1;
    case LESS_OR_EQUAL: return order == -1 || order == 0;
    case MORE: return order == 1;
    default: return order == 1 || order == 0;
    }
}

static bool holds(expression *e, json current) {
    switch (e->kind) {
    case OR:
        for (expression *part = e->first; part; part = part->next)
            if (holds(part, current)) return true;
        return false;
    case AND:
        for (expression *part = e->first; part; part = part->next)
            if (!holds(part, current)) return false;
        return true;
    case NOT: return !holds(e->first, current);
    case TEST:
        if (e->left->kind == QUERY) return first_of(e->left->query, current).document != NULL;
        return matches(e->left, current);
    default: return compares(e, current);
    }
}

static bool visit_index(const segment *s, int64_t index, json node, visitor visit, void *state) {
    if (index < 0) index += json_count(node);
    if (index < 0 || index > UINT32_MAX) return true;
    json item = json_item(node, (uint32_t)index);
    return !item.document || visit_segments(s->next, item, visit, state);
}

static int64_t clamp(int64_t value, int64_t least, int64_t most) {
    return value < least ? least : value > most ? most : value;
}

static bool visit_backwards(const segment *s, const selector *by, json node, int64_t count,
                            visitor visit, void *state) {
    int64_t start = by->has_start ? by->index : count - 1, last = by->has_end ? by->end : -count - 1;
    start = clamp(start < 0 ? start + count : start, -1, count - 1);
    last = clamp(last < 0 ? last + count : last, -1, count - 1);
    uint32_t *items = allocate((size_t)count * sizeof *items), filled = 0;
    bool more = true;
    for (json_each it = json_each_of(node); json_more(&it); json_step(&it))
        items[filled++] = it.value.index;
    for (int64_t i = start; more && i > last; i += by->step)
        more = visit_segments(s->next, (json){node.document, items[i]}, visit, state);
    release(items);
    return more;
}

static bool visit_slice(const segment *s, const selector *by, json node, visitor visit, void *state) {
    int64_t count = json_count(node);
    if (!by->step) return true;
    if (by->step < 0) return visit_backwards(s, by, node, count, visit, state);
    int64_t start = by->has_start ? by->index : 0, last = by->has_end ? by->end : count;
    start = clamp(start < 0 ? start + count : start, 0, count);
    last = clamp(last < 0 ? last + count : last, 0, count);
    for (json_each it = json_each_of(node); it.index < last && json_more(&it); json_step(&it)) {
        if (it.index < start || (it.index - start) % by->step) continue;
        if (!visit_segments(s->next, it.value, visit, state)) return false;
    }
    return true;
}

static bool visit_children(const segment *s, const selector *by, json node, visitor visit,
                           void *state) {
    for (json_each it = json_each_of(node); json_more(&it); json_step(&it)) {
        if (by->kind == BY_FILTER && !holds(by->filter, it.value)) continue;
        if (!visit_segments(s->next, it.value, visit, state)) return false;
    }
    return true;
}

static bool visit_selected(const segment *s, json node, visitor visit, void *state) {
    json_type type = json_type_of(node);
    if (type != JSON_ARRAY && type != JSON_OBJECT) return true;
    for (const selector *by = s->selectors; by; by = by->next) {
        bool more = true;
        if (by->kind == WILDCARD || by->kind == BY_FILTER) {
            more = visit_children(s, by, node, visit, state);
        } else if (by->kind == BY_NAME) {
            json member = json_member(node, by->name);
            more = !member.document || visit_segments(s->next, member, visit, state);
        } else if (type == JSON_ARRAY) {
            more = by->kind == BY_INDEX ? visit_index(s, by->index, node, visit, state)
                                        : visit_slice(s, by, node, visit, state);
        }
        if (!more) return false;
    }
    return true;
}

static bool visit_segments(const segment *s, json node, visitor visit, void *state) {
    if (!s) return visit(state, node);
    if (!s->descendant) return visit_selected(s, node, visit, state);
    /* The nodes of a document are in the order in which RFC 9535 visits descendants. */
    for (uint32_t end = node.document->nodes[node.index].next; node.index < end; node.index++)
        if (!json_is_name(node) && !visit_selected(s, node, visit, state)) return false;
    return true;
}

void evaluate(query *q, json from, visitor visit, void *state) {
    root = from;
    run_query(q, from, visit, state);
}
