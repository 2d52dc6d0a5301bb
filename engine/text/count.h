/* Counts how often each piece occurs in a set of texts: the training data of a tokenizer. Uses all threads
   of the context; the result does not depend on their number. */
#ifndef BAM_TEXT_COUNT_H
#define BAM_TEXT_COUNT_H

#include "pattern.h"
#include "vocab.h"

/* Texts are buffered until there are enough for every thread. */
typedef struct bam_counter bam_counter;

/* Make a counter of the pieces cut by `pattern`, which must outlive it. */
bam_status bam_counter_new(bam_context *context, const bam_pattern *pattern, bam_counter **out);

void bam_counter_release(bam_counter *counter); /* NULL is allowed */

/* Count the pieces of a text, which is copied. No piece spans two texts. After an error the counter must
   only be released. */
bam_status bam_counter_add(bam_counter *counter, const char *text, int64_t size);

/* Count the buffered texts. *words gets the distinct pieces, in no particular order, and *counts the number
   of occurrences of each; both are borrowed until the next call. */
bam_status bam_counter_finish(bam_counter *counter, const bam_vocab **words,
                              const int64_t **counts);

#endif
