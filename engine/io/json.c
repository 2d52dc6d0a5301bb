/* The pull parser of json.h. The stack of open containers is one 64-bit word, one bit per container, so
   the depth is bounded and nothing recurses. */
#include "json.h"
#include "../core/quote.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/utf8.h"
#include "atomic_file.h"

/* States: what the grammar allows next. */
enum { VALUE, FIRST_VALUE, KEY, FIRST_KEY, COMMA, NOTHING };

static const char *const expectations[] = {
  [VALUE] = "a value",
  [FIRST_VALUE] = "a value or ]",
  [KEY] = "a key in quotes",
  [FIRST_KEY] = "a key in quotes or }",
  [NOTHING] = "the end of the text",
};

void bam_json_begin(bam_json *json, bam_context *context, const char *text, int64_t size,
                    int depth) {
  *json = (bam_json){ .context = context,
                      .begin = text,
                      .at = text,
                      .end = text + size,
                      .max_depth = depth,
                      .expected = VALUE,
                      .kind = BAM_JSON_NULL };
  json->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc's is static */
}

/* ---- failing ---- */

static bam_status fail(const bam_json *json, const char *at, const char *reason) {
  return bam_fail(json->context, BAM_ERROR_FILE, "malformed JSON at byte %lld: %s",
                  (long long)(at - json->begin) + 1, reason);
}

/* Fail because `expected` is not what stands at `at`; the message quotes a few bytes from there. */
static bam_status fail_expected(const bam_json *json, const char *at, const char *expected) {
  char near[24], quoted[BAM_QUOTE_TEXT], reason[BAM_QUOTE_TEXT + 100];
  size_t left = (size_t)(json->end - at), length = left < sizeof near ? left : sizeof near - 1;
  memcpy(near, at, length);
  near[length] = '\0';
  if (length == 0)
    snprintf(reason, sizeof reason, "expected %s; the text ends there", expected);
  else
    snprintf(reason, sizeof reason, "expected %s, got %s", expected, bam_quote(near, quoted));
  return fail(json, at, reason);
}

/* ---- numbers ---- */

static bool is_digit(const bam_json *json, const char *at) {
  return at < json->end && *at >= '0' && *at <= '9';
}

static const char *skip_digits(const bam_json *json, const char *at) {
  while (is_digit(json, at))
    at++;
  return at;
}

/* The end of the number at `at`, or NULL if it is malformed. *is_integer: it has neither fraction nor
   exponent. */
static const char *find_number_end(const bam_json *json, const char *at, bool *is_integer) {
  at += *at == '-';
  const char *digits = at;
  at = skip_digits(json, at);
  if (at == digits || (*digits == '0' && at > digits + 1))
    return NULL;
  const char *whole = at;
  if (at < json->end && *at == '.') {
    digits = at + 1;
    at = skip_digits(json, digits);
    if (at == digits)
      return NULL;
  }
  if (at < json->end && (*at == 'e' || *at == 'E')) {
    digits = at + 1;
    digits += digits < json->end && (*digits == '+' || *digits == '-');
    at = skip_digits(json, digits);
    if (at == digits)
      return NULL;
  }
  *is_integer = at == whole;
  return at;
}

/* Parse the integer in [at, end). False if it overflows int64. */
static bool read_integer(const char *at, const char *end, int64_t *out) {
  bool negative = *at == '-';
  int64_t value = 0; /* accumulated as a negative number, because INT64_MIN has no positive */
  for (at += negative; at < end; at++)
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_sub_overflow(value, *at - '0', &value))
      return false;
  return !__builtin_mul_overflow(value, negative ? 1 : -1, out);
}

/* Parse the number in [begin, end) as a double. The text may end at `end`, and strtod must not read
   beyond it. */
static bam_status read_real(bam_json *json, const char *begin, const char *end) {
  char few[64], *copy = NULL;
  size_t length = (size_t)(end - begin);
  if (end == json->end) {
    copy = length < sizeof few ? few : malloc(length + 1);
    if (copy == NULL)
      return bam_fail(json->context, BAM_ERROR_MEMORY, "out of memory for a number of %zu digits",
                      length);
    memcpy(copy, begin, length);
    copy[length] = '\0';
  }
  json->real = strtod_l(copy != NULL ? copy : begin, NULL, json->c_locale);
  if (copy != few)
    free(copy);
  return isfinite(json->real) ? BAM_OK : fail(json, begin, "the number overflows a double");
}

static bam_status read_number(bam_json *json) {
  bool is_integer;
  const char *begin = json->at, *end = find_number_end(json, begin, &is_integer);
  if (end == NULL)
    return fail_expected(json, begin, "a number");
  json->at = end;
  json->kind = BAM_JSON_INTEGER;
  if (is_integer && read_integer(begin, end, &json->integer))
    return BAM_OK;
  json->kind = BAM_JSON_REAL;
  return read_real(json, begin, end);
}

