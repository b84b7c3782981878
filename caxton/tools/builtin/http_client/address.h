/* URLs: query parameters, and where one leads. */

#ifndef ADDRESS_H
#define ADDRESS_H

#include "json.h"

/* name=value&..., percent-encoded, of an object whose values are scalars or arrays of scalars. */
slice encoded_pairs(json object, const char *argument);
/* The URL with these query parameters after those it has, before its fragment. */
slice with_query(slice url, json query);
/* Scheme, host and port of a URL, without user and password. */
slice origin_of(slice url);

#endif
