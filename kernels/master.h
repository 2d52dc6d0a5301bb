/* Masters of bf16 parameters: f32 numbers in two halves, the same on every device. The high half is the parameter, a
   bf16 nearest to the master; the low half is what the master's bits have beyond it, -0x8000 .. 0x7fff. Halves away
   from zero: rounded to even, a tie would need a low half of 0x8000 as well as -0x8000.

   Every finite master is restored to the bit, except the 65,536 that would round to an infinite parameter: they become
   the largest below. Infinities are restored, and a NaN stays a NaN. */
#ifndef BAM_MASTER_H
#define BAM_MASTER_H

#include <string.h>

#include "function.h"

#define BAM_MASTER_INFINITE 0x7f800000u /* the bits of an infinity; those of a NaN are above it */
#define BAM_MASTER_LARGEST \
  0x7f7f7fffu /* the bits of the largest master that rounds to a finite bf16 */

BAM_FUNCTION float bam_master_join(uint16_t high, int16_t low) {
  const uint32_t bits = ((uint32_t)high << 16) + (uint32_t)(int32_t)low;
  float master;
  memcpy(&master, &bits, sizeof master);
  return master;
}

BAM_FUNCTION void bam_master_split(float master, uint16_t *high, int16_t *low) {
  uint32_t bits, magnitude;
  memcpy(&bits, &master, sizeof bits);
  magnitude = bits & 0x7fffffffu;
  if (magnitude > BAM_MASTER_INFINITE)
    magnitude = 0x7fc00000u;
  else if (magnitude > BAM_MASTER_LARGEST && magnitude < BAM_MASTER_INFINITE)
    magnitude = BAM_MASTER_LARGEST;
  bits = (bits & 0x80000000u) | magnitude;
  *high = (uint16_t)((bits + 0x8000u) >> 16);
  *low = (int16_t)(bits - ((uint32_t)*high << 16));
}

#endif
