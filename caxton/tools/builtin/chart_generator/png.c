/*
 * A PNG file of the image: 8 bits a colour, the better of two filters for each row, and deflate with
 * the fixed code. Sources: the PNG specification (third edition), RFC 1950 and RFC 1951.
 */

#include <stdlib.h>
#include <string.h>

#include "canvas.h"

enum { HASH_BITS = 15, WINDOW = 1 << 15, SHORTEST = 3, LONGEST = 258, CHAIN = 12, GOOD = 32, ENDS = 12 };

static uint32_t crc_table[256];

static void make_crc_table(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        crc_table[n] = c;
    }
}

static uint32_t crc_of(const char *data, size_t length) {
    uint32_t c = 0xFFFFFFFFu;
    for (size_t i = 0; i < length; i++) c = crc_table[(c ^ (unsigned char)data[i]) & 0xFF] ^ c >> 8;
    return ~c;
}

static void put_be32(buffer *to, uint32_t value) {
    unsigned char bytes[] = {value >> 24 & 0xFF, value >> 16 & 0xFF, value >> 8 & 0xFF, value & 0xFF};
    add_bytes(to, bytes, 4);
}

static void put_chunk(buffer *to, const char *type, const void *data, size_t length) {
    put_be32(to, (uint32_t)length);
    size_t start = to->length;
    add_bytes(to, type, 4);
    add_bytes(to, data, length);
    put_be32(to, crc_of(to->bytes + start, to->length - start));
}

typedef struct {
    buffer out;
    uint32_t bits;
    int used;
} bit_writer;

static void put_bits(bit_writer *w, uint32_t value, int count) {
    w->bits |= value << w->used;
    w->used += count;
    while (w->used >= 8) {
        char byte = (char)(w->bits & 0xFF);
        add_bytes(&w->out, &byte, 1);
        w->bits >>= 8;
        w->used -= 8;
    }
}

/* Huffman codes are sent from their highest bit. */
static void put_code(bit_writer *w, uint32_t code, int count) {
    uint32_t turned = 0;
    for (int i = 0; i < count; i++) turned |= (code >> i & 1) << (count - 1 - i);
    put_bits(w, turned, count);
}

static void put_symbol(bit_writer *w, uint32_t symbol) {
    if (symbol < 144) put_code(w, 0x30 + symbol, 8);
    else if (symbol < 256) put_code(w, 0x190 + symbol - 144, 9);
    else if (symbol < 280) put_code(w, symbol - 256, 7);
    else put_code(w, 0xC0 + symbol - 280, 8);
}

/* A length or distance class: each extra bit halves how many classes an octave has. */
static void put_match(bit_writer *w, size_t length, size_t distance) {
    if (length == LONGEST) {
        put_symbol(w, 285);
    } else {
        uint32_t value = (uint32_t)length - SHORTEST, extra = 0;
        while (value >> extra >= 8) extra++;
        put_symbol(w, 257 + 4 * extra + (value >> extra));
        put_bits(w, value & ((1u << extra) - 1), (int)extra);
    }
    uint32_t value = (uint32_t)distance - 1, extra = 0;
    while (value >> extra >= 4) extra++;
    put_code(w, 2 * extra + (value >> extra), 5);
    put_bits(w, value & ((1u << extra) - 1), (int)extra);
}

static uint32_t hash3(const unsigned char *s) {
    return ((uint32_t)s[0] << 16 | (uint32_t)s[1] << 8 | s[2]) * 2654435761u >> (32 - HASH_BITS);
}

/* How many bytes are equal, eight at a time. */
static size_t match_length(const unsigned char *a, const unsigned char *b, size_t most) {
    size_t length = 0;
    for (; most - length >= 8; length += 8) {
        uint64_t x, y;
        memcpy(&x, a + length, 8);
        memcpy(&y, b + length, 8);
        if (x != y) return length + (size_t)__builtin_ctzll(x ^ y) / 8;
    }
    while (length < most && a[length] == b[length]) length++;
    return length;
}

/* Positions by hash, the newest first; 0 is none, so positions count from 1. */
static uint32_t heads[1 << HASH_BITS], earlier[WINDOW];

static void remember(const unsigned char *data, size_t at) {
    uint32_t hash = hash3(data + at);
    earlier[at % WINDOW] = heads[hash];
    heads[hash] = (uint32_t)at + 1;
}

