/* A growing list of token ids, which becomes an i32 tensor. */
#ifndef BAM_TEXT_TOKENS_H
#define BAM_TEXT_TOKENS_H

#include "../core/tensor.h"

/* Empty: all zeros but for the context. */
typedef struct bam_tokens {
  bam_context *context;
  bam_storage *storage; /* of int32_t; NULL: none yet */
  int64_t count;
} bam_tokens;

/* Make room for `more` further ids. */
bam_status bam_tokens_reserve(bam_tokens *tokens, int64_t more);

/* Append an id; there is room for it. */
static inline void bam_tokens_push(bam_tokens *tokens, int32_t id) {
  ((int32_t *)tokens->storage->data)[tokens->count++] = id;
}

/* The ids as a CPU tensor of shape [count] in *out, without copying; the list is then empty. */
bam_status bam_tokens_take(bam_tokens *tokens, bam_tensor **out);

/* Free the memory. */
void bam_tokens_release(bam_tokens *tokens);

#endif
