/* Reads the documents of a text file one by one, in bounded memory whatever the size of the file. In JSON
   lines (NAME.jsonl) a field of each line's object is a document; other files are plain text. Both may
   be compressed (NAME.gz, NAME.zst). Errors name path and line. Empty documents are skipped. */
#ifndef BAM_READER_H
#define BAM_READER_H

#include "../core/context.h"
#include "format.h"

#define BAM_READER_PART (16 * 1000 * 1000) /* maximum bytes of one part of a plain document */
#define BAM_READER_LINE (64 * 1000 * 1000) /* maximum bytes of a line of a .jsonl */
#define BAM_READER_BLANKS 1000             /* maximum blanks after a separator on its line */

typedef struct bam_reader bam_reader;

typedef struct bam_document {
  const char *text; /* borrowed until the next call; any bytes, not terminated */
  int64_t size;
  int64_t line;   /* number of its first line, from 1 */
  bool continues; /* the next document is a further part of this one */
} bam_document;

typedef struct bam_reader_options {
  const char *field;     /* JSON lines: the field that holds the document, see bam_record_find */
  const char *separator; /* plain text: the line between documents */
  bam_text_format format;
  bool skips_bad; /* JSON lines: skip and count lines without a document instead of failing */
} bam_reader_options;

/* Open the file at `path`. *out gets a reader, which the caller closes.
   With BAM_TEXT_AUTO the name decides the format (format.h), checked against the contents: a .json is
   refused unless it holds JSON lines, and a file with a plain-text name is refused if it does.
   In plain text a line that holds only the separator, and perhaps blanks after it, ends a document. A
   document longer than BAM_READER_PART is returned in parts. It is split before a newline that follows a
   non-blank byte if possible, and never inside a UTF-8 character. An initial byte order mark is dropped.
   Fails like bam_decompressor_open, and for compressed data without a .gz or .zst in the name, and for
   plain text with a zero byte in its first 4096 bytes. */
bam_status bam_reader_open(bam_context *context, const char *path,
                           const bam_reader_options *options, bam_reader **out);

/* The number of records skipped so far. *fault gets the error message of the first, borrowed from the
   reader. */
int64_t bam_reader_skipped(const bam_reader *reader, const char **fault);

/* Get the next document; *found is false at the end. After an error the reader must only be closed. */
bam_status bam_reader_next(bam_reader *reader, bam_document *out, bool *found);

/* Close and free. NULL is allowed. */
void bam_reader_close(bam_reader *reader);

#endif
