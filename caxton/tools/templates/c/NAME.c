/* {{name}}: a WASI command. Arguments come as JSON on standard input, the result goes out as JSON
   on standard output. Exit code 1 with {"error": {...}} says that something is wrong. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES (1 << 20)

static int fail(const char *code, const char *message) {
  printf("{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", code, message);
  return 1;
}

/* The text that belongs to a key, decoded in place; NULL when there is none. The node checks the
   arguments by the schema in tool.json before it calls, so this reads no more than it needs. */
static char *text_of(char *json, const char *key) {
  size_t length = strlen(key);
  for (char *at = json; (at = strchr(at, '"')) != NULL; at++) {
    if (strncmp(at + 1, key, length) != 0 || at[length + 1] != '"') continue;
    at += length + 2;
    while (isspace((unsigned char)*at) || *at == ':') at++;
    if (*at != '"') return NULL;
    char *from = ++at, *to = at;
    for (; *from != '"' && *from != '\0'; from++) {
      if (*from != '\\') {
        *to++ = *from;
      } else if (*++from == 'u') {
        *to++ = '?'; /* one character, which is all that counts here */
        from += 4;
      } else {
        *to++ = strchr("nrt", *from) ? ' ' : *from;
      }
    }
    *to = '\0';
    return at;
  }
  return NULL;
}

int main(void) {
  char *input = malloc(INPUT_BYTES + 1);
  if (input == NULL) return fail("memory", "no memory for the input");
  size_t length = fread(input, 1, INPUT_BYTES, stdin);
  input[length] = '\0';
  const char *text = text_of(input, "text");
  if (text == NULL) return fail("bad_arguments", "text is missing");
  int words = 0, characters = 0, inside = 0;
  for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
    if ((*at & 0xC0) != 0x80) characters++; /* not a continuation byte of UTF-8 */
    words += !isspace(*at) && !inside;
    inside = !isspace(*at);
  }
  printf("{\"words\":%d,\"characters\":%d}\n", words, characters);
  return 0;
}
