/* Documents out of text files, one after the other, in bounded memory whatever the file's size:
   NAME.jsonl holds a document in a field of each line's object, any other file plain text, and each
   may be compressed (NAME.gz, NAME.zst). What is wrong with a file is told with its path and the
   line. Documents without a byte are passed over. */
#ifndef BAM_READER_H
#define BAM_READER_H

#include "../context.h"

#define BAM_READER_PART (16 * 1000 * 1000) /* the most bytes of a plain document at once */
#define BAM_READER_LINE (64 * 1000 * 1000) /* the longest line of a .jsonl */

typedef struct bam_reader bam_reader;

typedef struct bam_document {
  const char *text; /* borrowed until the next call; any bytes, not terminated */
  int64_t size;
  int64_t line;   /* where it begins, counted from 1 */
  bool continues; /* the next one is a further part of the same document */
} bam_document;

/* Open the file at `path`. Of a .jsonl, `field` is the field that holds the document. In plain text
   a line that is exactly `separator` (its end may be "\r\n") ends a document; one longer than
   BAM_READER_PART comes in parts, each but the last cut before a newline that follows a non-blank
   byte where there is one, and never inside a UTF-8 character. A byte order mark at the beginning
   is dropped. One reader in *out, to be closed. Fails as bam_source_open does, and for plain text
   with a zero byte among its first 4096 bytes. */
bam_status bam_reader_open(bam_context *context, const char *path, const char *field,
                           const char *separator, bam_reader **out);

/* The next document, or *found = false at the end. After a failure the reader is of no more use. */
bam_status bam_reader_next(bam_reader *reader, bam_document *out, bool *found);

/* Close and free. NULL is legal. */
void bam_reader_close(bam_reader *reader);

#endif
