/* XXH3 from the library's header: nothing to link, and the compiler can inline it. */
#include "hash.h"
#include "file.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "directory.h"

#define PIECE_BYTES 65536

static bam_hash from_xxh(XXH128_hash_t hash) { return (bam_hash){ hash.high64, hash.low64 }; }

bam_hash bam_hash_bytes(const void *data, int64_t size) {
  return from_xxh(XXH3_128bits(data, (size_t)size));
}

bam_status bam_hash_file(bam_context *context, const char *path, bam_hash *out) {
  unsigned char piece[PIECE_BYTES];
  XXH3_state_t state;
  int64_t got;
  int file;
  bam_status status = bam_file_open(context, path, INT64_MAX, &file);
  if (status != BAM_OK)
    return status;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  do {
    BAM_TRY_OR_DONE(bam_file_read(context, path, file, piece, sizeof piece, &got));
    XXH3_128bits_update(&state, piece, (size_t)got);
  } while (got > 0);
  *out = from_xxh(XXH3_128bits_digest(&state));
done:
  close(file);
  return status;
}

const char *bam_hash_text(bam_hash hash, char text[BAM_HASH_TEXT]) {
  snprintf(text, BAM_HASH_TEXT, "%016" PRIx64 "%016" PRIx64, hash.high, hash.low);
  return text;
}
