/* An agent in C: counts the messages it gets, also over restarts of the node. Agent ABI v1.
   It needs no C library: caxton tool build examples/wasm-agents/counter_c */
#define IMPORT(name) __attribute__((import_module("caxton"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("log") void caxton_log(unsigned level, const char *text, unsigned length);
IMPORT("kv_get") int caxton_kv_get(const char *key, unsigned length);
IMPORT("kv_put") int caxton_kv_put(const char *key, unsigned length, const char *value, unsigned n);
IMPORT("take") int caxton_take(char *room, unsigned size);

#define PAGE 65536u

extern char __heap_base;
static const char KEY[] = "count";
static const char BEGIN[] = "{\"performative\":\"inform\",\"content\":\"messages so far: ";
static const char END[] = "\"}";
static char reply[sizeof BEGIN + sizeof END + 20];

/* Room for one message; there is never a second one at the same time. 0 refuses. */
EXPORT("alloc") char *alloc(unsigned length) {
  unsigned long long end = (unsigned long long)(unsigned)&__heap_base + length;
  unsigned long long size = (unsigned long long)__builtin_wasm_memory_size(0) * PAGE;
  if (end > size) {
    unsigned pages = (unsigned)((end - size + PAGE - 1) / PAGE);
    if (__builtin_wasm_memory_grow(0, pages) == (unsigned)-1) return 0;
  }
  return &__heap_base;
}

/* The message is JSON, of which this agent needs nothing. The result is the address of the reply
   in the upper 32 bits and its length in the lower ones. */
EXPORT("handle_message") unsigned long long handle_message(const char *message, unsigned length) {
  (void)message;
  (void)length;
  char digits[20];
  unsigned long long count = 0;
  int found = caxton_kv_get(KEY, sizeof KEY - 1);
  if (found >= 0) { /* the answer waits; -1 says that there is no such key */
    int taken = caxton_take(digits, sizeof digits);
    for (int at = 0; at < taken; at++) count = count * 10 + (unsigned)(digits[at] - '0');
  } else if (found == -2) {
    static const char text[] = "no key-value store: grant kv in the agent file";
    caxton_log(2, text, sizeof text - 1);
  }
  count++;
  int first = sizeof digits;
  for (unsigned long long rest = count; first == sizeof digits || rest; rest /= 10)
    digits[--first] = (char)('0' + rest % 10);
  unsigned size = (unsigned)(sizeof digits - (unsigned)first);
  caxton_kv_put(KEY, sizeof KEY - 1, digits + first, size);

  char *to = reply;
  for (unsigned at = 0; at < sizeof BEGIN - 1; at++) *to++ = BEGIN[at];
  for (unsigned at = 0; at < size; at++) *to++ = digits[(unsigned)first + at];
  for (unsigned at = 0; at < sizeof END - 1; at++) *to++ = END[at];
  return (unsigned long long)(unsigned)reply << 32 | (unsigned)(to - reply);
}
