/* Training of byte pair encoding: the vocabulary begins with the special tokens and the 256 bytes;
   then the most frequent pair of neighbouring words, within pieces, becomes a word, again and
   again. Of equally frequent pairs the one with the lowest ids is taken, so that the result depends
   on the texts alone, not on their order or the number of threads. Ids and merges are those of the
   tokenizers package's BpeTrainer with the ByteLevel alphabet. */
#ifndef BAM_TEXT_BPE_TRAIN_H
#define BAM_TEXT_BPE_TRAIN_H

#include "count.h"

typedef struct bam_trainer bam_trainer;

/* A trainer in *out. `special` are the special tokens, which get the first ids: at least two bytes
   long and different, or it fails with BAM_ERROR_ARGUMENT. No merge makes one. `pattern` is the
   trainer's from then on, but not after a failure. */
bam_status bam_trainer_new(bam_context *context, bam_pattern *pattern,
                           const bam_expression *special, int n_special, bam_trainer **out);

void bam_trainer_release(bam_trainer *trainer); /* NULL is legal */

/* Learn from a text, which is copied. After a failure the trainer can only be released. */
bam_status bam_trainer_add(bam_trainer *trainer, const char *text, int64_t size);

/* Grow the vocabulary to `size` words. Fails when there are more special tokens and bytes than
   that, and when the text has no more pairs; the message says how many words it gives. Called
   once. */
bam_status bam_trainer_train(bam_trainer *trainer, int64_t size);

/* The vocabulary, and the pairs of ids that were merged in order; borrowed. */
const bam_vocab *bam_trainer_words(const bam_trainer *trainer);
const int32_t (*bam_trainer_merges(const bam_trainer *trainer, int64_t *count))[2];

#endif
