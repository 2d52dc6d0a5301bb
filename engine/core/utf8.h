/* UTF-8 in bytes that may be anything. */
#ifndef BAM_TEXT_UTF8_H
#define BAM_TEXT_UTF8_H

#include <stdint.h>

/* The length of the character that text[0 .. left) begins with; 0 when it begins with none. Left is
   at least 1. Surrogates, longer forms than needed and what is beyond Unicode are none. */
int64_t bam_utf8_character(const char *text, int64_t left);

/* How many of the first `size` bytes, from the first on, are characters. */
int64_t bam_utf8_prefix(const char *text, int64_t size);

/* The length of the white space character (Unicode's White_Space) that text[0 .. left) begins with;
   0 when it begins with none. */
int64_t bam_utf8_space(const char *text, int64_t left);

#endif
