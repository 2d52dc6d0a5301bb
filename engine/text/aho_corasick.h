/* An Aho-Corasick automaton: finds the words of a set in a text, in time linear in the text whatever the
   words are. It is built over the reversed words and reads the text backwards, so at every byte it
   knows the longest word that begins there. (Reading forwards, the longest word is known only at its
   end, and trying every beginning is quadratic.) */
#ifndef BAM_TEXT_AHO_CORASICK_H
#define BAM_TEXT_AHO_CORASICK_H

#include "pairs.h"

/* All zeros except the context is an empty automaton, which matches nothing. */
typedef struct bam_aho_corasick {
  bam_context *context;
  bam_pairs children; /* (node, byte) to node; node 0 is the root */
  bam_storage *fails; /* int32_t for each node: the node of its longest proper suffix */
  bam_storage *words; /* int32_t for each node: the longest word that is a suffix of it, -1: none */
  bool last_bytes[256]; /* whether some word ends in this byte */
  int last_byte;        /* in which all words end; -1: there are several */
} bam_aho_corasick;

typedef struct bam_word {
  const char *data;
  int64_t size; /* at least 1 */
} bam_word;

/* An occurrence of a word in a text: words[word] begins at `start`. */
typedef struct bam_occurrence {
  int64_t start;
  int32_t word;
} bam_occurrence;

/* Build the automaton of `count` distinct words, which are borrowed for the call. Fails if they have 2^31
   bytes or more together. Time and memory are linear in their bytes. */
bam_status bam_aho_corasick_build(bam_context *context, const bam_word *words, int64_t count,
                                  bam_aho_corasick *out);

/* Find the longest word at every byte where one begins. *found, grown as needed, receives the occurrences
   in descending order of position; *n is their number. */
bam_status bam_aho_corasick_find(const bam_aho_corasick *automaton, const char *text, int64_t size,
                                 bam_storage **found, int64_t *n);

/* Free the memory. */
void bam_aho_corasick_release(bam_aho_corasick *automaton);

#endif
