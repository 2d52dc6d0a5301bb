/* The class of a character as the common pre-tokenizers see it. ASCII is known; any other character is classified by
   its owner's regular expressions when it is first met, so that both agree on Unicode. */
#ifndef BAM_TEXT_CHAR_CLASS_H
#define BAM_TEXT_CHAR_CLASS_H

#include "../core/tensor.h"

typedef enum bam_char_class {
  BAM_CHAR_LETTER, /* \p{L} */
  BAM_CHAR_DIGIT,  /* \p{N} */
  BAM_CHAR_OTHER,
  BAM_CHAR_SPACE, /* \s */
} bam_char_class;

/* What classifies a character of `size` bytes for the first time. */
typedef bam_char_class bam_char_probe(void *data, const char *character, int size, uint32_t code);

/* The classes found so far. For one thread at a time. */
typedef struct bam_char_classes {
  bam_context *context;
  bam_storage *table; /* a byte for each code point: 1 + the class, 0: not classified */
  bam_char_probe *probe;
  void *data; /* for the probe */
} bam_char_classes;

/* Allocate the table. `context`, `probe` and `data` are set. */
bam_status bam_char_classes_make(bam_char_classes *classes);

void bam_char_classes_release(bam_char_classes *classes);

/* The class of the character at the start of `text`, valid UTF-8 of 2 to 4 bytes. Does not touch the context. */
bam_char_class bam_char_classes_find(bam_char_classes *classes, const char *text, int size);

/* The bytes of the character whose first byte is `lead`, in valid UTF-8. */
static inline int bam_char_size(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

#endif
