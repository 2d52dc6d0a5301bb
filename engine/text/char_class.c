#include "char_class.h"

#include <string.h>

#define CODES 0x110000

bam_status bam_char_classes_make(bam_char_classes *classes) {
  BAM_TRY(bam_storage_grow(classes->context, &classes->table, CODES));
  memset(classes->table->data, 0, CODES);
  return BAM_OK;
}

void bam_char_classes_release(bam_char_classes *classes) {
  bam_storage_release(classes->context, classes->table);
  classes->table = NULL;
}

static uint32_t code_of(const unsigned char *p, int size) {
  return size == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
         : size == 3
           ? (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu)
           : (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

bam_char_class bam_char_classes_find(bam_char_classes *classes, const char *text, int size) {
  const uint32_t code = code_of((const unsigned char *)text, size);
  uint8_t *known = (uint8_t *)classes->table->data + code;
  if (*known == 0)
    *known = (uint8_t)(1 + classes->probe(classes->data, text, size, code));
  return (bam_char_class)(*known - 1);
}
