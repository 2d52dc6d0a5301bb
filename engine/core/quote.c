/* Quoting as quote.h describes it. */
#include "quote.h"

#include <stdbool.h>

#include <string.h>

static bool inside_character(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

static char *put(char *to, const char *text, size_t length) {
  for (size_t i = 0; i < length; i++)
    *to++ = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
  return to;
}

const char *bam_quote(const char *text, char quoted[BAM_QUOTE_TEXT]) {
  size_t length = strlen(text), room = BAM_QUOTE_TEXT - 3; /* two quotes and the end */
  size_t head = length, tail = length;                     /* text[head .. tail) is elided */
  if (length > room) {
    head = room / 3;
    tail = length - (room - head - 3);
    while (head > 0 && inside_character(text[head])) /* never cut a UTF-8 character */
      head--;
    while (tail < length && inside_character(text[tail]))
      tail++;
  }
  char *to = put(quoted, "\"", 1);
  to = put(to, text, head);
  if (head < length)
    to = put(to, "...", 3);
  to = put(to, text + tail, length - tail);
  memcpy(to, "\"", 2);
  return quoted;
}
