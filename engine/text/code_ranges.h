/* A set of Unicode characters, asked whether a text holds any of them. */
#ifndef BAM_TEXT_CODE_RANGES_H
#define BAM_TEXT_CODE_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#define BAM_CODE_RANGES 256 /* the most ranges of a set */

typedef struct bam_code_range {
  uint32_t first, last;
} bam_code_range;

/* Empty: all zeros. */
typedef struct bam_code_ranges {
  int count;
  bam_code_range ranges[BAM_CODE_RANGES]; /* in order */
  bool blocks[0x110000 / 64];             /* for each 64 characters: are any in the set? */
} bam_code_ranges;

/* Add a range, which begins after all others, up to U+10FFFF. There is room. */
void bam_code_ranges_add(bam_code_ranges *set, uint32_t first, uint32_t last);

/* Does valid UTF-8 hold a character of the set? Quick where it holds none. */
bool bam_code_ranges_meet(const bam_code_ranges *set, const char *text, int64_t size);

#endif