/* ---- strings ---- */

static int hex_value(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c |= 'a' ^ 'A';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of the four hexadecimal digits at `at`, or -1. */
static int read_hex(const bam_json *json, const char *at) {
  int value = 0;
  if (json->end - at < 4)
    return -1;
  for (int i = 0; i < 4; i++) {
    if (hex_value(at[i]) < 0)
      return -1;
    value = value * 16 + hex_value(at[i]);
  }
  return value;
}

/* The length in bytes of the escape at `at`, which is a backslash, or 0 if it is malformed. *code gets its
   code point. */
static int64_t read_escape(const bam_json *json, const char *at, uint32_t *code) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (json->end - at < 2 || at[1] == '\0')
    return 0;
  const char *found = strchr(letters, at[1]);
  if (found != NULL) {
    *code = (uint32_t)meant[found - letters];
    return 2;
  }
  int high = at[1] == 'u' ? read_hex(json, at + 2) : -1;
  if (high < 0 || (high >= 0xdc00 && high < 0xe000))
    return 0;
  *code = (uint32_t)high;
  if (high < 0xd800 || high >= 0xe000)
    return 6;
  int low = json->end - at >= 12 && at[6] == '\\' && at[7] == 'u' ? read_hex(json, at + 8) : -1;
  if (low < 0xdc00 || low >= 0xe000)
    return 0;
  *code = 0x10000 + (((uint32_t)high - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
  return 12;
}

/* Parse a string; json->at is just after the opening quote. */
static bam_status read_string(bam_json *json) {
  const char *at = json->at;
  uint32_t code;
  json->text = at;
  json->has_escapes = false;
  while (at < json->end && *at != '"') {
    unsigned char c = (unsigned char)*at;
    int64_t step = 1;
    if (c == '\\') {
      step = read_escape(json, at, &code);
      json->has_escapes = true;
      if (step == 0)
        return fail_expected(json, at, "an escape such as \\n or \\u00e9, surrogates in pairs");
    } else if (c < 0x20)
      return fail(json, at, "a control character in a string must be escaped");
    else if (c >= 0x80 && (step = bam_utf8_character(at, json->end - at)) == 0)
      return fail(json, at, "the string is not valid UTF-8");
    at += step;
  }
  if (at == json->end)
    return fail(json, at, "the text ends inside a string");
  json->size = at - json->text;
  json->at = at + 1;
  return BAM_OK;
}

static char *put_utf8(char *to, uint32_t code) {
  if (code < 0x80) {
    *to++ = (char)code;
    return to;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const unsigned char heads[] = { 0, 0xc0, 0xe0, 0xf0 };
  *to++ = (char)(heads[more] | code >> (6 * more));
  while (more-- > 0)
    *to++ = (char)(0x80 | (code >> (6 * more) & 0x3f));
  return to;
}

int64_t bam_json_string(const bam_json *json, char *out) {
  const char *at = json->text, *end = at + json->size;
  char *to = out;
  if (!json->has_escapes) {
    memmove(out, at, (size_t)json->size);
    return json->size;
  }
  while (at < end) {
    uint32_t code = 0;
    if (*at != '\\') {
      *to++ = *at++;
      continue;
    }
    at += read_escape(json, at, &code); /* its UTF-8 is always shorter than the escape */
    to = put_utf8(to, code);
  }
  return to - out;
}

bool bam_json_equals_bytes(const bam_json *json, const char *word, size_t length) {
  const char *at = json->text, *end = at + json->size, *word_end = word + length;
  if (!json->has_escapes)
    return json->size == (int64_t)length && memcmp(at, word, length) == 0;
  while (at < end) {
    char one[4] = { *at };
    uint32_t code = 0;
    int64_t step = *at == '\\' ? read_escape(json, at, &code) : 1;
    size_t size = *at == '\\' ? (size_t)(put_utf8(one, code) - one) : 1;
    if ((size_t)(word_end - word) < size || memcmp(one, word, size) != 0)
      return false;
    word += size;
    at += step;
  }
  return word == word_end;
}

bool bam_json_equals(const bam_json *json, const char *word) {
  return bam_json_equals_bytes(json, word, strlen(word));
}

/* ---- events ---- */

static void skip_spaces(bam_json *json) {
  while (json->at < json->end &&
         (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
    json->at++;
}

static bool take(bam_json *json, char c) {
  if (json->at == json->end || *json->at != c)
    return false;
  json->at++;
  return true;
}

static bool is_in_object(const bam_json *json) {
  return json->depth > 0 && (json->objects >> (json->depth - 1) & 1) != 0;
}

/* Set the state after the end of a value or container. */
static void end_value(bam_json *json) { json->expected = json->depth > 0 ? COMMA : NOTHING; }

static bam_status open_container(bam_json *json, bool is_object) {
  if (json->depth == json->max_depth)
    return bam_fail(json->context, BAM_ERROR_FILE, "JSON nested deeper than %d at byte %lld",
                    json->max_depth, (long long)(json->at - json->begin));
  uint64_t bit = (uint64_t)1 << json->depth++;
  json->objects = is_object ? json->objects | bit : json->objects & ~bit;
  json->expected = is_object ? FIRST_KEY : FIRST_VALUE;
  json->kind = is_object ? BAM_JSON_OBJECT : BAM_JSON_ARRAY;
  return BAM_OK;
}

static bam_status close_container(bam_json *json) {
  json->depth--;
  json->kind = BAM_JSON_CLOSE;
  end_value(json);
  return BAM_OK;
}

static bam_status read_key(bam_json *json) {
  if (!take(json, '"'))
    return fail_expected(json, json->at, expectations[json->expected]);
  BAM_TRY(read_string(json));
  skip_spaces(json);
  if (!take(json, ':'))
    return fail_expected(json, json->at, "a colon");
  json->kind = BAM_JSON_KEY;
  json->expected = VALUE;
  return BAM_OK;
}

/* Parse null, true or false. */
static bam_status read_word(bam_json *json) {
  static const char *const
    words[] = { [BAM_JSON_NULL] = "null", [BAM_JSON_FALSE] = "false", [BAM_JSON_TRUE] = "true" };
  for (int i = BAM_JSON_NULL; i <= BAM_JSON_TRUE; i++) {
    size_t length = strlen(words[i]);
    if ((size_t)(json->end - json->at) >= length && memcmp(json->at, words[i], length) == 0) {
      json->at += length;
      json->kind = (bam_json_kind)i;
      return BAM_OK;
    }
  }
  return fail_expected(json, json->at, expectations[json->expected]);
}

static bam_status read_value(bam_json *json) {
  char c = json->at < json->end ? *json->at : '\0';
  bam_status status;
  if (c == '{' || c == '[') {
    json->at++;
    return open_container(json, c == '{');
  }
  if (c == '"') {
    json->at++;
    json->kind = BAM_JSON_STRING;
    status = read_string(json);
  } else if (c == '-' || is_digit(json, json->at))
    status = read_number(json);
  else
    status = read_word(json);
  end_value(json);
  return status;
}

bam_status bam_json_next(bam_json *json) {
  skip_spaces(json);
  bool in_object = is_in_object(json);
  switch (json->expected) {
  case COMMA:
    if (take(json, in_object ? '}' : ']'))
      return close_container(json);
    if (!take(json, ','))
      return fail_expected(json, json->at, in_object ? "a comma or }" : "a comma or ]");
    json->expected = in_object ? KEY : VALUE;
    skip_spaces(json);
    return in_object ? read_key(json) : read_value(json);
  case FIRST_KEY: return take(json, '}') ? close_container(json) : read_key(json);
  case FIRST_VALUE: return take(json, ']') ? close_container(json) : read_value(json);
  case VALUE: return read_value(json);
  default:
    if (json->at < json->end)
      return fail_expected(json, json->at, expectations[NOTHING]);
    json->kind = BAM_JSON_END;
    return BAM_OK;
  }
}

bam_status bam_json_skip(bam_json *json) {
  int depth = json->depth;
  bam_status status = BAM_OK;
  if (json->kind != BAM_JSON_ARRAY && json->kind != BAM_JSON_OBJECT)
    return BAM_OK;
  while (status == BAM_OK && json->depth >= depth)
    status = bam_json_next(json);
  return status;
}

bam_status bam_json_check(bam_json *json, int64_t *values) {
  bam_status status;
  *values = 0;
  do {
    status = bam_json_next(json);
    *values += json->kind != BAM_JSON_KEY && json->kind != BAM_JSON_CLOSE;
  } while (status == BAM_OK && json->kind != BAM_JSON_END);
  *values -= 1; /* the END event is not a value */
  return status;
}

const char *bam_json_kind_name(bam_json_kind kind) {
  switch (kind) {
  case BAM_JSON_OBJECT: return "an object";
  case BAM_JSON_ARRAY: return "an array";
  case BAM_JSON_STRING: return "a string";
  case BAM_JSON_NULL: return "null";
  case BAM_JSON_TRUE:
  case BAM_JSON_FALSE: return "a boolean";
  default: return "a number";
  }
}
