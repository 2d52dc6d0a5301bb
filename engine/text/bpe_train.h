/* Training of byte pair encoding. The vocabulary starts with the special tokens and the 256 bytes; then the
   most frequent pair of adjacent words within pieces repeatedly becomes a new word. Ties go to the pair
   with the lowest ids, so the result depends only on the texts, not on their order or the number of
   threads. Ids and merges equal those of the tokenizers package's BpeTrainer with the ByteLevel
   alphabet. */
#ifndef BAM_TEXT_BPE_TRAIN_H
#define BAM_TEXT_BPE_TRAIN_H

#include "count.h"

typedef struct bam_trainer bam_trainer;

/* Make a trainer in *out. The tokens of `special` get the first ids, and are never the result of a merge;
   fails with BAM_ERROR_ARGUMENT unless they are distinct and at least two bytes long. Takes ownership of
   `pattern`; on failure the caller keeps it. */
bam_status bam_trainer_new(bam_context *context, bam_pattern *pattern,
                           const bam_expression *special, int n_special, bam_trainer **out);

void bam_trainer_release(bam_trainer *trainer); /* NULL is allowed */

/* Add a text to the training data; it is copied. After an error the trainer must only be released. */
bam_status bam_trainer_add(bam_trainer *trainer, const char *text, int64_t size);

/* Train until the vocabulary has `size` words. May be called once. Fails if `size` is too small for the
   special tokens and bytes, or if the texts run out of pairs; the message then says how many words they
   yield. */
bam_status bam_trainer_train(bam_trainer *trainer, int64_t size);

/* The vocabulary, and the merged pairs of ids in order. Borrowed. */
const bam_vocab *bam_trainer_words(const bam_trainer *trainer);
const int32_t (*bam_trainer_merges(const bam_trainer *trainer, int64_t *count))[2];

#endif
