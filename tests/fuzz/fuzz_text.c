/* The reader opens files by path; they are in memory (memfd), because a disk would limit the speed. */
#include "fuzz_text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "random.h"

#define CONTENT_BYTES 6000

/* A file being generated. */
typedef struct content {
  unsigned char *data;
  size_t room, size;
} content;

static bool ends_in(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length >= tail && strcmp(name + length - tail, end) == 0;
}

static bool is_jsonl(const char *name) { return strstr(name, ".json") != NULL; }

/* ---- generating ---- */

static void append(content *c, const char *text) {
  size_t size = strlen(text);
  if (size <= c->room - c->size) {
    memcpy(c->data + c->size, text, size);
    c->size += size;
  }
}

static void append_line(content *c) {
  static const char *const words[] = { "word ",       " \t",      "<|endoftext|>",
                                       "caf\xc3\xa9", "\xff\xfe", "{\"text\": 1",
                                       "\r" };
  if (one_in(4))
    append(c, "<|endoftext|>");
  else
    for (size_t n = below(8); n > 0; n--)
      append(c, CHOOSE(words));
  append(c, one_in(8) ? "\r\n" : "\n");
}

static void append_object(content *c) {
  static const char *const before[] = { "", "\"id\": 12345678901234567890, ",
                                        "\"a\": [[{}], 1e5], ",
                                        "\"\\u00e9\": \"\\ud83d\\ude00\", " };
  static const char *const texts[] = { "", "a\\nb", "\\u0000", "caf\xc3\xa9 \\u00e9",
                                       "\\\"\\\\\\/" };
  append(c, one_in(6) ? " \n{" : "{");
  append(c, CHOOSE(before));
  append(c, "\"text\": \"");
  for (size_t n = below(5); n > 0; n--)
    append(c, CHOOSE(texts));
  append(c, "\"}\n");
}

const char *fuzz_text_make(unsigned char *data, size_t room, size_t *size) {
  static const char *const names[] = { "text",        "a.txt",   "a.txt.gz",
                                       "a.txt.zst",   "a.jsonl", "a.jsonl.gz",
                                       "a.jsonl.zst", "a.json",  "a.json.gz" };
  const char *name = CHOOSE(names);
  content c = { data, room < CONTENT_BYTES ? room : CONTENT_BYTES, 0 };
  if (one_in(8))
    append(&c, "\xef\xbb\xbf");
  for (size_t lines = below(one_in(10) ? 200 : 12); lines > 0; lines--)
    if (c.room - c.size > 300) { /* room for the longest line, so that none is truncated */
      if (is_jsonl(name))
        append_object(&c);
      else
        append_line(&c);
    }
  *size = c.size;
  return name;
}

/* ---- compressing ---- */

/* Compress into to[0 .. room). Returns the compressed size, or 0 if it does not fit. */
static size_t compress_gzip(unsigned char *data, size_t size, unsigned char *to, size_t room) {
  z_stream z = { .next_in = data, .avail_in = (uInt)size, .next_out = to, .avail_out = (uInt)room };
  int level = (int)below(10);
  if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return 0;
  int code = deflate(&z, Z_FINISH);
  deflateEnd(&z);
  return code == Z_STREAM_END ? room - z.avail_out : 0;
}

static size_t compress_zstd(const unsigned char *data, size_t size, unsigned char *to,
                            size_t room) {
  ZSTD_CCtx *zstd = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, (int)below(20));
  ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, (int)below(2));
  ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, (int)below(2));
  size_t used = ZSTD_compress2(zstd, to, room, data, size);
  ZSTD_freeCCtx(zstd);
  return ZSTD_isError(used) ? 0 : used;
}

bool fuzz_text_pack(const char *name, unsigned char *data, size_t room, size_t *size) {
  bool is_gzip = ends_in(name, ".gz");
  if (!is_gzip && !ends_in(name, ".zst"))
    return true;
  unsigned char *packed = malloc(room);
  size_t used = 0, done = 0;
  while (done < *size || used == 0) {
    size_t piece = *size - done, written;
    if (one_in(4))
      piece = below(piece + 1);
    written = is_gzip ? compress_gzip(data + done, piece, packed + used, room - used)
                      : compress_zstd(data + done, piece, packed + used, room - used);
    if (written == 0)
      break;
    used += written;
    done += piece;
  }
  bool fits = done == *size;
  if (fits) {
    memcpy(data, packed, used);
    *size = used;
  }
  free(packed);
  return fits;
}

/* ---- reading ---- */

static volatile unsigned sink; /* keeps reads from being optimized away */

static bool write_file(const char *path, const unsigned char *data, size_t size) {
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool fine = file >= 0 && write(file, data, size) == (ssize_t)size;
  close(file);
  return fine;
}

static bam_status read_documents(bam_reader *reader, fuzz_finding *finding) {
  bam_document document;
  int64_t line = 1;
  bool found;
  for (;;) {
    bam_status status = bam_reader_next(reader, &document, &found);
    if (status != BAM_OK || !found)
      return status;
    if (document.size <= 0 || document.line < line)
      finding("a document that is empty, or lies before another");
    line = document.line;
    for (int64_t i = 0; i < document.size; i++)
      sink += (unsigned char)document.text[i];
  }
}

bam_status fuzz_text_read(bam_context *context, const char *name, const unsigned char *data,
                          size_t size, fuzz_finding *finding) {
  static const bam_text_format formats[] = { BAM_TEXT_AUTO, BAM_TEXT_AUTO, BAM_TEXT_PLAIN,
                                             BAM_TEXT_JSONL };
  char directory[] = "/dev/shm/bamlua-fuzz-XXXXXX", path[100];
  bam_reader *reader;
  bool made = mkdtemp(directory) != NULL;
  snprintf(path, sizeof path, "%s/%s", directory, name);
  if (!made || !write_file(path, data, size))
    finding("a file for the reader cannot be written");
  bam_text_format format = CHOOSE(formats);
  if (format == BAM_TEXT_JSONL && !is_jsonl(name))
    format = BAM_TEXT_AUTO;
  const bam_reader_options options = { "text", "<|endoftext|>", format, one_in(2) };
  bam_status status = bam_reader_open(context, path, &options, &reader);
  if (status == BAM_OK) {
    status = read_documents(reader, finding);
    bam_reader_close(reader);
  }
  unlink(path);
  rmdir(directory);
  return status;
}
