#include "regex.h"

#include <stdlib.h>
#include <string.h>

#include "categories.h"

enum { MOST_STEPS = 20000, MOST_REPEATS = 1000, MOST_GROUPS = 32 };

typedef enum { CHARACTER, ANY, SET, SPLIT, JUMP, DONE } step_kind;

/* Targets are relative, so that a part of the program can be copied for a repetition. */
typedef struct {
    step_kind kind;
    int32_t first, second; /* SPLIT and JUMP */
    uint32_t value;        /* the code point, or the index of the set */
} step;

typedef struct {
    uint32_t low, high;
} range;

typedef struct {
    range *ranges;
    size_t count, capacity;
    uint32_t categories;
    bool negated;
} set;

struct regex {
    step *steps;
    size_t count, capacity;
    set *sets;
    size_t set_count, set_capacity;
    /* While matching: the states that are alive, and the generation that last saw each. */
    uint32_t *memory, *now, *next, *stack, *seen;
    uint32_t generation;
};

static regex *made;
static const char *at, *end, *problem;
static int groups;

static bool wrong(const char *why) {
    if (!problem) problem = why;
    return false;
}

static bool insert_steps(size_t where, const step *from, size_t count) {
    if (!count) return true;
    if (made->count + count > MOST_STEPS) return wrong("it is too large when its repetitions are written out");
    made->steps = grow(made->steps, &made->capacity, made->count + count, sizeof *made->steps);
    memmove(made->steps + where + count, made->steps + where,
            (made->count - where) * sizeof *made->steps);
    memcpy(made->steps + where, from, count * sizeof *from);
    made->count += count;
    return true;
}

static bool insert_step(size_t where, step_kind kind, int64_t first, int64_t second) {
    step one = {kind, (int32_t)first, (int32_t)second, 0};
    return insert_steps(where, &one, 1);
}

static bool add_value(step_kind kind, uint32_t value) {
    step one = {kind, 0, 0, value};
    return insert_steps(made->count, &one, 1);
}

static uint32_t next_code(void) {
    size_t length = utf8_length(at, (size_t)(end - at));
    uint32_t code = utf8_code(at, length);
    at += length;
    return code;
}

/* After a backslash. */
static bool single_escape(uint32_t *code) {
    char c = at < end ? *at : 0;
    if (!c || !strchr("()*+-.?[\\]^nrt{|}", c))
        return wrong("an escape that I-Regexp does not have; write [0-9] for a digit, "
                     "[A-Za-z0-9_] for a word character, [ \\t\\r\\n] for space");
    at++;
    *code = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : (uint32_t)c;
    return true;
}

/* \p{..} or \P{..} after the backslash. */
static bool category_escape(uint32_t *categories) {
    bool negated = *at++ == 'P';
    const char *close = at < end && *at == '{' ? memchr(at, '}', (size_t)(end - at)) : NULL;
    if (!close) return wrong("\\p needs a category in braces, such as \\p{L}");
    *categories = categories_named((slice){at + 1, (size_t)(close - at - 1)});
    if (!*categories) return wrong("\\p names a category that Unicode does not have");
    if (negated) *categories = ~*categories;
    at = close + 1;
    return true;
}

static bool is_category_escape(void) {
    return end - at >= 2 && at[0] == '\\' && (at[1] == 'p' || at[1] == 'P');
}

static bool class_character(uint32_t *code) {
    if (*at == '\\') {
        at++;
        return single_escape(code);
    }
    if (*at == '[' || *at == '-') return wrong("[ and - in a class must be escaped");
    *code = next_code();
    return true;
}

static void add_range(set *to, uint32_t low, uint32_t high) {
    to->ranges = grow(to->ranges, &to->capacity, to->count + 1, sizeof *to->ranges);
    to->ranges[to->count++] = (range){low, high};
}

static bool class_part(set *to) {
    uint32_t low, high, categories;
    if (is_category_escape()) {
        at++;
        if (!category_escape(&categories)) return false;
        to->categories |= categories;
        return true;
    }
    if (!class_character(&low)) return false;
    high = low;
    if (end - at >= 2 && at[0] == '-' && at[1] != ']') {
        at++;
        if (!class_character(&high)) return false;
        if (high < low) return wrong("a range in a class is the wrong way round");
    }
    add_range(to, low, high);
    return true;
}

