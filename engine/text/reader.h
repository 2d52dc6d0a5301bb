/* Documents out of text files, one after the other, in bounded memory whatever the file's size:
   JSON lines (NAME.jsonl) hold a document in a field of each line's object, other files are plain
   text, and each may be compressed (NAME.gz, NAME.zst). What is wrong with a file is told with its
   path and the line. Documents without a byte are passed over. */
#ifndef BAM_READER_H
#define BAM_READER_H

#include "../core/context.h"
#include "format.h"

#define BAM_READER_PART (16 * 1000 * 1000) /* the most bytes of a plain document at once */
#define BAM_READER_LINE (64 * 1000 * 1000) /* the longest line of a .jsonl */
#define BAM_READER_BLANKS 1000             /* the most blanks after a separator on its line */

typedef struct bam_reader bam_reader;

typedef struct bam_document {
  const char *text; /* borrowed until the next call; any bytes, not terminated */
  int64_t size;
  int64_t line;   /* where it begins, counted from 1 */
  bool continues; /* the next one is a further part of the same document */
} bam_document;

typedef struct bam_reader_options {
  const char *field;     /* JSON lines: the field that holds the document, see bam_record_find */
  const char *separator; /* plain text: the line between documents */
  bam_text_format format;
  bool skips_bad; /* JSON lines: count lines that hold no document instead of failing */
} bam_reader_options;

/* Open the file at `path`. With BAM_TEXT_AUTO its name tells the format (see format.h): a .json is
   read if it holds JSON lines and refused otherwise, and a file of any other name that is not a
   .jsonl's is refused if it holds JSON lines. In plain text a line that holds the separator, and
   perhaps blanks after it, ends a document; a document longer than BAM_READER_PART comes in parts,
   each but the last cut before a newline that follows a non-blank byte where there is one, and never
   inside a UTF-8 character. A byte order mark at the beginning is dropped. One reader in *out, to be
   closed. Fails as bam_decompressor_open does, for compressed data under a name that does not tell, and
   for plain text with a zero byte among its first 4096 bytes. */
bam_status bam_reader_open(bam_context *context, const char *path,
                           const bam_reader_options *options, bam_reader **out);

/* How many records were skipped so far; *fault is what was wrong with the first of them, the
   reader's own. */
int64_t bam_reader_skipped(const bam_reader *reader, const char **fault);

/* The next document, or *found = false at the end. After a failure the reader is of no more use. */
bam_status bam_reader_next(bam_reader *reader, bam_document *out, bool *found);

/* Close and free. NULL is legal. */
void bam_reader_close(bam_reader *reader);

#endif
