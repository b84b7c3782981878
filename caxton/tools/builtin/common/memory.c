#define MEMORY_SOURCE
#include "memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "text.h"

enum { PAGE = 1 << 16, LARGE = 2 * PAGE, MOST_BLOCKS = 1024 };

/* Pages in a row, in order of their place; what lies between belongs to malloc. */
typedef struct {
    uint32_t first, count;
    bool used;
} block;

static block blocks[MOST_BLOCKS];
static size_t block_count;

static size_t pages_for(size_t size) { return size / PAGE + (size % PAGE != 0); }

static void *address_of(const block *b) { return (void *)((uintptr_t)b->first * PAGE); }

static block *block_at(const void *memory) {
    uintptr_t address = (uintptr_t)memory;
    if (!memory || address % PAGE) return NULL;
    size_t low = 0, high = block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle].first < address / PAGE) low = middle + 1;
        else high = middle;
    }
    return low < block_count && blocks[low].first == address / PAGE ? &blocks[low] : NULL;
}

static block *insert_block(size_t index, uint32_t first, uint32_t count) {
    if (block_count == MOST_BLOCKS) checked(NULL);
    memmove(&blocks[index + 1], &blocks[index], (block_count - index) * sizeof *blocks);
    block_count++;
    blocks[index] = (block){first, count, false};
    return &blocks[index];
}

static void remove_block(size_t index) {
    block_count--;
    memmove(&blocks[index], &blocks[index + 1], (block_count - index) * sizeof *blocks);
}

/* Takes the first `count` pages of a free block. */
static void *use(block *b, size_t count) {
    if (b->count > count) {
        insert_block((size_t)(b - blocks) + 1, b->first + (uint32_t)count, b->count - (uint32_t)count);
        b->count = (uint32_t)count;
    }
    b->used = true;
    return address_of(b);
}

static void *allocate_pages(size_t count) {
    block *best = NULL;
    for (size_t i = 0; i < block_count; i++)
        if (!blocks[i].used && blocks[i].count >= count && (!best || blocks[i].count < best->count))
            best = &blocks[i];
    if (best) return use(best, count);
    block *last = block_count ? &blocks[block_count - 1] : NULL;
    size_t end = __builtin_wasm_memory_size(0);
    /* A free block at the end of the memory is made longer. */
    bool longer = last && !last->used && last->first + last->count == end;
    size_t more = longer ? count - last->count : count;
    if (__builtin_wasm_memory_grow(0, more) == SIZE_MAX) checked(NULL);
    if (longer) last->count = (uint32_t)count;
    else last = insert_block(block_count, (uint32_t)end, (uint32_t)count);
    return use(last, count);
}

/* Gives the block more pages where it is, if those behind it are free or not there yet. */
static bool extend(block *b, size_t count) {
    size_t index = (size_t)(b - blocks), more = count - b->count, end = b->first + b->count;
    block *next = index + 1 < block_count ? &blocks[index + 1] : NULL;
    if (next && next->first == end && !next->used && next->count >= more) {
        next->first += (uint32_t)more;
        next->count -= (uint32_t)more;
        b->count = (uint32_t)count;
        if (!next->count) remove_block(index + 1);
        return true;
    }
    if (end != __builtin_wasm_memory_size(0)) return false;
    if (__builtin_wasm_memory_grow(0, more) == SIZE_MAX) return false;
    b->count = (uint32_t)count;
    return true;
}

static void release_block(block *b) {
    size_t index = (size_t)(b - blocks);
    b->used = false;
    if (index + 1 < block_count && !blocks[index + 1].used &&
        blocks[index + 1].first == b->first + b->count) {
        b->count += blocks[index + 1].count;
        remove_block(index + 1);
    }
    if (index && !blocks[index - 1].used && blocks[index - 1].first + blocks[index - 1].count == b->first) {
        blocks[index - 1].count += b->count;
        remove_block(index);
    }
}

void *checked(void *memory) {
    if (!memory)
        fail("out_of_memory", "this needs more memory than the tool has: ask for less, or raise "
                              "the tool's memory limit");
    return memory;
}

void *allocate(size_t size) {
    return size >= LARGE ? allocate_pages(pages_for(size)) : checked(malloc(size ? size : 1));
}

void *allocate_zeroed(size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) checked(NULL);
    return memset(allocate(count * size), 0, count * size);
}

void *resize(void *memory, size_t size) {
    block *b = block_at(memory);
    if (!b && size < LARGE) return checked(realloc(memory, size ? size : 1));
    size_t old = b ? (size_t)b->count * PAGE : memory ? malloc_usable_size(memory) : 0;
    if (b && size <= old) return memory;
    if (b && extend(b, pages_for(size))) return memory;
    void *moved = allocate(size);
    if (memory) memcpy(moved, memory, old < size ? old : size);
    release(memory);
    return moved;
}

void release(void *memory) {
    block *b = block_at(memory);
    if (b) release_block(b);
    else free(memory);
}

void *grow(void *memory, size_t *capacity, size_t needed, size_t item) {
    if (needed <= *capacity) return memory;
    size_t wanted = *capacity ? *capacity : 64;
    /* Large blocks by less than the double: there is not that much memory. */
    while (wanted < needed) {
        size_t more = wanted * item >= (1 << 22) ? wanted / 4 : wanted;
        if (wanted > SIZE_MAX / 2 / item) checked(NULL);
        wanted += more;
    }
    memory = resize(memory, wanted * item);
    *capacity = wanted;
    return memory;
}
