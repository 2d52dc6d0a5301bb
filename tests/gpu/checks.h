/* Counting checks, for the programs of this directory and the shim's self-test. All files of a program share the
   counts. */
#ifndef BAM_GPU_CHECKS_H
#define BAM_GPU_CHECKS_H

#include <stdarg.h>
#include <stdio.h>

struct tally {
  int passed, failed;
};

inline tally *counts() {
  static tally counts;
  return &counts;
}

/* Count a check, and print a line about it. */
inline void check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
inline void check(bool good, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("%s ", good ? "ok  " : "FAIL");
  vprintf(format, arguments);
  printf("\n");
  fflush(stdout);
  va_end(arguments);
  *(good ? &counts()->passed : &counts()->failed) += 1;
}

/* Print "N passed, N failed"; the exit status of the program. */
inline int report() {
  printf("%d passed, %d failed\n", counts()->passed, counts()->failed);
  return counts()->failed != 0 || counts()->passed == 0;
}

#endif
