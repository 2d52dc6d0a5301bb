/* The format of a text file, as far as its name tells. The contents decide the rest, see
   bam_reader_open. */
#ifndef BAM_TEXT_FORMAT_H
#define BAM_TEXT_FORMAT_H

typedef enum bam_text_format {
  BAM_TEXT_AUTO,  /* by name and contents */
  BAM_TEXT_PLAIN, /* documents are separated by lines that hold a separator */
  BAM_TEXT_JSONL, /* one JSON object per line, a field of which is the document */
} bam_text_format;

/* The kinds of file names. Case and a trailing .gz or .zst are ignored. */
typedef enum bam_text_name {
  BAM_NAME_OTHER, /* .txt, any other ending, or none: plain text unless the contents contradict */
  BAM_NAME_JSONL, /* .jsonl, .ndjson, .jsonlines */
  BAM_NAME_JSON,  /* .json: JSON lines, or a single JSON value, which must be refused */
} bam_text_name;

bam_text_name bam_text_name_of(const char *path);

#endif
