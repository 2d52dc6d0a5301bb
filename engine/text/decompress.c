/* zlib and zstd both decompress from one input buffer into the caller's memory. The file may end only
   between two members or frames, which `inside` tracks. Neither library consumes the last byte of a
   member or frame before it has written all its output, so no output is lost at the end of the file. */
#include "decompress.h"
#include "../core/quote.h"
#include "../io/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "../io/atomic_file.h"
#include "../io/directory.h"

#define INPUT_BYTES 65536
#define WINDOW_LOG 27 /* the largest zstd window accepted: 128 MB */

typedef bam_status read_function(bam_decompressor *source, void *data, int64_t size, int64_t *got);

struct bam_decompressor {
  bam_context *context;
  read_function *read;
  int file;    /* -1: not open */
  bool inside; /* in the middle of a member or frame */
  bool has_gzip;
  z_stream gzip;
  ZSTD_DStream *zstd;
  size_t used, filled; /* of `input` */
  unsigned char input[INPUT_BYTES];
};

static bam_status fail(const bam_decompressor *source, const char *reason, const char *what_to_do) {
  return bam_fail(source->context, BAM_ERROR_FILE, "%s%s", reason, what_to_do);
}

static bam_status fail_damaged(const bam_decompressor *source, const char *format,
                               const char *reason) {
  return bam_fail(source->context, BAM_ERROR_FILE, "its %s data is damaged (%s); download it again",
                  format, reason);
}

static bam_status fail_memory(const bam_decompressor *source) {
  return bam_fail(source->context, BAM_ERROR_MEMORY, "out of memory for decompressing");
}

/* Read more bytes of an uncompressed file. */
static bam_status read_plain(bam_decompressor *source, void *data, int64_t size, int64_t *got) {
  *got = TEMP_FAILURE_RETRY(read(source->file, data, (size_t)size));
  return *got >= 0 ? BAM_OK : fail(source, strerror(errno), "");
}

/* Refill the input buffer if it is empty. *ended: end of file. Fails if the file ends inside a member or
   frame. */
static bam_status fill(bam_decompressor *source, bool *ended) {
  int64_t got;
  *ended = false;
  if (source->used < source->filled)
    return BAM_OK;
  BAM_TRY(read_plain(source, source->input, INPUT_BYTES, &got));
  source->used = 0;
  source->filled = (size_t)got;
  *ended = got == 0;
  if (*ended && source->inside)
    return fail(source, "its compressed data is truncated", "; download it again");
  return BAM_OK;
}

/* ---- gzip ---- */

static bam_status check_gzip(bam_decompressor *source, int code) {
  z_stream *z = &source->gzip;
  if (code == Z_STREAM_END)
    code = inflateReset(z); /* ready for another member */
  if (code == Z_OK || code == Z_BUF_ERROR)
    return BAM_OK;
  if (code == Z_MEM_ERROR)
    return fail_memory(source);
  return fail_damaged(source, "gzip", z->msg != NULL ? z->msg : "invalid data");
}

static bam_status read_gzip(bam_decompressor *source, void *data, int64_t size, int64_t *got) {
  z_stream *z = &source->gzip;
  bool ended = false;
  uInt room = size < INT32_MAX ? (uInt)size : INT32_MAX;
  *got = 0;
  while (*got == 0) {
    BAM_TRY(fill(source, &ended));
    if (ended)
      break;
    z->next_in = source->input + source->used;
    z->avail_in = (uInt)(source->filled - source->used);
    z->next_out = data;
    z->avail_out = room;
    int code = inflate(z, Z_NO_FLUSH);
    source->inside = code != Z_STREAM_END;
    source->used = source->filled - z->avail_in;
    *got = room - z->avail_out;
    BAM_TRY(check_gzip(source, code));
  }
  return BAM_OK;
}

