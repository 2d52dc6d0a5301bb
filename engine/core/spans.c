/* Intervals of addresses. */
#include "spans.h"

#include <stdlib.h>
#include <string.h>

bool bam_spans_add(bam_spans *spans, char *from, char *to) {
  int first = 0, last;
  if (spans->count == spans->room) {
    const int room = spans->room > 0 ? 2 * spans->room : 16;
    bam_span *list = realloc(spans->list, (size_t)room * sizeof *list);
    if (list == NULL)
      return false;
    spans->list = list;
    spans->room = room;
  }
  while (first < spans->count && spans->list[first].to < from)
    first++;
  for (last = first; last < spans->count && spans->list[last].from <= to; last++) { /* joined */
    from = spans->list[last].from < from ? spans->list[last].from : from;
    to = spans->list[last].to > to ? spans->list[last].to : to;
  }
  memmove(spans->list + first + 1, spans->list + last,
          (size_t)(spans->count - last) * sizeof *spans->list);
  spans->count += first + 1 - last;
  spans->list[first] = (bam_span){ from, to };
  return true;
}

void bam_spans_clear(bam_spans *spans) {
  free(spans->list);
  *spans = (bam_spans){ .list = NULL };
}
