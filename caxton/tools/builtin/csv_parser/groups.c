#include "groups.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_of(const char *text, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static void put(groups *g, uint32_t index) {
    size_t at = g->items[index]->hash & (g->slot_count - 1);
    while (g->slots[at]) at = (at + 1) & (g->slot_count - 1);
    g->slots[at] = index + 1;
}

static void widen(groups *g) {
    g->slot_count = g->slot_count ? g->slot_count * 2 : 256;
    release(g->slots);
    g->slots = allocate_zeroed(g->slot_count, sizeof *g->slots);
    for (uint32_t i = 0; i < g->count; i++) put(g, i);
}

group *group_of(groups *g, const char *text, size_t length) {
    uint32_t hash = hash_of(text, length);
    if (g->count * 2 >= g->slot_count) widen(g);
    for (size_t at = hash & (g->slot_count - 1); g->slots[at]; at = (at + 1) & (g->slot_count - 1)) {
        group *found = g->items[g->slots[at] - 1];
        if (found->hash == hash && found->length == length && !memcmp(found->key, text, length))
            return found;
    }
    group *made = allocate(sizeof *made + length);
    made->rows = 0;
    made->stats = NULL;
    memcpy(made->key, text, length);
    made->length = (uint32_t)length;
    made->hash = hash;
    made->order = g->count;
    g->items = grow(g->items, &g->capacity, g->count + 1, sizeof *g->items);
    g->items[g->count] = made;
    put(g, (uint32_t)g->count++);
    return made;
}

static int by_rows(const void *a, const void *b) {
    const group *x = *(group *const *)a, *y = *(group *const *)b;
    if (x->rows != y->rows) return x->rows < y->rows ? 1 : -1;
    return (x->order > y->order) - (x->order < y->order);
}

void sort_groups(groups *g) { qsort(g->items, g->count, sizeof *g->items, by_rows); }
