/*
 * A tool: a WASI command with JSON arguments on standard input and one JSON object as its answer.
 *
 * common/tool.c has main: "--describe" prints tool.json, made part of the module when it is built.
 * Otherwise the arguments are checked against inputSchema in tool.json (unknown_argument,
 * missing_argument, bad_argument, bad_input) and given to run. An argument that is null counts as
 * one that is not there. What run wrote with out_* is printed, with exit code 0; fail() prints an
 * error instead, with exit code 1.
 */

#ifndef TOOL_H
#define TOOL_H

#include "out.h"

/* Each tool defines this. */
void run(json arguments);

bool has_argument(json arguments, const char *name);
/* Text of an argument, {NULL, 0} when it is not there; what is not there otherwise. */
slice argument_string(json arguments, const char *name);
int64_t argument_integer(json arguments, const char *name, int64_t otherwise);
bool argument_boolean(json arguments, const char *name, bool otherwise);
/* The position of a string argument in a list that NULL ends; `otherwise` when not there or other. */
int argument_choice(json arguments, const char *name, const char *const choices[], int otherwise);

#endif