static size_t best_match(const unsigned char *data, size_t at, size_t length, size_t *distance) {
    size_t best = 0, most = length - at < LONGEST ? length - at : LONGEST;
    uint32_t next = heads[hash3(data + at)];
    for (int left = CHAIN; left > 0 && next && at + 1 - next < WINDOW; left--) {
        const unsigned char *earlier_text = data + next - 1;
        next = earlier[(next - 1) % WINDOW];
        if (earlier_text[best] != data[at + best]) continue;
        size_t found = match_length(earlier_text, data + at, most);
        if (found <= best) continue;
        best = found;
        *distance = (size_t)(data + at - earlier_text);
        if (best == most) break;
        if (best >= GOOD) left = left / 4 + 1;
    }
    return best;
}

static void deflate(bit_writer *w, const unsigned char *data, size_t length) {
    put_bits(w, 1, 1); /* the last block, */
    put_bits(w, 1, 2); /* with the fixed code */
    for (size_t at = 0; at < length;) {
        size_t distance = 0, found = 0;
        if (length - at >= SHORTEST) found = best_match(data, at, length, &distance);
        if (found < SHORTEST) {
            put_symbol(w, data[at]);
            found = 1;
        } else {
            put_match(w, found, distance);
        }
        /* Of a long match its ends are enough: its middle is in the window already. */
        size_t skipped = found > 2 * ENDS ? found - 2 * ENDS : 0;
        for (size_t i = 0; i < found; i += i == ENDS - 1 ? 1 + skipped : 1)
            if (length - at - i >= SHORTEST) remember(data, at + i);
        at += found;
    }
    put_symbol(w, 256);
    if (w->used) put_bits(w, 0, 8 - w->used);
}

#define ADD(i) a += data[at + i], b += a

static uint32_t adler_of(const unsigned char *data, size_t length) {
    uint32_t a = 1, b = 0;
    size_t at = 0;
    while (at < length) {
        /* 5552 bytes are the most that cannot overflow 32 bits. */
        size_t end = length - at < 5552 ? length : at + 5552;
        for (; at + 8 <= end; at += 8) {
            ADD(0), ADD(1), ADD(2), ADD(3);
            ADD(4), ADD(5), ADD(6), ADD(7);
        }
        for (; at < end; at++) ADD(0);
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}

enum { FILTER_LEFT = 1, FILTER_UP = 2 };

/* Filters a row where it is, by what leaves fewer bytes other than 0; its number goes before it. */
static void filter_row(unsigned char *row, const unsigned char *above, size_t size) {
    size_t left = 0, up = above ? 0 : size;
    row[-1] = FILTER_UP;
    if (above && match_length(row, above, size) == size) {
        memset(row, 0, size);
        return;
    }
    for (size_t i = 3; i < size && above; i++) {
        left += row[i] != row[i - 3];
        up += row[i] != above[i];
    }
    if (up <= left) {
        for (size_t i = 0; i < size; i++) row[i] = (unsigned char)(row[i] - above[i]);
        return;
    }
    row[-1] = FILTER_LEFT;
    for (size_t i = size; i-- > 3;) row[i] = (unsigned char)(row[i] - row[i - 3]);
}

buffer png_of(unsigned char *rows, int width, int height) {
    size_t size = 3 * (size_t)width, length = (size + 1) * (size_t)height;
    /* From the bottom, so that the row above is still as it was drawn. */
    for (int y = height - 1; y >= 0; y--) {
        unsigned char *row = rows + (size + 1) * (size_t)y + 1;
        filter_row(row, y ? row - size - 1 : NULL, size);
    }
    bit_writer w = {0};
    put_bits(&w, 0x0178, 16); /* deflate, window of 32 KiB, checked */
    deflate(&w, rows, length);
    put_be32(&w.out, adler_of(rows, length));
    release(rows);

    make_crc_table();
    buffer png = {0}, header = {0};
    add_bytes(&png, "\x89PNG\r\n\x1A\n", 8);
    put_be32(&header, (uint32_t)width);
    put_be32(&header, (uint32_t)height);
    add_bytes(&header, "\x08\x02\0\0\0", 5); /* 8 bits of red, green and blue */
    put_chunk(&png, "IHDR", header.bytes, header.length);
    put_chunk(&png, "IDAT", w.out.bytes, w.out.length);
    release(w.out.bytes);
    put_chunk(&png, "IEND", NULL, 0);
    return png;
}
