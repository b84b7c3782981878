/*
 * The part of JSON Schema 2020-12 that tool.json uses: type, enum, minimum, maximum, minLength,
 * maxLength, minItems, maxItems, items, properties, required and additionalProperties. Length is in
 * characters.
 */

#ifndef SCHEMA_H
#define SCHEMA_H

#include "json.h"

/* Ends the tool with an error that names the argument when `arguments` do not fit `schema`. */
void check_arguments(json arguments, json schema);

#endif
