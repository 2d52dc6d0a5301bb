/* Random choices of the fuzzer. All depend on one state, so that a run can be repeated. */
#ifndef BAM_FUZZ_RANDOM_H
#define BAM_FUZZ_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern uint64_t random_state; /* set it to restart; defined in fuzz_files.c */

static inline uint64_t random_next(void) { /* splitmix64 */
  uint64_t z = random_state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

static inline size_t below(size_t n) { return n == 0 ? 0 : (size_t)(random_next() % n); }

static inline bool one_in(size_t n) { return below(n) == 0; }

#define CHOOSE(list) ((list)[below(sizeof(list) / sizeof *(list))])

#endif
