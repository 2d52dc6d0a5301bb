#include "code_ranges.h"

#include <string.h>

void bam_code_ranges_add(bam_code_ranges *set, uint32_t first, uint32_t last) {
  set->ranges[set->count++] = (bam_code_range){ first, last };
  for (uint32_t block = first / 64; block <= last / 64; block++)
    set->blocks[block] = true;
}

bool bam_code_ranges_have(const bam_code_ranges *set, uint32_t code) {
  int low = 0, high = set->count;
  while (low < high) {
    int middle = (low + high) / 2;
    if (set->ranges[middle].last < code)
      low = middle + 1;
    else
      high = middle;
  }
  return low < set->count && set->ranges[low].first <= code;
}

/* The length of the ASCII prefix of the first `size` bytes. */
static int64_t skip_ascii(const unsigned char *bytes, int64_t size) {
  int64_t at = 0;
  uint64_t eight;
  while (at + 8 <= size && (memcpy(&eight, bytes + at, 8), (eight & 0x8080808080808080) == 0))
    at += 8;
  while (at < size && bytes[at] < 0x80)
    at++;
  return at;
}

/* The last byte of a character selects it within its block of 64; the other bytes select the block. */
bool bam_code_ranges_meet(const bam_code_ranges *set, const char *text, int64_t size) {
  const unsigned char *bytes = (const unsigned char *)text;
  if (set->count == 0)
    return false;
  for (int64_t at = skip_ascii(bytes, size); at < size;) {
    const unsigned char *p = bytes + at;
    int length = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (length == 1) {
      at += skip_ascii(p, size - at);
      continue;
    }
    uint32_t block = length == 2   ? p[0] & 0x1fu
                     : length == 3 ? (p[0] & 0x0fu) << 6 | (p[1] & 0x3fu)
                                   : (p[0] & 0x07u) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    if (set->blocks[block] && bam_code_ranges_have(set, block << 6 | (p[length - 1] & 0x3fu)))
      return true;
    at += length;
  }
  return false;
}
