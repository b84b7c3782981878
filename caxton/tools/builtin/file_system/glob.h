/* Patterns of file names. */

#ifndef GLOB_H
#define GLOB_H

#include "text.h"

enum { GLOB_CHARACTERS = 255 };

/*
 * Whether a path matches. A star is any characters but a slash, ? is one, [abc], [a-z] and [!abc] are
 * one of a set, two stars are any characters; two stars with a slash behind are any folders or none.
 * A pattern without a slash is matched with the last part of the path. Ends the tool with
 * bad_argument for a set that does not end.
 */
bool glob_matches(slice pattern, slice path);

#endif
