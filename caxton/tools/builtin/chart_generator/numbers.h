/* Axes with round steps, and numbers as text. */

#ifndef NUMBERS_H
#define NUMBERS_H

#include "text.h"

/* From `low` to `high`; ticks are the multiples of `step` from `first` on. */
typedef struct {
    double low, high, step, divisor;
    int64_t first;
    int ticks, decimals;
    const char *suffix;
    bool exponent, separate;
} axis;

/*
 * An axis for values from low to high with about `wanted` ticks. `widen`: its ends are ticks. Ends
 * that were asked for are kept. Values that are all equal get room around them.
 */
axis nice_axis(double low, double high, int wanted, bool widen_low, bool widen_high);
/* 1, 2, 2.5 or 5 times a power of ten, at least `step`. */
double round_step(double step);
double tick_value(const axis *a, int index);
slice tick_label(const axis *a, int index);

/* A number in at most six significant digits, with separators of thousands. */
slice number_label(double value);

/* Formatted text of at most 500 bytes, in memory of its own. */
slice format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

#endif
