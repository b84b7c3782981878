/* The arguments: one flat JSON object from standard input. */

enum { ARGUMENT_BYTES = 1 << 16 };

typedef struct {
    char *text;
    size_t length;
} slice;

typedef struct {
    slice path, operation, column, group_by, delimiter;
    long limit;
} arguments;

static char input[ARGUMENT_BYTES + 1];
static const char *in_at, *in_end;

static void in_read(void) {
    size_t used = 0;
    for (;;) {
        ssize_t got = read(0, input + used, sizeof input - used);
        if (got < 0) fail("bad_input", "standard input cannot be read");
        if (got == 0) break;
        used += (size_t)got;
        if (used > ARGUMENT_BYTES) fail("bad_input", "the arguments are over 65536 bytes");
    }
    in_at = input;
    in_end = input + used;
}

static void in_space(void) {
    while (in_at < in_end && (*in_at == ' ' || *in_at == '\n' || *in_at == '\r' || *in_at == '\t'))
        in_at++;
}

static bool in_take(char wanted) {
    in_space();
    if (in_at < in_end && *in_at == wanted) {
        in_at++;
        return true;
    }
    return false;
}

static uint32_t in_hex4(void) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = in_at < in_end ? *in_at++ : 0;
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10) : 99;
        if (digit == 99) fail("bad_input", "a \\u escape needs four hexadecimal digits");
        value = value << 4 | digit;
    }
    return value;
}

static char *put_utf8(char *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3F));
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    }
    return to;
}

static char *in_escape(char *to) {
    char c = in_at < in_end ? *in_at++ : 0;
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(names, c) : NULL;
    if (found) {
        *to++ = values[found - names];
        return to;
    }
    if (c != 'u') fail("bad_input", "unknown escape in a string");
    uint32_t code = in_hex4();
    if (code >= 0xD800 && code < 0xDC00 && in_end - in_at >= 6 && in_at[0] == '\\' &&
        in_at[1] == 'u') {
        in_at += 2;
        uint32_t low = in_hex4();
        if (low < 0xDC00 || low > 0xDFFF) fail("bad_input", "half a surrogate pair in a string");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code < 0xE000) {
        fail("bad_input", "half a surrogate pair in a string");
    }
    return put_utf8(to, code);
}

/* Decodes in place: an escape is never shorter than what it stands for. */
static slice in_string(void) {
    if (!in_take('"')) fail("bad_input", "a string was expected");
    char *start = input + (in_at - input), *to = start;
    while (in_at < in_end && *in_at != '"') {
        char c = *in_at++;
        if ((unsigned char)c < 0x20) fail("bad_input", "a control character in a string");
        if (c == '\\') to = in_escape(to);
        else *to++ = c;
    }
    if (in_at == in_end) fail("bad_input", "a string does not end");
    in_at++;
    *to = 0;
    return (slice){start, (size_t)(to - start)};
}

static bool in_null(void) {
    in_space();
    if (in_end - in_at >= 4 && !memcmp(in_at, "null", 4)) {
        in_at += 4;
        return true;
    }
    return false;
}

static long in_integer(void) {
    in_space();
    long value = 0;
    const char *start = in_at;
    while (in_at < in_end && *in_at >= '0' && *in_at <= '9' && value < 1000000)
        value = value * 10 + (*in_at++ - '0');
    if (start == in_at || (in_at < in_end && strchr(".eE0123456789", *in_at) && *in_at))
        fail("bad_argument", "limit must be an integer from 1 to 10000");
    return value;
}

static bool same(slice text, const char *name) {
    return text.length == strlen(name) && !memcmp(text.text, name, text.length);
}

static arguments in_arguments(void) {
    arguments given = {0};
    in_read();
    if (!in_take('{')) fail("bad_input", "the arguments must be a JSON object");
    if (!in_take('}')) {
        do {
            slice key = in_string();
            if (!in_take(':')) fail("bad_input", "':' was expected after a name");
            slice *text = same(key, "path") ? &given.path
                          : same(key, "operation") ? &given.operation
                          : same(key, "column") ? &given.column
                          : same(key, "group_by") ? &given.group_by
                          : same(key, "delimiter") ? &given.delimiter : NULL;
            if (!text && !same(key, "limit"))
                fail("unknown_argument", "known arguments: path, operation, column, group_by, "
                                         "delimiter, limit");
            if (in_null()) continue;
            if (text) *text = in_string();
            else if ((given.limit = in_integer()) < 1 || given.limit > 10000)
                fail("bad_argument", "limit must be an integer from 1 to 10000");
        } while (in_take(','));
        if (!in_take('}')) fail("bad_input", "',' or '}' was expected");
    }
    in_space();
    if (in_at != in_end) fail("bad_input", "there is text after the arguments");
    return given;
}
