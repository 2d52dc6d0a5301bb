/* A growable list of token ids that can be turned into an i32 tensor. */
#ifndef BAM_TEXT_TOKENS_H
#define BAM_TEXT_TOKENS_H

#include "../core/tensor.h"

/* All zeros except the context is an empty list. */
typedef struct bam_tokens {
  bam_context *context;
  bam_storage *storage; /* of int32_t; NULL: not allocated */
  int64_t count;
} bam_tokens;

/* Reserve room for `more` additional ids. */
bam_status bam_tokens_reserve(bam_tokens *tokens, int64_t more);

/* Append an id. Room must have been reserved. */
static inline void bam_tokens_push(bam_tokens *tokens, int32_t id) {
  ((int32_t *)tokens->storage->data)[tokens->count++] = id;
}

/* Turn the list into a CPU tensor of shape [count] in *out, without copying. The list is then empty. */
bam_status bam_tokens_take(bam_tokens *tokens, bam_tensor **out);

/* Free the memory. */
void bam_tokens_release(bam_tokens *tokens);

#endif