static bam_status open_gzip(bam_decompressor *source) {
  source->read = read_gzip;
  source->has_gzip = inflateInit2(&source->gzip, 15 + 16) == Z_OK; /* 16: gzip format only */
  return source->has_gzip ? BAM_OK : fail_memory(source);
}

/* ---- zstd ---- */

static bam_status fail_zstd(bam_decompressor *source, size_t code) {
  switch (ZSTD_getErrorCode(code)) {
  case ZSTD_error_memory_allocation: return fail_memory(source);
  case ZSTD_error_frameParameter_windowTooLarge:
    return fail(source, "decompressing it needs more than 128 MB", "; compress it without --long");
  default: return fail_damaged(source, "zstd", ZSTD_getErrorName(code));
  }
}

static bam_status read_zstd(bam_decompressor *source, void *data, int64_t size, int64_t *got) {
  ZSTD_outBuffer out = { data, (size_t)size, 0 };
  bool ended = false;
  while (out.pos == 0) {
    BAM_TRY(fill(source, &ended));
    if (ended)
      break;
    ZSTD_inBuffer in = { source->input, source->filled, source->used };
    size_t code = ZSTD_decompressStream(source->zstd, &out, &in);
    source->used = in.pos;
    if (ZSTD_isError(code))
      BAM_TRY(fail_zstd(source, code));
    source->inside = code != 0;
  }
  *got = (int64_t)out.pos;
  return BAM_OK;
}

static bam_status open_zstd(bam_decompressor *source) {
  source->read = read_zstd;
  source->zstd = ZSTD_createDStream();
  if (source->zstd == NULL)
    return fail_memory(source);
  size_t code = ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
  return ZSTD_isError(code) ? fail_zstd(source, code) : BAM_OK;
}

/* ---- any file ---- */

/* Whether `name` ends with `end`, ignoring case. */
static bool ends_in(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length > tail && strcasecmp(name + length - tail, end) == 0;
}

int64_t bam_compressed_stem(const char *path) {
  int64_t length = (int64_t)strlen(path);
  if (ends_in(path, ".gz"))
    return length - 3;
  return ends_in(path, ".zst") ? length - 4 : length;
}

/* Choose the decompressor by the file's name. */
static bam_status prepare(bam_decompressor *source, const char *path) {
  bool is_gzip = ends_in(path, ".gz"), ended;
  if (!is_gzip && !ends_in(path, ".zst"))
    return BAM_OK;
  BAM_TRY(is_gzip ? open_gzip(source) : open_zstd(source));
  BAM_TRY(fill(source, &ended));
  if (ended)
    return fail(source, "it is empty and lacks even a header", "; download it again");
  return BAM_OK;
}

bam_status bam_decompressor_open(bam_context *context, const char *path, bam_decompressor **out) {
  char quoted[BAM_QUOTE_TEXT], what[BAM_QUOTE_TEXT + 20];
  bam_decompressor *source = bam_object_alloc(context, sizeof *source);
  if (source == NULL)
    return BAM_ERROR_MEMORY;
  *source = (bam_decompressor){ .context = context, .read = read_plain, .file = -1 };
  bam_status status = BAM_OK;
  BAM_TRY_OR_DONE(bam_file_open(context, path, INT64_MAX, &source->file));
  status = prepare(source, path);
  if (status != BAM_OK) {
    snprintf(what, sizeof what, "cannot read %s", bam_quote(path, quoted));
    BAM_TRY_OR_DONE(bam_fail_within(context, status, what));
  }
  *out = source;
  return BAM_OK;
done:
  bam_decompressor_close(source);
  return status;
}

bam_status bam_decompressor_read(bam_decompressor *source, void *data, int64_t size, int64_t *got) {
  return source->read(source, data, size, got);
}

void bam_decompressor_close(bam_decompressor *source) {
  if (source == NULL)
    return;
  if (source->has_gzip)
    inflateEnd(&source->gzip);
  ZSTD_freeDStream(source->zstd);
  if (source->file >= 0)
    close(source->file);
  bam_object_free(source->context, source, sizeof *source);
}
