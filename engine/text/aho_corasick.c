/* The trie is built breadth first, one byte of every word at a time, so nodes are numbered by depth. The
   target of a node's failure link is less deep, hence complete when the node is made. */
#include "aho_corasick.h"

#include <string.h>

#define FIRST_OCCURRENCES 64

/* A word during the build, and the node reached by its bytes so far. */
typedef struct path {
  int32_t word, node;
} path;

static int32_t child(const bam_aho_corasick *automaton, int32_t node, unsigned char byte) {
  return (int32_t)bam_pairs_find(&automaton->children, bam_pair_key(node, byte));
}

/* The node after `byte`, following failure links as far as needed. */
static int32_t step(const bam_aho_corasick *automaton, int32_t node, unsigned char byte) {
  const int32_t *fails = automaton->fails->data;
  int32_t next;
  while ((next = child(automaton, node, byte)) < 0 && node != 0)
    node = fails[node];
  return next < 0 ? 0 : next;
}

/* Add the child of `parent` for `byte`, which it must not have. Room must have been reserved. */
static int32_t add_child(bam_aho_corasick *automaton, int32_t parent, unsigned char byte) {
  int32_t *fails = automaton->fails->data, *words = automaton->words->data;
  int32_t node = (int32_t)automaton->children.count + 1;
  fails[node] = parent == 0 ? 0 : step(automaton, fails[parent], byte);
  words[node] = words[fails[node]];
  bam_pairs_add(&automaton->children, bam_pair_key(parent, byte), node);
  return node;
}

/* Add the byte at `depth`, counted from the end, of every path's word. Moves the paths with more bytes to
   the front, and returns their number. */
static int64_t add_level(bam_aho_corasick *automaton, const bam_word *words, path *paths,
                         int64_t count, int64_t depth) {
  int64_t kept = 0;
  for (int64_t i = 0; i < count; i++) {
    path p = paths[i];
    const bam_word *word = &words[p.word];
    unsigned char byte = (unsigned char)word->data[word->size - 1 - depth];
    int32_t next = child(automaton, p.node, byte);
    p.node = next >= 0 ? next : add_child(automaton, p.node, byte);
    if (depth + 1 == word->size)
      ((int32_t *)automaton->words->data)[p.node] = p.word;
    else
      paths[kept++] = p;
  }
  return kept;
}

/* Reserve room for all nodes, and create the root. */
static bam_status reserve(bam_aho_corasick *automaton, int64_t nodes) {
  BAM_TRY(bam_pairs_reserve(&automaton->children, nodes));
  BAM_TRY(bam_storage_grow(automaton->context, &automaton->fails,
                           (nodes + 1) * (int64_t)sizeof(int32_t)));
  BAM_TRY(bam_storage_grow(automaton->context, &automaton->words,
                           (nodes + 1) * (int64_t)sizeof(int32_t)));
  ((int32_t *)automaton->fails->data)[0] = 0;
  ((int32_t *)automaton->words->data)[0] = -1;
  return BAM_OK;
}

bam_status bam_aho_corasick_build(bam_context *context, const bam_word *words, int64_t count,
                                  bam_aho_corasick *out) {
  bam_status status = BAM_OK;
  bam_storage *paths = NULL;
  int64_t bytes = 0;
  *out = (bam_aho_corasick){ .context = context, .children.context = context };
  for (int64_t i = 0; i < count; i++) {
    bytes += words[i].size;
    if (bytes >= INT32_MAX)
      return bam_fail(context, BAM_ERROR_ARGUMENT, "the added tokens have more than 2^31 bytes");
    const unsigned char last = (unsigned char)words[i].data[words[i].size - 1];
    out->last_bytes[last] = true;
    out->last_byte = i == 0 || out->last_byte == last ? last : -1;
  }
  if (count == 0)
    return BAM_OK;
  BAM_TRY_OR_DONE(reserve(out, bytes));
  BAM_TRY_OR_DONE(bam_storage_grow(context, &paths, count * (int64_t)sizeof(path)));
  for (int64_t i = 0; i < count; i++)
    ((path *)paths->data)[i] = (path){ (int32_t)i, 0 };
  for (int64_t depth = 0; count > 0; depth++)
    count = add_level(out, words, paths->data, count, depth);
done:
  bam_storage_release(context, paths);
  if (status != BAM_OK)
    bam_aho_corasick_release(out);
  return status;
}

static bam_status push(bam_context *context, bam_storage **found, int64_t *n, int64_t start,
                       int32_t word) {
  int64_t size = (int64_t)sizeof(bam_occurrence),
          room = *found != NULL ? (*found)->bytes / size : 0;
  if (*n == room) {
    BAM_TRY(bam_storage_grow(context, found, size * (room > 0 ? 2 * room : FIRST_OCCURRENCES)));
  }
  ((bam_occurrence *)(*found)->data)[(*n)++] = (bam_occurrence){ start, word };
  return BAM_OK;
}

/* The last position up to `at` of a byte in which a word ends; -1: there is none. */
static int64_t last_before(const bam_aho_corasick *automaton, const char *text, int64_t at) {
  if (automaton->last_byte >= 0) {
    const char *found = memrchr(text, automaton->last_byte, (size_t)at + 1);
    return found != NULL ? found - text : -1;
  }
  while (at >= 0 && !automaton->last_bytes[(unsigned char)text[at]])
    at--;
  return at;
}

bam_status bam_aho_corasick_find(const bam_aho_corasick *automaton, const char *text, int64_t size,
                                 bam_storage **found, int64_t *n) {
  int32_t node = 0;
  *n = 0;
  if (automaton->children.count == 0)
    return BAM_OK;
  const int32_t *words = automaton->words->data;
  for (int64_t at = size - 1; at >= 0; at--) {
    if (node == 0 && (at = last_before(automaton, text, at)) < 0)
      break;
    unsigned char byte = (unsigned char)text[at];
    node = step(automaton, node, byte);
    if (words[node] >= 0)
      BAM_TRY(push(automaton->context, found, n, at, words[node]));
  }
  return BAM_OK;
}

void bam_aho_corasick_release(bam_aho_corasick *automaton) {
  bam_pairs_release(&automaton->children);
  bam_storage_release(automaton->context, automaton->fails);
  bam_storage_release(automaton->context, automaton->words);
  *automaton = (bam_aho_corasick){ .context = automaton->context,
                                   .children.context = automaton->context };
}
