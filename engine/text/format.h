/* How the documents of a text file are told apart, by the file's name. What the name leaves open is
   decided by the contents, see bam_reader_open. */
#ifndef BAM_TEXT_FORMAT_H
#define BAM_TEXT_FORMAT_H

typedef enum bam_text_format {
  BAM_TEXT_AUTO,  /* by name and contents */
  BAM_TEXT_PLAIN, /* lines of a separator stand between documents */
  BAM_TEXT_JSONL, /* one JSON object per line, a field of which is the document */
} bam_text_format;

/* What a name says, in upper or lower case and with or without .gz or .zst at the end. */
typedef enum bam_text_name {
  BAM_NAME_OTHER, /* .txt, any other ending, or none: plain text unless the contents contradict */
  BAM_NAME_JSONL, /* .jsonl, .ndjson, .jsonlines */
  BAM_NAME_JSON,  /* .json: JSON lines, or something that must not be taken for them */
} bam_text_name;

bam_text_name bam_text_name_of(const char *path);

#endif