static bool add_set(set made_set) {
    made->sets = grow(made->sets, &made->set_capacity, made->set_count + 1, sizeof *made->sets);
    made->sets[made->set_count] = made_set;
    return add_value(SET, (uint32_t)made->set_count++);
}

static bool class(void) {
    set found = {0};
    at++;
    if (at < end && *at == '^') {
        found.negated = true;
        at++;
    }
    if (at < end && *at == '-') {
        add_range(&found, '-', '-');
        at++;
    } else if (at >= end || *at == ']' || !class_part(&found)) {
        release(found.ranges);
        return wrong("a class must not be empty");
    }
    while (at < end && *at != ']') {
        bool last = *at == '-' && end - at >= 2 && at[1] == ']';
        if (last) {
            add_range(&found, '-', '-');
            at++;
        } else if (!class_part(&found)) {
            release(found.ranges);
            return false;
        }
    }
    if (at >= end) {
        release(found.ranges);
        return wrong("a class does not end");
    }
    at++;
    return add_set(found);
}

static bool branches(void);

static bool atom(void) {
    uint32_t code;
    if (is_category_escape()) {
        set found = {0};
        at++;
        return category_escape(&found.categories) && add_set(found);
    }
    switch (*at) {
    case '(':
        at++;
        if (++groups > MOST_GROUPS) return wrong("groups are nested deeper than 32 levels");
        if (!branches()) return false;
        groups--;
        if (at >= end) return wrong("a group does not end");
        at++;
        return true;
    case '.': at++; return add_value(ANY, 0);
    case '[': return class();
    case '\\': at++; return single_escape(&code) && add_value(CHARACTER, code);
    case '*':
    case '+':
    case '?':
    case '{': return wrong("a repetition needs something before it");
    case ']':
    case '}': return wrong("] and } must be escaped");
    default: return add_value(CHARACTER, next_code());
    }
}

static bool number(long *found) {
    const char *first = at;
    for (*found = 0; at < end && *at >= '0' && *at <= '9'; at++)
        if (*found <= MOST_REPEATS) *found = *found * 10 + (*at - '0');
    if (at == first) return wrong("a repetition in braces needs a number");
    return *found <= MOST_REPEATS || wrong("a repetition of more than 1000 times");
}

/* Repeats the steps from `start`: least copies, then optional ones, or (most < 0) any number. */
static bool repeat(size_t start, long least, long most) {
    size_t length = made->count - start;
    step *part = allocate((length + 1) * sizeof *part);
    if (length) memcpy(part, made->steps + start, length * sizeof *part);
    made->count = start;
    bool fits = true;
    for (long i = 0; fits && i < least; i++) fits = insert_steps(made->count, part, length);
    for (long i = least; fits && i < most; i++)
        fits = insert_step(made->count, SPLIT, 1, (int64_t)length + 1) &&
               insert_steps(made->count, part, length);
    if (fits && most < 0)
        fits = insert_step(made->count, SPLIT, 1, (int64_t)length + 2) &&
               insert_steps(made->count, part, length) &&
               insert_step(made->count, JUMP, -(int64_t)length - 1, 0);
    release(part);
    return fits;
}

static bool quantifier(size_t start) {
    long least, most;
    switch (at < end ? *at : 0) {
    case '*': at++; return repeat(start, 0, -1);
    case '+': at++; return repeat(start, 1, -1);
    case '?': at++; return repeat(start, 0, 1);
    case '{': break;
    default: return true;
    }
    at++;
    if (!number(&least)) return false;
    most = least;
    if (at < end && *at == ',') {
        at++;
        most = -1;
        if (at < end && *at != '}' && !number(&most)) return false;
    }
    if (at >= end || *at != '}') return wrong("a repetition in braces does not end");
    at++;
    if (most >= 0 && most < least) return wrong("a repetition is the wrong way round");
    return repeat(start, least, most);
}

static bool branch(void) {
    while (at < end && *at != '|' && *at != ')') {
        size_t piece = made->count;
        if (!atom() || !quantifier(piece)) return false;
    }
    return true;
}

