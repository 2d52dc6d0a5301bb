/* The border fuzzer: a Lua state that calls the whole public surface with random arguments, under
   AddressSanitizer and UBSan. border.c runs it in child processes and reports; border_lua.c makes
   the state and what tests/fuzz/border/main.lua needs of C. */
#ifndef BAM_FUZZ_BORDER_H
#define BAM_FUZZ_BORDER_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#define BORDER_ROUND 1000 /* calls of a round, which begins with a new Lua state */

/* How a child of the fuzzer ends when it found something by itself. A sanitizer has codes of its
   own. */
enum { BORDER_CLEAN = 0, BORDER_FINDING = 3, BORDER_HANG = 4, BORDER_BROKEN = 5 };

/* Shared with the child process, so that it is known how far it came. */
typedef struct border_progress {
  uint64_t round, call; /* the call being made, from 1; 0 before the first */
  uint64_t calls, errors; /* made, and ended in a Lua error, by all children */
  bool skip[BORDER_ROUND + 1]; /* calls to leave out, when a finding is shrunk */
} border_progress;

typedef struct border_options {
  uint64_t seed;
  int call_seconds; /* of the processor, in one call: more is a hang */
  bool trace;        /* write each call to stderr before it is made */
  const char *plant; /* the name of a fault to add to bam.core, or NULL */
  const char *root;  /* the directory with tests/fuzz/border */
  border_progress *progress;
} border_options;

/* Run one round in a new Lua state, in the current directory, where it may write. Returns when
   nothing was found; a finding ends the process. Soft findings are appended to ./messages. */
void border_run_round(const border_options *options, uint64_t round);

/* The fault of that name, a function for Lua to call, or NULL when there is none. */
lua_CFunction border_find_plant(const char *name);

#endif
