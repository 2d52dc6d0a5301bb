/* The list is a storage, which bam_tokens_take passes on to the tensor without copying. */
#include "tokens.h"

bam_status bam_tokens_reserve(bam_tokens *tokens, int64_t more) {
  int64_t bytes = (tokens->count + more) * (int64_t)sizeof(int32_t);
  return bam_storage_grow(tokens->context, &tokens->storage, bytes);
}

bam_status bam_tokens_take(bam_tokens *tokens, bam_tensor **out) {
  const bam_shape shape = { .ndim = 1, .size = { tokens->count } };
  BAM_TRY(bam_tokens_reserve(tokens, 0));
  BAM_TRY(bam_tensor_over(tokens->context, tokens->storage, BAM_I32, &shape, out));
  bam_tokens_release(tokens);
  return BAM_OK;
}

void bam_tokens_release(bam_tokens *tokens) {
  bam_storage_release(tokens->context, tokens->storage);
  tokens->storage = NULL;
  tokens->count = 0;
}