/* Each branch but the last is the first choice of a split, and ends with a jump to the end. */
static bool branches(void) {
    size_t *ways_out = NULL, count = 0, capacity = 0, start = made->count;
    bool fits = branch();
    while (fits && at < end && *at == '|') {
        at++;
        fits = insert_step(start, SPLIT, 1, (int64_t)(made->count - start) + 2);
        start = made->count + 1;
        ways_out = grow(ways_out, &capacity, count + 1, sizeof *ways_out);
        ways_out[count++] = made->count;
        fits = fits && insert_step(made->count, JUMP, 0, 0) && branch();
    }
    for (size_t i = 0; fits && i < count; i++)
        made->steps[ways_out[i]].first = (int32_t)(made->count - ways_out[i]);
    release(ways_out);
    return fits;
}

void regex_free(regex *compiled) {
    if (!compiled) return;
    for (size_t i = 0; i < compiled->set_count; i++) release(compiled->sets[i].ranges);
    release(compiled->sets);
    release(compiled->steps);
    release(compiled->memory);
    release(compiled);
}

regex *regex_compile(slice pattern, const char **why) {
    made = allocate_zeroed(1, sizeof *made);
    at = pattern.text;
    end = at + pattern.length;
    problem = NULL;
    groups = 0;
    if (branches() && at < end) wrong(") without (");
    if (!problem) add_value(DONE, 0);
    *why = problem;
    if (problem) {
        regex_free(made);
        return NULL;
    }
    made->memory = made->now = allocate_zeroed(4 * made->count, sizeof *made->now);
    made->next = made->now + made->count;
    made->seen = made->next + made->count;
    made->stack = made->seen + made->count;
    return made;
}

static bool in_set(const set *s, uint32_t code) {
    bool found = s->categories && (s->categories & category_of(code));
    for (size_t i = 0; !found && i < s->count; i++)
        found = code >= s->ranges[i].low && code <= s->ranges[i].high;
    return found != s->negated;
}

/* Adds a state and all it leads to without a character; whether DONE is among them. */
static bool follow(regex *r, uint32_t *list, uint32_t *count, uint32_t state) {
    uint32_t waiting = 0;
    bool done = false;
    if (r->seen[state] == r->generation) return false;
    r->seen[state] = r->generation;
    r->stack[waiting++] = state;
    while (waiting) {
        state = r->stack[--waiting];
        const step *s = &r->steps[state];
        uint32_t targets[2] = {state + (uint32_t)s->first, state + (uint32_t)s->second};
        if (s->kind != SPLIT && s->kind != JUMP) {
            done = done || s->kind == DONE;
            list[(*count)++] = state;
            continue;
        }
        for (int i = 0; i < (s->kind == SPLIT ? 2 : 1); i++) {
            if (r->seen[targets[i]] == r->generation) continue;
            r->seen[targets[i]] = r->generation;
            r->stack[waiting++] = targets[i];
        }
    }
    return done;
}

static bool accepts(const regex *r, const step *s, uint32_t code) {
    switch (s->kind) {
    case CHARACTER: return s->value == code;
    case ANY: return code != '\n' && code != '\r';
    case SET: return in_set(&r->sets[s->value], code);
    default: return false;
    }
}

bool regex_matches(regex *r, slice text, bool anywhere) {
    uint32_t alive = 0, coming;
    const char *place = text.text, *last = text.text + text.length;
    r->generation++;
    bool done = follow(r, r->now, &alive, 0);
    while (place < last && !(done && anywhere)) {
        size_t length = utf8_length(place, (size_t)(last - place));
        uint32_t code = utf8_code(place, length);
        place += length;
        r->generation++;
        coming = 0;
        done = false;
        for (uint32_t i = 0; i < alive; i++)
            if (accepts(r, &r->steps[r->now[i]], code) &&
                follow(r, r->next, &coming, r->now[i] + 1))
                done = true;
        if (anywhere && follow(r, r->next, &coming, 0)) done = true;
        uint32_t *swap = r->now;
        r->now = r->next;
        r->next = swap;
        alive = coming;
        if (!alive && !anywhere) return false;
    }
    return done;
}
