/* A set of Unicode characters and whether a text contains any of them. */
#ifndef BAM_TEXT_CODE_RANGES_H
#define BAM_TEXT_CODE_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#define BAM_CODE_RANGES 256 /* the maximum number of ranges in a set */

typedef struct bam_code_range {
  uint32_t first, last;
} bam_code_range;

/* All zeros is the empty set. */
typedef struct bam_code_ranges {
  int count;
  bam_code_range ranges[BAM_CODE_RANGES]; /* in order */
  bool blocks[0x110000 / 64];             /* for each block of 64 characters: any in the set? */
} bam_code_ranges;

/* Add the range first .. last, which must begin after all others and end at U+10FFFF or before. The set
   must have room. */
void bam_code_ranges_add(bam_code_ranges *set, uint32_t first, uint32_t last);

/* Whether a character is in the set. */
bool bam_code_ranges_have(const bam_code_ranges *set, uint32_t code);

/* Whether the text, valid UTF-8, contains a character of the set. Fast if it contains none. */
bool bam_code_ranges_meet(const bam_code_ranges *set, const char *text, int64_t size);

#endif
