/* Content hashes: names of cache entries, fingerprints of phases, and choices that depend on nothing but
   a text. XXH3 with 128 bits: fast, but not cryptographic. Collisions can be made on purpose, so a
   hash never decides whether foreign data is trusted. */
#ifndef BAM_HASH_H
#define BAM_HASH_H

#include "../core/context.h"

typedef struct bam_hash {
  uint64_t high, low;
} bam_hash;

/* Hash `size` bytes. */
bam_hash bam_hash_bytes(const void *data, int64_t size);

/* Hash the contents of the regular file at `path`, reading it in pieces. */
bam_status bam_hash_file(bam_context *context, const char *path, bam_hash *out);

/* Write the hash as 32 hexadecimal digits and a zero byte into `text`, and return it. */
#define BAM_HASH_TEXT 33
const char *bam_hash_text(bam_hash hash, char text[BAM_HASH_TEXT]);

#endif
