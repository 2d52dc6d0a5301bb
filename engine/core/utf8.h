/* UTF-8 in untrusted bytes. Valid means RFC 3629: no surrogates, no overlong forms, nothing above
   U+10FFFF. No function reads past the given length, and none needs a terminating zero. */
#ifndef BAM_UTF8_H
#define BAM_UTF8_H

#include <stdint.h>

/* The length in bytes of the character at the start of text[0 .. left), or 0 if it is not valid UTF-8.
   `left` is at least 1. */
int64_t bam_utf8_character(const char *text, int64_t left);

/* The length in bytes of the longest prefix of text[0 .. size) that is valid UTF-8. */
int64_t bam_utf8_prefix(const char *text, int64_t size);

/* The length in bytes of the white space character (Unicode property White_Space) at the start of
   text[0 .. left), or 0 if there is none. */
int64_t bam_utf8_space(const char *text, int64_t left);

#endif
