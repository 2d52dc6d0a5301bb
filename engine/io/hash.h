/* Hashes that tell contents apart: names of caches, identities of phases, choices that hang on
   nothing but a text. XXH3 with 128 bits: fast, and no defence against somebody who makes two texts
   collide on purpose. */
#ifndef BAM_HASH_H
#define BAM_HASH_H

#include "../core/context.h"

typedef struct bam_hash {
  uint64_t high, low;
} bam_hash;

/* The hash of `size` bytes. */
bam_hash bam_hash_bytes(const void *data, int64_t size);

/* The hash of what the regular file at `path` holds, read in pieces. */
bam_status bam_hash_file(bam_context *context, const char *path, bam_hash *out);

/* 32 hexadecimal digits and a zero byte into `text`, which it returns. */
#define BAM_HASH_TEXT 33
const char *bam_hash_text(bam_hash hash, char text[BAM_HASH_TEXT]);

#endif
