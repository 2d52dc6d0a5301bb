/* The sizes of a mixture of attention, and what its op is given: see mixture_of_attention.c. */
#ifndef BAM_OPS_MIXTURE_LAYOUT_H
#define BAM_OPS_MIXTURE_LAYOUT_H

#include "ops.h"

enum { X, QKV, OUT, GATES, DOCUMENTS, POSITIONS, QKV_BIAS, OUT_BIAS, RESIDUAL, INPUTS };
enum { ATTR_HEADS, ATTR_KV_HEADS, ATTR_ROPE_BASE, ATTR_SCALE, ATTR_WINDOW, ATTR_ROPE_SCALING };
enum { ATTR_FP8 = ATTR_ROPE_SCALING + 6 }; /* after those of BAM_ROPE_SCALING */

/* The sizes, found from the shapes. heads and kv_heads are those of all experts together. */
typedef struct bam_mixture_layout {
  int64_t batch, time, tokens, in, out;
  int64_t experts, heads, kv_heads, width;
  int64_t group;   /* query heads of one expert per KV head */
  int64_t columns; /* of a row of queries, keys and values */
} bam_mixture_layout;

/* The sizes, from the shapes of x, qkv and out, and the number of experts. */
void bam_mixture_layout_of(bam_mixture_layout *l, const bam_shape *x, const bam_shape *qkv,
                           const bam_shape *out, int64_t experts, const bam_attr *attrs);

/* Fail unless all inputs and attributes of the call fit together; else find its sizes. */
bam_status bam_mixture_check(bam_call *call, bam_mixture_layout *l);

/* The rotation that the attributes ask for. A base of 0: none. */
bam_rope bam_mixture_rope(const bam_attr *attrs);

#endif
