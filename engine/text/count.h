/* Counting the pieces of texts, which is what a tokenizer learns from; on all threads of the
   context, with the same result for any number of them. */
#ifndef BAM_TEXT_COUNT_H
#define BAM_TEXT_COUNT_H

#include "pattern.h"
#include "vocab.h"

/* Texts wait until there are enough of them for every thread. */
typedef struct bam_counter bam_counter;

/* A counter of the pieces that `pattern`, which must outlive it, cuts. */
bam_status bam_counter_new(bam_context *context, const bam_pattern *pattern, bam_counter **out);

void bam_counter_release(bam_counter *counter); /* NULL is legal */

/* Count a text, by itself: no piece goes beyond its ends. It is copied. After a failure the counter
   can only be released. */
bam_status bam_counter_add(bam_counter *counter, const char *text, int64_t size);

/* Count what still waits. *words are then the different pieces, in no particular order, and *counts
   how often each was met; both are the counter's own, until the next call. */
bam_status bam_counter_finish(bam_counter *counter, const bam_vocab **words,
                              const int64_t **counts);

#endif
