/* The general category of characters, as in Unicode's UnicodeData. */

#ifndef CATEGORIES_H
#define CATEGORIES_H

#include "text.h"

/* A bit for each category with this name ("Lu") or whose name begins so ("L"); 0: unknown. */
uint32_t categories_named(slice name);
/* The bit of a code point's category. */
uint32_t category_of(uint32_t code);

#endif
