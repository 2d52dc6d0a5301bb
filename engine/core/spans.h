/* A set of addresses as intervals: sorted, without gaps of no length between them. */
#ifndef BAM_SPANS_H
#define BAM_SPANS_H

#include <stdbool.h>

typedef struct bam_span {
  char *from, *to;
} bam_span;

typedef struct bam_spans {
  bam_span *list;
  int count, room;
} bam_spans;

/* Add from .. to. False, changing nothing, if memory is short. */
bool bam_spans_add(bam_spans *spans, char *from, char *to);

/* Forget everything. */
void bam_spans_clear(bam_spans *spans);

#endif
