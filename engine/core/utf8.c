/* UTF-8 decoding (RFC 3629), with fast paths for ASCII and for characters of two or three bytes. */
#include "utf8.h"

#include <stdbool.h>
#include <string.h>

int64_t bam_utf8_character(const char *text, int64_t left) {
  static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
  const unsigned char *bytes = (const unsigned char *)text;
  unsigned char first = bytes[0];
  int size = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (size <= 1)
    return size;
  if (size > left || first > 0xf4)
    return 0;
  uint32_t code = first & (0x7fu >> size);
  for (int i = 1; i < size; i++) {
    if ((bytes[i] & 0xc0) != 0x80)
      return 0;
    code = code << 6 | (bytes[i] & 0x3fu);
  }
  bool surrogate = code >= 0xd800 && code < 0xe000;
  return code < smallest[size] || code > 0x10ffff || surrogate ? 0 : size;
}

/* Fast path: the length of a character of two or three bytes, or 0 if it needs the full check. */
static inline int quick_character(const unsigned char *bytes, int64_t left) {
  if (left >= 3 && bytes[0] > 0xe0 && bytes[0] < 0xf0 && bytes[0] != 0xed &&
      (bytes[1] & 0xc0) == 0x80 && (bytes[2] & 0xc0) == 0x80)
    return 3;
  return left >= 2 && bytes[0] >= 0xc2 && bytes[0] < 0xe0 && (bytes[1] & 0xc0) == 0x80 ? 2 : 0;
}

/* Whether 64 bytes are ASCII. */
static inline bool is_ascii(const char *text) {
  uint64_t all = 0, eights[8];
  memcpy(eights, text, sizeof eights);
  for (int i = 0; i < 8; i++)
    all |= eights[i];
  return (all & 0x8080808080808080) == 0;
}

int64_t bam_utf8_prefix(const char *text, int64_t size) {
  int64_t at = 0, step = 1;
  while (at < size && step > 0) {
    uint64_t eight;
    while (at + 64 <= size && is_ascii(text + at))
      at += 64;
    while (at + 8 <= size && (memcpy(&eight, text + at, 8), (eight & 0x8080808080808080) == 0))
      at += 8;
    step = at < size ? quick_character((const unsigned char *)text + at, size - at) : 0;
    if (step == 0 && at < size)
      step = bam_utf8_character(text + at, size - at);
    at += step;
  }
  return at;
}

int64_t bam_utf8_space(const char *text, int64_t left) {
  static const char *const spaces[] = { "\xc2\x85", "\xc2\xa0", "\u1680", "\u2028",
                                        "\u2029",   "\u202f",   "\u205f", "\u3000" };
  if (left > 0 && (*text == ' ' || (*text >= '\t' && *text <= '\r')))
    return 1;
  if (left >= 3 && memcmp(text, "\xe2\x80", 2) == 0 && (unsigned char)text[2] >= 0x80 &&
      (unsigned char)text[2] <= 0x8a) /* U+2000 to U+200A */
    return 3;
  for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
    size_t size = strlen(spaces[i]);
    if (left >= (int64_t)size && memcmp(text, spaces[i], size) == 0)
      return (int64_t)size;
  }
  return 0;
}
