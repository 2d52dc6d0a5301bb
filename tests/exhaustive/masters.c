/* Every f32 as a master: make check-masters. All 2^32 are divided into halves and joined, and compared with the oracle;
   first a division that rounds ties to even, as bf16 does elsewhere, must be found to lose masters.
   Ends with "N passed, N failed". */
#include <inttypes.h>
#include <stdio.h>

#include "master_oracle.h"

#define ALL (1LL << 32)

typedef struct counts {
  int64_t restored, faults, first; /* the bits of the first fault */
} counts;

static void split_to_even(float master, uint16_t *high, int16_t *low) {
  const uint32_t bits = bits_of_master(master);
  bam_master_split(master, high, low);
  if ((bits & 0xffff) != 0x8000 || (*high & 1) == 0 || (bits & 0x7fffffffu) > BAM_MASTER_LARGEST)
    return;
  --*high;
  *low = (int16_t)(bits - ((uint32_t)*high << 16)); /* 0x8000 does not fit */
}

static bool is_restored(uint32_t bits, split_master *split) {
  uint16_t high;
  int16_t low;
  split(master_of(bits), &high, &low);
  return bits_of_master(bam_master_join(high, low)) == bits;
}

static counts check_all(split_master *split) {
  int64_t restored = 0, faults = 0, first = ALL;
#pragma omp parallel for reduction(+ : restored, faults) reduction(min : first)
  for (int64_t i = 0; i < ALL; i++) {
    restored += is_restored((uint32_t)i, split);
    if (find_master_fault((uint32_t)i, split) != NULL) {
      faults++;
      first = i < first ? i : first;
    }
  }
  return (counts){ restored, faults, first };
}

int main(void) {
  const counts planted = check_all(split_to_even), found = check_all(bam_master_split);
  const int failed = (planted.faults == 0) + (found.faults != 0);
  if (planted.faults == 0)
    printf("ties to even were not found to lose masters\n");
  if (found.faults != 0)
    printf("%" PRId64 " masters are wrong; the first has the bits %08" PRIx64 ": %s\n",
           found.faults, (uint64_t)found.first,
           find_master_fault((uint32_t)found.first, bam_master_split));
  printf("of %lld masters %" PRId64
         " are given back to the bit; the others are the 65,536 that would overflow, and "
         "NaNs; ties to even would be wrong for %" PRId64 "\n",
         ALL, found.restored, planted.faults);
  printf("%d passed, %d failed\n", 2 - failed, failed);
  return failed;
}
