/* Numbers out of cells, and running statistics that are exact for decimals. */

#ifndef STATISTICS_H
#define STATISTICS_H

#include "out.h"

typedef __int128 wide;

typedef struct {
    double value;
    int64_t mantissa;
    int decimals; /* value = mantissa / 10^decimals; -1: not exact */
} number;

typedef struct {
    uint64_t line;
    char text[84];
    size_t length;
} example;

typedef struct {
    uint64_t numeric, missing, text;
    wide exact;
    int scale;
    bool inexact;
    double sum, rest, smallest, largest;
    double *values;
    size_t value_count, value_capacity;
} statistics;

/* Counts a cell; `keep`: its number is kept for a median. */
void add_cell(statistics *s, const char *text, size_t length, bool keep, bool *was_text);
void out_sum(const statistics *s);
void out_mean(const statistics *s);
/* Sorts what was kept. */
void out_median(const statistics *s);

#endif
