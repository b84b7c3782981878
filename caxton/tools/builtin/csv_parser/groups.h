/* Groups of rows by the text of a cell: a hash table that remembers first-seen order. */

#ifndef GROUPS_H
#define GROUPS_H

#include "statistics.h"

typedef struct {
    uint32_t length, hash;
    uint64_t rows;
    size_t order;
    statistics *stats; /* only when a column is asked for */
    char key[];
} group;

typedef struct {
    group **items;
    size_t count, capacity;
    uint32_t *slots; /* index + 1 into items, 0: free */
    size_t slot_count;
} groups;

/* The group of this key, made when it is new. */
group *group_of(groups *g, const char *text, size_t length);
/* The largest first, then as they were met. */
void sort_groups(groups *g);

#endif
