#include "format.h"

#include <string.h>
#include <strings.h>

#include "decompress.h"

bam_text_name bam_text_name_of(const char *path) {
  static const struct {
    const char *end;
    bam_text_name name;
  } known[] = {
    { ".jsonl", BAM_NAME_JSONL },
    { ".ndjson", BAM_NAME_JSONL },
    { ".jsonlines", BAM_NAME_JSONL },
    { ".json", BAM_NAME_JSON },
  };
  const size_t length = (size_t)bam_compressed_stem(path);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    size_t tail = strlen(known[i].end);
    if (length > tail && strncasecmp(path + length - tail, known[i].end, tail) == 0)
      return known[i].name;
  }
  return BAM_NAME_OTHER;
}
