/* Questions to the host: requests and queries, as JSON (agent ABI v1, module "caxton"). */

#ifndef ASK_H
#define ASK_H

#include "out.h"

/* One of the host's functions. A tool that uses none of them imports none. */
typedef int host_question(const char *request, unsigned length);
host_question host_http __attribute__((import_module("caxton"), import_name("http")));
host_question host_query __attribute__((import_module("caxton"), import_name("query")));

/* What the host said: an object, or a refusal with its code and message. */
typedef struct {
    bool refused;
    slice code, message; /* of a refusal */
    json answer;         /* of anything else */
} host_answer;

/* What was written with out_* since an earlier length (at the same level), taken out of the answer. */
slice out_taken(size_t length);

/* `what` names the answer in the error "bad_answer", when it is no JSON object. */
host_answer ask_host(host_question *question, slice request, const char *what);

#endif
