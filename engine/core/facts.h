/* Facts about the elements of a tensor. On a device it would take a wait to find them out, so they are kept with the
   storage by who makes or moves the elements, and hold until the storage is changed. Every view of the storage has
   them: they are about all elements. */
#ifndef BAM_FACTS_H
#define BAM_FACTS_H

#include <stdbool.h>
#include <stdint.h>

struct bam_tensor;

typedef struct bam_facts {
  uint64_t version;         /* of the storage when this was true */
  bool bounded;             /* every element is in low .. high, or is `other` */
  int64_t low, high, other; /* low > high: every element is `other` */
  int64_t starts;           /* > 0: results of document_starts, in rows of this length; 0: not */
  struct {
    int64_t assignments, experts; /* experts > 0: a result of expert_order; 0: not */
    bool is_complete;             /* every assignment names an expert */
    uint64_t copy;                /* of its offsets to the host, see bam_device_begin_copy */
  } order;
  uint64_t rotation; /* not 0: a result of rope_table, with frequencies of this hash */
} bam_facts;

/* State that every element of `tensor`, which fills its storage, is in low .. high. */
void bam_facts_bound(struct bam_tensor *tensor, int64_t low, int64_t high);

/* State that `tensor`, [batch, time] and alone in its storage, is a result of document_starts. */
void bam_facts_are_starts(struct bam_tensor *tensor);

/* State that `tensor` is a result of expert_order, alone in its storage. */
void bam_facts_are_order(struct bam_tensor *tensor, int64_t assignments, int64_t experts,
                         bool is_complete, uint64_t copy);

/* State that `tensor`, which fills its storage, is a result of rope_table with frequencies of the hash `rotation`. */
void bam_facts_are_rotations(struct bam_tensor *tensor, uint64_t rotation);

/* Find the bounds of `host`, contiguous i64 in host memory, for its copy `tensor`; a negative value that is alone
   among the negative ones, such as the target of padding, is left out of the bounds. */
void bam_facts_measure(struct bam_tensor *tensor, const struct bam_tensor *host);

/* State of `to`, which has just got the values of `from` and fills its storage, all that is known of `from`. */
void bam_facts_copy(struct bam_tensor *to, const struct bam_tensor *from);

/* Is every element of `tensor` known to be in low .. high, or `other`? A capture (capture.h) notes that an op relies on
   it. */
bool bam_facts_within(const struct bam_tensor *tensor, int64_t low, int64_t high, int64_t other);

/* The facts of a result of expert_order, or NULL if `tensor` is not known to be a whole one. In a capture only if it
   was computed there. */
const bam_facts *bam_facts_of_order(const struct bam_tensor *tensor);

/* Is `tensor` known to be document starts, in whole rows? In a capture only if it was computed there. */
bool bam_facts_have_starts(const struct bam_tensor *tensor);

/* The hash of the frequencies if `tensor` is known to be whole rows of a rope_table, else 0. */
uint64_t bam_facts_rotation(const struct bam_tensor *tensor);

#endif
