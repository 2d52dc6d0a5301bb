/* The border fuzzer: a Lua state that calls the whole public surface with random arguments, under
   AddressSanitizer and UBSan. border.c runs it in child processes and reports findings; border_lua.c makes the state
   and the C functions for tests/fuzz/border/main.lua. */
#ifndef BAM_FUZZ_BORDER_H
#define BAM_FUZZ_BORDER_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#define BORDER_ROUND 1000 /* calls per round; each round has a new Lua state */

/* Exit codes of a child for findings of the fuzzer itself. Sanitizers have other exit codes. */
enum { BORDER_CLEAN = 0, BORDER_FINDING = 3, BORDER_HANG = 4, BORDER_BROKEN = 5 };

/* Progress, in memory shared with the child process. */
typedef struct border_progress {
  uint64_t round, call;        /* the call being made, from 1; 0 before the first */
  uint64_t calls, errors;      /* calls made, and calls that raised a Lua error, by all children */
  bool skip[BORDER_ROUND + 1]; /* calls to skip while shrinking a finding */
} border_progress;

typedef struct border_options {
  uint64_t seed;
  int call_seconds;  /* CPU time limit of one call: more is a hang */
  bool trace;        /* write each call to stderr before it is made */
  const char *plant; /* the name of a fault to add to bam.core, or NULL */
  const char *root;  /* the directory with tests/fuzz/border */
  border_progress *progress;
} border_options;

/* Run one round in a new Lua state, in the current directory, to which it may write. A finding ends the process. Soft
   findings are appended to ./messages. */
void border_run_round(const border_options *options, uint64_t round);

/* The planted fault of that name, a function to call from Lua, or NULL. */
lua_CFunction border_find_plant(const char *name);

#endif
