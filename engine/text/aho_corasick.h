/* The automaton of Aho and Corasick: where the words of a set stand in a text, in time linear in the
   text whatever the words are. It is built over the reversed words and reads the text backwards, so
   that at every byte it knows the longest word that begins there. (Read forwards, the longest word
   is known only at its end; looking for it from every beginning is quadratic.) */
#ifndef BAM_TEXT_AHO_CORASICK_H
#define BAM_TEXT_AHO_CORASICK_H

#include "pairs.h"

/* Empty, matching nothing: all zeros but for the context. */
typedef struct bam_aho_corasick {
  bam_context *context;
  bam_pairs children;  /* (node, byte) to node; node 0 is the root */
  bam_storage *fails;  /* int32_t for each node: the node of its longest proper suffix */
  bam_storage *words;  /* int32_t for each node: the longest word that it ends with, -1: none */
  bool last_bytes[256]; /* does a word end in this byte? */
} bam_aho_corasick;

typedef struct bam_word {
  const char *data;
  int64_t size; /* at least 1 */
} bam_word;

/* A word found in a text: words[word] begins at `start`. */
typedef struct bam_occurrence {
  int64_t start;
  int32_t word;
} bam_occurrence;

/* Build the automaton of `count` different words, which are borrowed for the call. Together they
   have less than 2^31 bytes. Time and memory are linear in their bytes. */
bam_status bam_aho_corasick_build(bam_context *context, const bam_word *words, int64_t count,
                                  bam_aho_corasick *out);

/* Find the longest word at every byte where one begins. The occurrences come last first: *found is
   grown as needed, *n is how many it then holds. */
bam_status bam_aho_corasick_find(const bam_aho_corasick *automaton, const char *text, int64_t size,
                                 bam_storage **found, int64_t *n);

/* Free the memory. */
void bam_aho_corasick_release(bam_aho_corasick *automaton);

#endif
