/*
 * Memory. The C library of the toolchain rounds every block up to a power of two, so that a 10 MB file
 * takes 16 MB and a buffer that doubles to 16 MB takes 32: large blocks are kept here, in whole pages.
 * None of these returns NULL; without memory the tool ends with out_of_memory. What they return is
 * given back with release and never with free.
 */

#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>
#include <stdlib.h>

void *allocate(size_t size);
void *allocate_zeroed(size_t count, size_t size);
/* The block with another size, maybe elsewhere; NULL makes a new one. */
void *resize(void *memory, size_t size);
/* NULL is nothing. */
void release(void *memory);

/* `memory` with room for `needed` items of `item` bytes; *capacity is in items. */
void *grow(void *memory, size_t *capacity, size_t needed, size_t item);
/* `memory`, or out_of_memory when it is NULL. */
void *checked(void *memory);

/* One of these on a block of the other kind would destroy memory. */
#ifndef MEMORY_SOURCE
#pragma GCC poison malloc calloc realloc free
#endif

#endif
