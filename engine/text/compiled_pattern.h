/* What a pattern consists of: for pattern.c, which compiles it, and cutter.c, which applies it. */
#ifndef BAM_TEXT_COMPILED_PATTERN_H
#define BAM_TEXT_COMPILED_PATTERN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "boundaries.h"
#include "pattern.h"

struct bam_pattern {
  bam_context *context;
  int count;
  pcre2_code *codes[BAM_PATTERN_STEPS];
  pcre2_code *recent_codes[BAM_PATTERN_STEPS]; /* shared with `codes` where the forms are equal */
  bam_behavior behaviors[BAM_PATTERN_STEPS];
  bool inverts[BAM_PATTERN_STEPS];
  bam_code_ranges recent;
  bam_cut_style style;
};

#endif
